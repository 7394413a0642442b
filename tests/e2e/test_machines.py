"""The service on machines that lack something: it starts with what there is, or says in one line what is missing.

Each machine is made around the service by tools with which containers are made, and the service is started as usual.
"""

import errno
import os
import shutil
import sys

import pytest
from tests.harness.configuration import Tables
from tests.harness.interpreter import cofferdam
from tests.harness.service import Service, ServiceFailedError

from cofferdam_client import ecc_signing_key

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not shutil.which("setpriv") or not shutil.which("unshare"), reason="needs util-linux"),
]

_FILTERED = """
import ctypes, os, sys
library = ctypes.CDLL("libseccomp.so.2")
library.seccomp_init.restype = ctypes.c_void_p
context = ctypes.c_void_p(library.seccomp_init(0x7FFF0000))
for name in {calls}:
    number = library.seccomp_syscall_resolve_name(name.encode())
    assert library.seccomp_rule_add_array(context, 0x00050000 | {error}, number, 0, None) == 0
assert library.seccomp_load(context) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""
_LANDLOCK = ("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self")


def filtered(error: int, *calls: str) -> list[str]:
    """Return the words before a command that make these system calls fail, as a container's filter does."""
    return [sys.executable, "-I", "-S", "-c", _FILTERED.format(calls=calls, error=error)]


class Elsewhere(Service):
    """A service whose command has words before it."""

    def __init__(self, before: list[str], require: str | None = None) -> None:
        tables: Tables = {"core_settings": {"log_level": "info"}}
        super().__init__(tables={**tables, "isolation": {"require": require}} if require else tables)
        self._before = before

    def words(self) -> list[str]:
        """Return the words that start the service."""
        return [*self._before, *super().words()]


NO_CAPABILITIES = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
NO_SETUID = ["setpriv", "--bounding-set=-setuid"]
ALONE = ["unshare", "--map-root-user"]
MACHINES: dict[str, tuple[list[str], str, str]] = {
    "root without capabilities": (NO_CAPABILITIES, "landlock", "root has no CAP_CHOWN"),
    "root without one of them": (NO_SETUID, "landlock", "root has no CAP_SETUID"),
    "root of a user namespace": (ALONE, "landlock", "setgroups"),
    "a filter against setresuid": (filtered(errno.EPERM, "setresuid"), "landlock", "setresuid"),
    "a filter against Landlock": (filtered(errno.EPERM, *_LANDLOCK), "seccomp", "Landlock"),
    "a kernel without Landlock": (filtered(errno.ENOSYS, *_LANDLOCK), "seccomp", "Landlock"),
    "Landlock that is switched off": (filtered(errno.EOPNOTSUPP, *_LANDLOCK), "seccomp", "Landlock"),
    "a filter against half of Landlock": (filtered(errno.EPERM, _LANDLOCK[2]), "seccomp", "Landlock"),
}
"""Words before the command, the level that can be reached, and what the line says that is missing."""
LEVELS = ["none", "seccomp", "landlock", "uid"]
HIDDEN = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c"]
HIDDEN += ['mount -t proc -o hidepid=2 proc /proc && exec "$@"', "sh"]


@pytest.fixture(params=MACHINES)
def machine(request: pytest.FixtureRequest) -> tuple[list[str], str, str]:
    return MACHINES[request.param]


def test_the_level_falls_and_what_is_left_serves(machine: tuple[list[str], str, str]) -> None:
    before, level, _ = machine
    with Elsewhere(before, require=level) as service:
        with service.client() as client:
            client.generate_key("k", ecc_signing_key())
        assert {row["level"] for row in service.status()["processes"] if row["state"] != "starting"} == {level}
        assert "level=error" not in service.log()


def test_a_level_that_cannot_be_reached_is_refused_with_what_is_missing(machine: tuple[list[str], str, str]) -> None:
    before, level, missing = machine
    with_more = LEVELS[LEVELS.index(level) + 1]
    service = Elsewhere(before, require=with_more)
    try:
        with pytest.raises(ServiceFailedError):
            service.start()
        log = service.log()
        if with_more == "uid" and "isolation.require" in log and "level=error component=config" in log:
            return  # the reader of the configuration knows that this cannot be reached
        (line, *_) = [line for line in log.splitlines() if "as isolation.require demands" in line]
        assert f"reached={level} required={with_more}" in line
        assert missing in line
    finally:
        service.close()


def test_where_proc_hides_processes_the_line_says_so() -> None:
    uid = 59004
    service = Elsewhere([*HIDDEN, "setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"])
    service.command = cofferdam(uid)
    os.chown(service.folder, uid, uid)
    try:
        with pytest.raises(ServiceFailedError):
            service.start()
        (line, *_) = [line for line in service.log().splitlines() if "as isolation.require demands" in line]
        assert "/proc is mounted with hidepid=" in line
        assert "mount it with hidepid=0" in line
    finally:
        service.close()
