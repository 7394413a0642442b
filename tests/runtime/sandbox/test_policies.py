"""The policies as data: complete, known to the library, and within what the service promises."""

import pytest

from cofferdam_contracts.ipc.control import Role
from cofferdam_runtime.sandbox.policies import POLICIES, REFUSALS
from cofferdam_runtime.sandbox.policy import FORBIDDEN, Condition, Policy
from cofferdam_runtime.sandbox.seccomp import resolve

REFUSED = [name for refusal in REFUSALS for name in refusal.syscalls]
OPENING = {"open", "openat", "openat2", "creat"}
NETWORK = {"socket", "socketpair", "connect", "bind", "listen", "accept", "accept4", "setsockopt"}
PROCESSES = {"clone", "clone3", "fork", "vfork", "kill", "tkill", "tgkill", "pidfd_open", "pidfd_send_signal"}


def test_every_role_has_a_policy() -> None:
    assert set(POLICIES) == set(Role)


@pytest.mark.parametrize("role", Role)
def test_every_name_is_known_to_the_library(role: Role) -> None:
    assert all(isinstance(resolve(name), int) for name in sorted(POLICIES[role].allowed))


def test_every_refused_or_forbidden_name_is_known_to_the_library() -> None:
    assert all(isinstance(resolve(name), int) for name in sorted(FORBIDDEN.union(REFUSED)))


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(ValueError, match="does not know the system call openalt"):
        resolve("openalt")


def test_a_frontend_may_do_little() -> None:
    assert len(POLICIES[Role.FRONTEND].allowed) <= 25


@pytest.mark.parametrize("role", Role)
def test_no_role_gets_the_network_or_processes(role: Role) -> None:
    assert not POLICIES[role].allowed & (NETWORK | PROCESSES | FORBIDDEN)


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.KIM])
def test_only_the_key_store_opens_files(role: Role) -> None:
    assert not POLICIES[role].allowed & OPENING
    assert not POLICIES[role].writable + POLICIES[role].readable


@pytest.mark.parametrize("role", Role)
def test_no_role_may_make_code(role: Role) -> None:
    assert not POLICIES[role].executable_memory


def test_nothing_is_refused_twice() -> None:
    assert len(REFUSED) == len(set(REFUSED))


def test_the_default_grants_nothing() -> None:
    policy = Policy()
    assert (policy.allowed, policy.refusals, policy.readable, policy.writable) == (frozenset(), (), (), ())
    assert (policy.executable_memory, policy.open_files, policy.file_size) == (False, 0, 0)


@pytest.mark.parametrize("name", sorted(FORBIDDEN))
def test_what_is_forbidden_cannot_be_allowed(name: str) -> None:
    with pytest.raises(ValueError, match=f"no policy may allow {name}"):
        Policy(syscalls=frozenset({name}))
    with pytest.raises(ValueError, match=f"no policy may allow {name}"):
        Policy(conditions=(Condition(syscall=name, argument=0, mask=0, value=0),))


def test_an_unconditional_rule_would_hide_a_conditional_one() -> None:
    with pytest.raises(ValueError, match="both allowed and conditional: fcntl"):
        Policy(syscalls=frozenset({"fcntl"}), conditions=(Condition(syscall="fcntl", argument=1, mask=1, value=1),))


def test_paths_are_added_at_run_time() -> None:
    policy = POLICIES[Role.KIM].with_paths(readable=("/a",), writable=("/b",))
    assert (policy.readable, policy.writable, policy.syscalls) == (("/a",), ("/b",), POLICIES[Role.KIM].syscalls)
    with pytest.raises(ValueError, match="not absolute: relative"):
        policy.with_paths(writable=("relative",))
