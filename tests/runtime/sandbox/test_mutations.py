"""Every mechanism is needed: without it, and with those that would also stop the attack out of the way, it works."""

import ctypes
from dataclasses import dataclass
from functools import cache

import pytest
from tests.runtime.sandbox.harness import IDENTITIES, IS_ROOT, Job, attempt

from cofferdam_contracts.roles import Role
from cofferdam_runtime.sandbox import child_calls, landlock

HAS_SCOPES = child_calls.landlock_version() >= min(landlock.SCOPE_SINCE)
PR_GET_MDWE = 66
HAS_MDWE = ctypes.CDLL(None).prctl(PR_GET_MDWE, 0, 0, 0, 0) >= 0
"""Linux 6.3."""


@dataclass(frozen=True)
class Mutation:
    """A mechanism, and an attack that it alone stops once `overlap` is out of the way."""

    removed: str
    attack: str
    role: Role
    overlap: tuple[str, ...] = ()
    root: bool = False
    """Whether only a service that root started has it."""
    keeps_uid: bool = False
    """Whether it matters only for a root process that stays root."""
    kernel: bool = True
    """Whether this kernel has what the mechanism uses; without, the others have to do."""


MUTATIONS = (
    Mutation("seccomp", "make an IPv4 socket", Role.FRONTEND),
    Mutation("seccomp", "make an io_uring", Role.FRONTEND),
    Mutation("seccomp", "call the kernel as i386", Role.FRONTEND),
    Mutation("seccomp", "become traceable", Role.SOFTWARE_WORKER),
    Mutation("seccomp", "add a filter", Role.CONFIG),
    Mutation("landlock", "read the list of users", Role.KIM),
    Mutation("landlock", "write a temporary file", Role.KIM),
    Mutation("landlock", "kill another", Role.FRONTEND, ("seccomp", "uid"), kernel=HAS_SCOPES),
    Mutation("landlock", "connect to an abstract address", Role.FRONTEND, ("seccomp",), kernel=HAS_SCOPES),
    Mutation("uid", "read a file of root beside it", Role.KIM, root=True),
    Mutation("uid", "change the root", Role.FRONTEND, ("seccomp", "landlock"), root=True),
    Mutation("capabilities", "change the root", Role.FRONTEND, ("seccomp", "landlock"), root=True, keeps_uid=True),
    Mutation("limits", "fork", Role.FRONTEND, ("seccomp",)),
    Mutation("imports", "import a module", Role.FRONTEND, ("seccomp", "landlock")),
    Mutation("no executable memory", "map writable code", Role.FRONTEND, ("seccomp",), kernel=HAS_MDWE),
    Mutation("conditions on memory", "turn data into code", Role.SOFTWARE_WORKER, ("no executable memory",)),
)


def _applies(identity: str, mutation: Mutation) -> bool:
    return mutation.kernel and (not mutation.root or (IS_ROOT and IDENTITIES[identity].user is None))


CASES = [(identity, mutation) for identity in IDENTITIES for mutation in MUTATIONS if _applies(identity, mutation)]


def _job(identity: str, mutation: Mutation, *removed: str) -> Job:
    uid = None if mutation.keeps_uid else IDENTITIES[identity].uid
    return Job(mutation.attack, mutation.role.name, uid, mutation.overlap + removed)


@cache
def outcomes(identity: str) -> dict[str, str]:
    jobs = {}
    for number, mutation in enumerate(MUTATIONS):
        if not _applies(identity, mutation):
            continue
        jobs[f"{number} whole"] = _job(identity, mutation)
        jobs[f"{number} mutated"] = _job(identity, mutation, mutation.removed)
    jobs["no new privileges"] = Job("fork", Role.FRONTEND.name, IDENTITIES[identity].uid, ("no new privileges",))
    return attempt(jobs, IDENTITIES[identity].user)


@pytest.mark.parametrize(("identity", "mutation"), CASES, ids=lambda case: getattr(case, "removed", case))
def test_without_the_mechanism_an_attack_works(identity: str, mutation: Mutation) -> None:
    number = MUTATIONS.index(mutation)
    assert outcomes(identity)[f"{number} whole"] != "done"
    assert outcomes(identity)[f"{number} mutated"] == "done"


@pytest.mark.parametrize("identity", IDENTITIES)
def test_without_no_new_privs_the_kernel_takes_no_ruleset(identity: str) -> None:
    assert outcomes(identity)["no new privileges"].startswith("not confined: EPERM")
