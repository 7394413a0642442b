"""Each attack in the roles that `tests/e2e/test_takeover.py` does not take over: it works without the sandbox only."""

from functools import cache

import pytest
from tests.runtime.sandbox.attacks import ATTACKS, NOT_IN_THIS_KERNEL, STOPPED_BY
from tests.runtime.sandbox.harness import IDENTITIES, IS_ROOT, Job, attempt

from cofferdam_contracts.roles import Role
from cofferdam_runtime.sandbox.policies import MODULE_NEEDS

ROLES = (Role.CONFIG, Role.PKCS11_WORKER, Role.TPM_WORKER)
STARTED = list(IDENTITIES)[:1]
"""As whoever runs the tests: they have to be run by root and by a normal user."""
GRANTED = {
    "sockets": {
        *("make an IPv4 socket", "make an IPv6 socket", "make a local socket"),
        *("connect to a service by path", "connect to an abstract address", "notify the service manager"),
    },
    "threads": set[str](),
    "libraries": {"map writable code", "turn data into code"},
}
"""What works in the worker of a PKCS#11 module that was granted a need."""


@cache
def outcomes(identity: str) -> dict[str, str]:
    who = IDENTITIES[identity]
    jobs = {f"{attack} {role}": Job(attack, role.name, who.uid) for attack in ATTACKS for role in ROLES}
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


def expected_inside(name: str) -> set[str]:
    return {"killed"} if ATTACKS[name].fatal else STOPPED_BY | {"killed"}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("identity", STARTED)
def test_it_works_without_the_sandbox(identity: str, name: str) -> None:
    assert outcomes(identity)[name] in expected_without_sandbox(identity, name)


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("identity", STARTED)
def test_every_role_is_stopped(identity: str, name: str) -> None:
    seen = {role: outcomes(identity)[f"{name} {role}"] for role in ROLES}
    assert {role: outcome for role, outcome in seen.items() if outcome not in expected_inside(name)} == {}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("identity", STARTED)
def test_a_module_is_stopped_where_it_was_granted_nothing(identity: str, name: str) -> None:
    seen = {need: outcomes(identity)[f"{name} {need}"] for need in MODULE_NEEDS}
    expected = {need: {"done"} if name in GRANTED[need] else {"killed", "EAFNOSUPPORT"} | STOPPED_BY for need in seen}
    assert {need: outcome for need, outcome in seen.items() if outcome not in expected[need]} == {}
