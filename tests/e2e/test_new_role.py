"""A role is a row, a policy and a package: one that exists here alone is started, confined, watched and stopped.

The shipped packages are copied, two of their files get the row and the policy, and the copy is started as a service.
Nothing else of the copy is changed.
"""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.harness import echo
from tests.harness.interpreter import CHECKOUT
from tests.harness.service import ProcessStatus, Service
from tests.harness.watch import wait_for

from cofferdam_cli.serve import command

_PATH: Final = 8
"""Where the words of the command that starts the broker are the search path."""
_BECOME: Final = "import sys; from cofferdam_cli.serve import become; become(sys.argv[1:])"
_ROOTS: Final = ("broker", "config", "contracts", "frontend", "kim", "providers", "runtime")
_CHANGES: Final = {
    "contracts/cofferdam_contracts/roles.py": (
        ("    FETCHER = 8\n", "    FETCHER = 8\n    ECHO = 9\n"),
        (
            "    Role.FRONTEND: RoleRow(\n",
            """    Role.ECHO: RoleRow(
        package="cofferdam_echo",
        title="echo",
        uid_offset=7,
        copies=Copies.ONE,
        says=frozenset(),
        failures=frozenset({Failure.SANDBOX}),
        stage=1,
    ),
    Role.FRONTEND: RoleRow(
""",
        ),
    ),
    "runtime/cofferdam_runtime/sandbox/policies.py": (
        (
            "        Role.KIM: Policy(\n",
            """        Role.ECHO: Policy(syscalls=_LIFE | _MEMORY | _CHANNELS, refusals=REFUSALS, open_files=64),
        Role.KIM: Policy(
""",
        ),
    ),
}


class Extended(Service):
    """A service from a copy of the checkout that has one more role."""

    def __init__(self) -> None:
        super().__init__()
        self.copy = Path(tempfile.mkdtemp(prefix="extended-", dir=self.folder))
        self.copy.chmod(0o755)
        for root in _ROOTS:
            shutil.copytree(CHECKOUT / root, self.copy / root, ignore=shutil.ignore_patterns("__pycache__"))
        package = self.copy / "echo" / "cofferdam_echo"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        shutil.copy(echo.__file__, package / "__main__.py")
        for name, changes in _CHANGES.items():
            file = self.copy / name
            text = file.read_text()
            for old, new in changes:
                assert text.count(old) == 1, (name, old)
                text = text.replace(old, new)
            file.write_text(text)

    def words(self) -> list[str]:
        """Return the words that start the broker of the copy."""
        words = command(str(self.configuration_path))
        libraries = [path for path in words[_PATH].split(":") if Path(path).parent != CHECKOUT]
        words[_PATH] = ":".join([*(str(self.copy / root) for root in (*_ROOTS, "echo")), *libraries])
        return [sys.executable, "-c", _BECOME, *words]

    def echo(self) -> ProcessStatus | None:
        """Return the row of the new role in the status, None while it does not run."""
        return next((row for row in self.status()["processes"] if row["role"] == "echo"), None)

    def successor_of(self, pid: int) -> bool:
        """Tell whether the new role has another process, which is ready."""
        row = self.echo()
        return row is not None and row["pid"] != pid and row["state"] == "ready"


@pytest.fixture(scope="module")
def extended() -> Iterator[Extended]:
    with Extended() as service:
        yield service


def test_a_new_role_is_started_confined_and_answers(extended: Extended) -> None:
    row = extended.echo()
    assert row is not None
    assert row["state"] in {"ready", "asked"}
    as_root = os.geteuid() == 0
    assert row["level"] == ("uid" if as_root else "landlock")
    assert row["uid"] == (60713 if as_root else None)


def test_a_new_role_is_replaced_when_it_dies_and_nobody_else_is(extended: Extended) -> None:
    before = {row["role"]: row["pid"] for row in extended.status()["processes"]}
    os.kill(before["echo"], signal.SIGKILL)
    wait_for(lambda: extended.successor_of(before["echo"]))
    after = {row["role"]: row["pid"] for row in extended.status()["processes"]}
    assert {role: pid for role, pid in after.items() if role != "echo"} == {
        role: pid for role, pid in before.items() if role != "echo"
    }
    row = extended.echo()
    assert row is not None
    assert row["restarts"] == 1


def test_a_new_role_that_hangs_is_killed_and_replaced(extended: Extended) -> None:
    row = extended.echo()
    assert row is not None
    os.kill(row["pid"], signal.SIGSTOP)
    wait_for(lambda: extended.successor_of(row["pid"]), 60)
    assert 'event="a process hangs and is killed" process=echo' in extended.log()


def test_a_new_role_ends_with_the_service(extended: Extended) -> None:
    extended.stop()
    assert "did not finish" not in extended.log()
