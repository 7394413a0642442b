"""Each attack in each role: it works without the sandbox, and not in it."""

from functools import cache

import pytest
from tests.runtime.sandbox.attacks import ATTACKS
from tests.runtime.sandbox.harness import IDENTITIES, IS_ROOT, Job, attempt

from cofferdam_contracts.ipc.control import Role
from cofferdam_runtime.sandbox.policies import MODULE_NEEDS

ALLOWED = {
    # The key store serves its database.
    (Role.KIM, "read the key database"),
}
GRANTED = {
    "sockets": {
        *("make an IPv4 socket", "make an IPv6 socket", "make a local socket"),
        *("connect to a service by path", "connect to an abstract address", "notify the service manager"),
    },
    "threads": set[str](),
    "libraries": {"map writable code", "turn data into code"},
}
"""What works in the worker of a PKCS#11 module that was granted a need."""
STOPPED = {"EPERM", "EACCES", "ENOSYS", "OSError", "FrozenImportsError", "LookupError", "ValueError"}
NOT_IN_THIS_KERNEL = {
    "make a kernel crypto socket": {"EAFNOSUPPORT"},
    "call the kernel as x32": {"ENOSYS"},
    "call the kernel as i386": {"ended with -11"},
    "type into a terminal": {"EIO"},
    "make an io_uring": {"ENOSYS", "EPERM"},
    "get a user namespace": {"ENOSPC", "EPERM"},
    "count events": {"EACCES", "EPERM"},
    "handle page faults": {"ENOSYS", "EPERM"},
}
"""How a kernel that was built or set up without something answers even an unconfined process."""


@cache
def outcomes(identity: str) -> dict[str, str]:
    who = IDENTITIES[identity]
    jobs = {f"{attack} {role}": Job(attack, role.name, who.uid) for attack in ATTACKS for role in Role}
    jobs |= {
        f"{attack} {need}": Job(attack, Role.PKCS11_WORKER.name, who.uid, needs=(need,))
        for attack in ATTACKS
        for need in MODULE_NEEDS
    }
    controls = {attack: Job(attack) for attack in ATTACKS}
    return attempt(controls | jobs, who.user)


def expected_without_sandbox(identity: str, name: str) -> set[str]:
    started_by_root = IS_ROOT and IDENTITIES[identity].user is None
    usual = {"EPERM", "EACCES"} if ATTACKS[name].root and not started_by_root else {"done"}
    return usual | NOT_IN_THIS_KERNEL.get(name, set())


def expected_inside(role: Role, name: str) -> set[str]:
    if (role, name) in ALLOWED:
        return {"done"}
    return {"killed"} if ATTACKS[name].fatal else STOPPED | {"killed"}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("identity", IDENTITIES)
def test_it_works_without_the_sandbox(identity: str, name: str) -> None:
    assert outcomes(identity)[name] in expected_without_sandbox(identity, name)


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("identity", IDENTITIES)
def test_every_role_is_stopped_unless_it_is_its_work(identity: str, name: str) -> None:
    seen = {role: outcomes(identity)[f"{name} {role}"] for role in Role}
    assert {role: outcome for role, outcome in seen.items() if outcome not in expected_inside(role, name)} == {}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("identity", IDENTITIES)
def test_a_module_is_stopped_where_it_was_granted_nothing(identity: str, name: str) -> None:
    seen = {need: outcomes(identity)[f"{name} {need}"] for need in MODULE_NEEDS}
    expected = {need: {"done"} if name in GRANTED[need] else {"killed", "EAFNOSUPPORT"} | STOPPED for need in seen}
    assert {need: outcome for need, outcome in seen.items() if outcome not in expected[need]} == {}
