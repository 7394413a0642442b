"""Each attack in each role: it works without the sandbox, and not in it."""

import itertools
from functools import cache

import pytest
from tests.runtime.sandbox.attacks import ATTACKS
from tests.runtime.sandbox.harness import IDENTITIES, IS_ROOT, Job, attempt

from cofferdam_contracts.ipc.control import Role

ALLOWED = {
    # The key store serves its database.
    (Role.KIM, "read the key database"),
}
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
    controls = {attack: Job(attack) for attack in ATTACKS}
    return attempt(controls | jobs, who.user)


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("identity", IDENTITIES)
def test_it_works_without_the_sandbox(identity: str, name: str) -> None:
    outcome = outcomes(identity)[name]
    starts_as_root = IS_ROOT and IDENTITIES[identity].user is None
    if ATTACKS[name].root and not starts_as_root:
        assert outcome in {"EPERM", "EACCES"} | NOT_IN_THIS_KERNEL.get(name, set())
    else:
        assert outcome in {"done"} | NOT_IN_THIS_KERNEL.get(name, set())


@pytest.mark.parametrize(
    ("role", "name"), [(role, name) for role, name in itertools.product(Role, ATTACKS) if (role, name) not in ALLOWED]
)
@pytest.mark.parametrize("identity", IDENTITIES)
def test_the_sandbox_stops_it(identity: str, role: Role, name: str) -> None:
    outcome = outcomes(identity)[f"{name} {role}"]
    assert outcome in ({"killed"} if ATTACKS[name].fatal else STOPPED | {"killed"})


@pytest.mark.parametrize(("role", "name"), sorted(ALLOWED))
@pytest.mark.parametrize("identity", IDENTITIES)
def test_a_role_can_do_its_work(identity: str, role: Role, name: str) -> None:
    assert outcomes(identity)[f"{name} {role}"] == "done"
