"""Each Landlock right that the ruleset handles denies something; without handling it, that works."""

from collections.abc import Mapping
from functools import cache

import pytest
from tests.runtime.sandbox.harness import IS_ROOT, playground, scene

from cofferdam_runtime.sandbox import child_calls, landlock
from cofferdam_runtime.sandbox.landlock import ACCESS_SINCE, NET_SINCE, SCOPE_SINCE, Access, Net, Scope

NEEDS_ROOT = {Access.MAKE_CHAR, Access.MAKE_BLOCK}
# The kernel denies moving files between folders in every ruleset that does not handle and grant this.
ALWAYS_DENIED = {Access.REFER}
# Scopes answer with EPERM.
DENIALS = {"EACCES", "EPERM"}


def _rights() -> list[Access | Net | Scope]:
    abi = child_calls.landlock_version()
    tables: list[Mapping[int, Access | Net | Scope]] = [ACCESS_SINCE, NET_SINCE, SCOPE_SINCE]
    known = [right for table in tables for since, rights in table.items() if since <= abi for right in rights]
    return [right for right in known if type(right) is not Access or right not in ALWAYS_DENIED | _impossible()]


def _impossible() -> set[Access]:
    return set() if IS_ROOT else NEEDS_ROOT


@cache
def _outcomes() -> dict[str, list[str]]:
    with playground() as folder:
        outcomes: dict[str, list[str]] = scene("without_rights", str(folder), *(str(right.name) for right in _rights()))
    return outcomes


@pytest.mark.parametrize("right", _rights(), ids=lambda right: right.name)
def test_a_right_that_is_not_granted_is_denied(right: Access | Net | Scope) -> None:
    handled, unhandled = _outcomes()[str(right.name)]
    assert handled in DENIALS
    assert unhandled == "done"


def test_every_right_has_the_version_that_brought_it() -> None:
    tables: list[tuple[type[Access | Net | Scope], Mapping[int, Access | Net | Scope]]] = [
        (Access, ACCESS_SINCE),
        (Net, NET_SINCE),
        (Scope, SCOPE_SINCE),
    ]
    for kind, table in tables:
        listed = [right for rights in table.values() for right in rights]
        assert sorted(listed) == sorted(kind)
        assert len(listed) == len(set(listed))


def test_nothing_that_makes_special_files_is_ever_granted() -> None:
    special = Access.MAKE_CHAR | Access.MAKE_BLOCK | Access.MAKE_SOCK | Access.MAKE_FIFO | Access.MAKE_SYM
    granted = landlock.READ_FILE | landlock.READ_FOLDER | landlock.WRITE_FILE | landlock.WRITE_FOLDER
    assert not granted & (special | Access.EXECUTE | Access.IOCTL_DEV | Access.REFER | Access.RESOLVE_UNIX)
