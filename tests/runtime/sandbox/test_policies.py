"""The policies as data: complete, known to the library, and within what the service promises."""

import os
from typing import Any

import pytest

from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import TctiSettings
from cofferdam_runtime.sandbox.loading import closings
from cofferdam_runtime.sandbox.policies import (
    LIBRARIES,
    MODULE_NEEDS,
    POLICIES,
    REFUSALS,
    RELAY,
    for_agent,
    for_mapping_files,
    for_module,
    for_network,
    for_tpm,
)
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


LIFE_AND_MEMORY = {
    *("exit_group", "rt_sigreturn", "restart_syscall", "clock_gettime", "getrandom", "futex"),
    *("brk", "mmap", "munmap", "mremap", "madvise"),
}
CHANNELS = {
    *("recvfrom", "sendto", "close", "recvmsg", "sendmsg", "getsockname", "getsockopt"),
    *("epoll_ctl", "epoll_wait", "epoll_pwait", "write"),
}
SERVING = LIFE_AND_MEMORY | CHANNELS
FILES = {
    *("newfstatat", "fstat", "access", "faccessat", "faccessat2", "read", "pread64", "pwrite64", "lseek"),
    *("ftruncate", "fsync", "fdatasync", "unlink", "unlinkat", "getpid", "geteuid", "clock_nanosleep", "nanosleep"),
    *("fcntl", "openat", "fchmod"),
}
MODULE = {
    *("stat", "lstat", "statx", "readlink", "readlinkat", "getcwd", "getdents64", "rename", "renameat", "renameat2"),
    *("flock", "umask", "getuid", "getgid", "getegid", "gettid", "uname", "getrusage", "mprotect"),
}
ALLOWED = {
    Role.CONFIG: LIFE_AND_MEMORY | {"close", "lseek", "memfd_create", "read", "sendmsg", "write", "fcntl"},
    Role.KIM: SERVING | FILES,
    Role.FRONTEND: SERVING | {"shutdown"},
    Role.IDENTITY: SERVING | {"shutdown", "getpid", "read", "fstat", "newfstatat", "lseek", "openat"},
    Role.FETCHER: SERVING | {"getpid"},
    Role.SOFTWARE_WORKER: SERVING | {"mprotect", "exit", "read", "getpid", "poll", "ppoll", "clock_nanosleep"},
    Role.PKCS11_WORKER: SERVING | FILES | MODULE | {"poll", "ppoll"},
    Role.TPM_WORKER: SERVING | {"getpid", "poll", "ppoll", "read", "clock_nanosleep"},
}
"""Every system call that a role may make, written down a second time: whoever adds one has to mean it."""


@pytest.mark.parametrize("role", Role)
def test_a_role_may_make_these_system_calls_and_no_others(role: Role) -> None:
    assert POLICIES[role].allowed == ALLOWED[role]


def test_a_frontend_may_do_little() -> None:
    assert len(POLICIES[Role.FRONTEND].allowed) <= 25
    conditions = POLICIES[Role.FRONTEND].conditions
    assert {(condition.syscall, condition.argument, condition.error) for condition in conditions} == {
        ("shutdown", 0, 0)
    }
    for descriptor in (*range(64), 4095):
        may = any(descriptor & condition.mask == condition.value for condition in conditions)
        assert may == (descriptor > 3)


@pytest.mark.parametrize("role", Role)
def test_no_role_gets_the_network_or_processes(role: Role) -> None:
    assert not POLICIES[role].allowed & (NETWORK | PROCESSES | FORBIDDEN)


@pytest.mark.parametrize("role", [role for role in Role if role not in {Role.KIM, Role.PKCS11_WORKER, Role.IDENTITY}])
def test_only_the_key_store_a_module_and_who_reads_keys_of_issuers_open_files(role: Role) -> None:
    assert not POLICIES[role].allowed & OPENING


@pytest.mark.parametrize("role", Role)
def test_no_role_has_paths_before_its_start_but_libraries(role: Role) -> None:
    assert not POLICIES[role].writable
    assert POLICIES[role].readable == (("/dev/urandom",) if role is Role.PKCS11_WORKER else ())
    assert POLICIES[role].loading == (LIBRARIES if role in {Role.PKCS11_WORKER, Role.TPM_WORKER} else ())
    assert (POLICIES[role].opening, POLICIES[role].tcp_ports, POLICIES[role].local_sockets) == ((), (), ())


@pytest.mark.parametrize("role", Role)
def test_no_role_may_make_code_or_connect(role: Role) -> None:
    policy = POLICIES[role]
    assert (policy.executable_memory, policy.sockets, policy.threads) == (False, False, False)


def test_a_key_store_with_mapping_files_makes_folders_and_renames() -> None:
    plain = POLICIES[Role.KIM]
    policy = for_mapping_files(plain)
    assert policy.allowed - plain.allowed == {"getdents64", "mkdirat", "renameat"}
    added = set(policy.conditions) - set(plain.conditions)
    assert {(condition.syscall, condition.argument, condition.value) for condition in added} == {("fcntl", 1, 1030)}
    assert (plain.folders, policy.folders) == (False, True)


def test_a_module_gets_what_it_needs_and_no_more() -> None:
    plain = POLICIES[Role.PKCS11_WORKER]
    assert for_module(plain, ()) == plain
    for name, need in MODULE_NEEDS.items():
        policy = for_module(plain, (name, name))
        added = need.syscalls.union(condition.syscall for condition in need.conditions if not condition.error)
        assert policy.allowed == plain.allowed | added
        assert policy.conditions == plain.conditions + need.conditions
        assert (policy.sockets, policy.threads, policy.executable_memory) == tuple(
            name == granted for granted in ("sockets", "threads", "libraries")
        )
    whole = for_module(plain, MODULE_NEEDS)
    assert all(isinstance(resolve(name), int) for name in sorted(whole.allowed))
    assert not whole.allowed & (FORBIDDEN | {"bind", "listen", "accept", "accept4", "clone3", "fork", "vfork", "kill"})


@pytest.mark.parametrize("role", [Role.KIM, Role.PKCS11_WORKER])
def test_no_file_is_made_that_runs_as_the_process(role: Role) -> None:
    conditional = {"openat": {(2, 0o20000100, 0), (3, 0o6000, 0)}, "fchmod": {(1, 0o6000, 0)}}
    for name, expected in conditional.items():
        conditions = [condition for condition in POLICIES[role].conditions if condition.syscall == name]
        assert name not in POLICIES[role].syscalls
        assert {(condition.argument, condition.mask, condition.value) for condition in conditions} == expected
    assert not POLICIES[role].allowed & {
        "open",
        "openat2",
        "creat",
        "chmod",
        "fchmodat",
        "fchmodat2",
        "mknod",
        "mknodat",
    }


def test_what_only_reads_cannot_write() -> None:
    (condition,) = (each for each in POLICIES[Role.IDENTITY].conditions if each.syscall == "openat" and not each.error)
    assert (condition.argument, condition.value, condition.error) == (2, 0, 0)
    for flag in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC, os.O_TMPFILE & ~os.O_DIRECTORY):
        assert condition.mask & flag


def test_a_fetcher_reaches_an_agent_or_the_network() -> None:
    plain = POLICIES[Role.FETCHER]
    agent, network = for_agent(plain), for_network(plain)
    added = {"connect", "getpeername", "setsockopt", "shutdown", "socket", "ioctl"}
    assert agent.allowed - plain.allowed == added
    assert network.allowed - plain.allowed == added
    for policy, families in ((agent, {1}), (network, {2, 10})):
        sockets = [each for each in policy.conditions if each.syscall == "socket" and not each.error]
        assert {(each.argument, each.mask) for each in sockets} == {(0, 0xFFFF_FFFF)}
        assert {each.value for each in sockets} == families
        assert (policy.sockets, policy.threads, policy.executable_memory) == (True, False, False)
        assert not policy.allowed & (FORBIDDEN | PROCESSES | {"bind", "listen", "accept", "accept4"})
        assert not policy.writable
        policy.check()


def test_what_is_closed_while_loading_is_known_to_the_library_and_leaves_the_last_filter_possible() -> None:
    module, simulator = POLICIES[Role.PKCS11_WORKER], for_tpm(POLICIES[Role.TPM_WORKER], _tcti("mssim", port=1))
    for policy in (module, for_module(module, MODULE_NEEDS), simulator):
        closed = list(closings(policy))
        assert all(isinstance(resolve(closing.syscall), int) for closing in closed)
        assert {closing.syscall for closing in closed if not closing.error} == FORBIDDEN - {"seccomp"}
        assert "seccomp" not in {closing.syscall for closing in closed}


def test_an_unknown_need_is_an_error() -> None:
    with pytest.raises(ValueError, match="there is no need root, only sockets, threads, libraries"):
        for_module(POLICIES[Role.PKCS11_WORKER], ("root",))


def _tcti(kind: str, *, path: str | None = None, port: int | None = None) -> TctiSettings:
    return TctiSettings(kind=kind, path=path, host=None, port=port, bus_name=None, bus_type=None)


@pytest.mark.parametrize(
    ("tcti", "way"),
    [
        (_tcti("device", path="/dev/tpmrm0"), {"opening": ("/dev/tpmrm0",)}),
        (_tcti("mssim", port=2321), {"tcp_ports": (2321, 2322)}),
        (_tcti("swtpm", port=2321), {"tcp_ports": (2321,)}),
        (_tcti("swtpm", path="/run/swtpm"), {"local_sockets": ("/run/swtpm",)}),
        (_tcti("tabrmd"), {"local_sockets": ("/run/dbus/system_bus_socket",)}),
    ],
)
def test_a_tpm_is_reached_in_one_way(tcti: TctiSettings, way: dict[str, Any]) -> None:
    plain = POLICIES[Role.TPM_WORKER]
    policy = for_tpm(plain, tcti)
    threads = {"mprotect", "exit"} if tcti.kind == "tabrmd" else set()
    assert policy == plain._replace(syscalls=plain.syscalls | threads, **way)
    assert policy.allowed == POLICIES[Role.SOFTWARE_WORKER].allowed - {"mprotect", "exit"} | threads


def test_there_has_to_be_a_way_to_a_tpm() -> None:
    with pytest.raises(ValueError, match="no way to a TPM"):
        for_tpm(POLICIES[Role.TPM_WORKER], _tcti("swtpm"))


def test_nothing_is_refused_twice() -> None:
    assert len(REFUSED) == len(set(REFUSED))


def test_the_default_grants_nothing() -> None:
    policy = Policy()
    assert (policy.allowed, policy.refusals, policy.readable, policy.writable) == (frozenset(), (), (), ())
    assert (policy.loading, policy.sockets, policy.threads) == ((), False, False)
    assert (policy.opening, policy.tcp_ports, policy.local_sockets) == ((), (), ())
    assert (policy.executable_memory, policy.open_files, policy.file_size) == (False, 0, 0)


def test_what_is_forbidden_cannot_be_allowed() -> None:
    for name in sorted(FORBIDDEN):
        with pytest.raises(ValueError, match=f"no policy may allow {name}"):
            Policy(syscalls=frozenset({name})).check()
        with pytest.raises(ValueError, match=f"no policy may allow {name}"):
            Policy(conditions=(Condition(syscall=name, argument=0, mask=0, value=0),)).check()


def test_an_unconditional_rule_would_hide_a_conditional_one() -> None:
    with pytest.raises(ValueError, match="both allowed and conditional: fcntl"):
        Policy(
            syscalls=frozenset({"fcntl"}), conditions=(Condition(syscall="fcntl", argument=1, mask=1, value=1),)
        ).check()


def test_paths_are_added_at_run_time() -> None:
    policy = POLICIES[Role.KIM].with_paths(readable=("/a",), writable=("/b",), loading=("/c",))
    assert (policy.readable, policy.writable, policy.loading) == (("/a",), ("/b",), ("/c",))
    assert policy.syscalls == POLICIES[Role.KIM].syscalls
    with pytest.raises(ValueError, match="not absolute: relative"):
        policy.with_paths(writable=("relative",)).check()


@pytest.mark.parametrize("reached", [{"opening": ("/a",)}, {"tcp_ports": (1,)}, {"local_sockets": ("/a",)}])
def test_what_is_reached_while_preparing_is_taken_away_later(reached: dict[str, Any]) -> None:
    Policy(loading=("/lib",), **reached).check()
    keeping: list[dict[str, Any]] = [{}, {"loading": ("/lib",), "executable_memory": True}]
    for kept in keeping:
        with pytest.raises(ValueError, match="would never be taken away"):
            Policy(**kept, **reached).check()


@pytest.mark.parametrize("reached", [{"opening": ("relative",)}, {"local_sockets": ("relative",)}])
def test_what_is_reached_while_preparing_is_absolute(reached: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not absolute: relative"):
        Policy(loading=("/lib",), **reached).check()


@pytest.mark.parametrize("policy", [*POLICIES.values(), RELAY])
def test_the_policies_contradict_neither_themselves_nor_the_guarantees(policy: Policy) -> None:
    policy.check()


def test_what_is_beneath_a_path_is_granted_with_it() -> None:
    policy = Policy(readable=("/a",), writable=("/b/c/",), loading=("/d",))
    granted = ["/a", "/a/x", "/b/c", "/b/c/x"]
    assert [path for path in (*granted, "/", "/ab", "/b", "/d/x") if policy.grants(path)] == granted
    assert Policy(readable=("/",)).grants("/etc/passwd")
    assert Policy(loading=("/d",), executable_memory=True).grants("/d/x")
