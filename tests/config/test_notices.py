"""What a reload says again, and what it refuses because a provider would be down after it."""

import os
import stat
from pathlib import Path

import pytest
from tests.config.documents import PKCS11, SMALL, TPM

from cofferdam_config.host_facts import DEFAULT_FILES, HostFacts
from cofferdam_config.notices import MOST, hand_on, identity, refuse_harm, take_over, unknown
from cofferdam_config.places import PROVIDER_TYPES
from cofferdam_config.plan import Plan, read
from cofferdam_config.source import ConfigError
from cofferdam_runtime.files import Element, Found

FILE = "/etc/parsec/config.toml"
NOTHING = HostFacts(credentials={}, groups={}, is_root=True)
GONE = Found((), None, "/gone", "No such file or directory")
TOKEN = '[[provider]]\nprovider_type = "Pkcs11"\nkey_info_manager = "m"\nlibrary_path = "/m.so"\n'


def _read(text: str, known: str = "-", **files: Found) -> Plan:
    return read(text.encode(), path=FILE, facts=NOTHING._replace(known=take_over(known), files=files))


def _is(kind: int, path: str = "/x") -> Found:
    last = Element(path, kind | 0o600, 0, 0)
    return Found((last,), last)


def _reload(text: str, known: str, **files: Found) -> tuple[str, ...]:
    """Return the warnings that a reload says.

    Raises:
        ConfigError: It is refused.
    """
    plan = _read(text, known, **files)
    refuse_harm(plan.lacks, FILE, take_over(known))
    return unknown((*plan.warnings, *plan.lacks), FILE, take_over(known))


def test_a_reload_without_a_change_says_nothing_again_wherever_the_lines_stand() -> None:
    text = SMALL + PKCS11 + TPM + "unheard_of = 1\n"
    plan = _read(text)
    assert len(plan.warnings) >= 4
    assert unknown(plan.warnings, FILE, take_over("-")) == plan.warnings
    assert _reload("\n\n# A comment.\n" + text, plan.broker.notices) == ()


def test_a_new_warning_is_said_alone() -> None:
    plan = _read(SMALL + PKCS11)
    (said,) = _reload(SMALL + PKCS11 + "unheard_of = 1\n", plan.broker.notices)
    assert "unheard_of" in said
    # One that went away and comes back is new again.
    without = _read(SMALL).broker.notices
    assert len(_reload(SMALL + PKCS11, without)) == len(plan.warnings)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (SMALL + TOKEN, "/m.so"),
        (SMALL + TOKEN + 'user_pin_file = "/p"\n', "/p"),
        (SMALL + TOKEN + 'module_readable = ["/p"]\n', "/p"),
        (SMALL + TPM.partition("owner")[0] + 'owner_hierarchy_auth_file = "/p"\n', "/p"),
        (SMALL + TPM, "/dev/tpmrm0"),
        (SMALL + 'mbed_its_path = "/i"\n', "/i"),
    ],
)
def test_a_reload_that_takes_a_provider_down_is_refused(text: str, path: str) -> None:
    before = _read(SMALL)
    with pytest.raises(ConfigError) as caught:
        _reload(text, before.broker.notices, **{path: GONE})
    (problem,) = caught.value.problems
    assert problem.startswith(f"{FILE}:")
    assert f"found nothing at {path}" in problem
    # At a start the others are served, and later reloads are not the cause.
    down = _read(text, "-", **{path: GONE})
    assert problem in down.lacks
    assert _reload(text, down.broker.notices, **{path: GONE}) == ()


@pytest.mark.parametrize("name", PROVIDER_TYPES)
def test_the_key_of_a_provider_that_is_served_has_to_be_there(name: str) -> None:
    text = {"MbedCrypto": SMALL, "Pkcs11": SMALL + PKCS11, "Tpm": SMALL + TPM}[
        name
    ] + 'key_encryption_key_file = "/k"\n'
    started = _read(text, "-", **{"/k": GONE})
    assert started.lacks == ()
    for found, what in ((GONE, "nothing"), (_is(stat.S_IFDIR), "something else")):
        with pytest.raises(ConfigError, match=rf"key_encryption_key_file: found {what} at /k"):
            _reload(text, started.broker.notices, **{"/k": found})
    assert _reload(text, started.broker.notices, **{"/k": _is(stat.S_IFREG)}) == ()


def test_the_key_of_a_provider_that_a_reload_adds_is_made() -> None:
    before = _read(SMALL)
    assert _reload(SMALL + PKCS11 + 'key_encryption_key_file = "/k"\n', before.broker.notices, **{"/k": GONE}) != ()


def test_the_keys_at_their_usual_places_are_looked_at() -> None:
    default = f"{NOTHING.state_folder}/{PROVIDER_TYPES['MbedCrypto'].kek.default_file}"
    assert {kind.kek.default_file for kind in PROVIDER_TYPES.values()} < {
        os.path.relpath(path, NOTHING.state_folder) for path in DEFAULT_FILES
    }
    before = _read(SMALL)
    with pytest.raises(ConfigError, match="nothing at"):
        _reload(SMALL, before.broker.notices, **{default: GONE})


@pytest.mark.parametrize(
    ("manager", "path", "setting"),
    [
        ('sqlite_db_path = "/d/k.sqlite3"\n', "/d/k.sqlite3", "sqlite_db_path"),
        ("", f"{NOTHING.state_folder}/kim-mappings/sqlite/sqlite-key-info-manager.sqlite3", "sqlite_db_path"),
        ('manager_type = "OnDisk"\nstore_path = "/d/"\n', "/d/cofferdam.sqlite3", "store_path"),
        ('manager_type = "OnDisk"\n', f"{NOTHING.state_folder}/mappings/cofferdam.sqlite3", "store_path"),
    ],
)
def test_a_reload_does_not_close_a_database_that_is_not_at_its_path(manager: str, path: str, setting: str) -> None:
    kind = 'manager_type = "SQLite"\n'
    text = SMALL.replace(kind, manager if "manager_type" in manager else kind + manager)
    # The first start makes it.
    started = _read(text, "-", **{path: GONE})
    with pytest.raises(ConfigError, match=rf"key_manager\[0\]\.{setting}: found nothing at {path} .*is open"):
        _reload(text, started.broker.notices, **{path: GONE})
    assert _reload(text, started.broker.notices, **{path: _is(stat.S_IFREG)}) == ()
    # Another one is made.
    other = SMALL.replace(kind, kind + 'sqlite_db_path = "/other"\n')
    assert _reload(other, started.broker.notices, **{path: GONE, "/other": GONE}) == ()


@pytest.mark.parametrize(
    ("path", "found"),
    [("/s/f", _is(stat.S_IFREG, "/s/f")), ("/s/f", _is(stat.S_IFLNK, "/s/f")), ("/s", _is(stat.S_IFREG, "/s"))],
)
def test_a_state_folder_that_cannot_be_used(path: str, found: Found) -> None:
    plan = _read(SMALL + TOKEN + 'state_folder = "/s/f"\n', "-", **{path: found})
    (lack,) = plan.lacks
    assert "provider[1].state_folder: found " in lack
    assert f"at {path}" in lack


def test_what_is_handed_on_is_bounded_and_read_again() -> None:
    known = take_over(hand_on(range(10 * MOST)))
    assert known is not None
    assert len(known) == MOST
    assert take_over(hand_on([])) == frozenset()
    assert take_over("-") is None


def test_an_identity_is_that_of_the_words(tmp_path: Path) -> None:
    path = str(tmp_path / "c:1: x")
    assert identity(f"{path}:7: a.b: text", path) == identity(f"{path}:8: a.b: text", path)
    assert identity(f"{path}:7: a.b: text", path) != identity(f"{path}:7: a.c: text", path)
    assert identity(f"{path}: text", path) != identity(f"{path}: other", path)
