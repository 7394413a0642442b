"""The running processes as the kernel reports them: their privileges, limits, filters and descriptors.

What `main` and the launch path put together is what counts, so nothing here calls a part of it.
"""

import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from tests.harness import kernel_view
from tests.harness.events import reload, replace
from tests.harness.identities import AS_ROOT, OTHERS
from tests.harness.kernel_view import ALLOW, ERRNO, KILL
from tests.harness.pkcs11.service import TokenService
from tests.harness.relay import relays
from tests.harness.service import UNPRIVILEGED_UID, ProcessStatus, Service, acting_as
from tests.harness.tpm.service import TpmService
from tests.harness.watch import wait_for
from tests.harness.wire import Caller, Request, call

from cofferdam_contracts.roles import RELAY_UID, Role
from cofferdam_contracts.settings import TctiSettings
from cofferdam_runtime.sandbox.policies import POLICIES, RELAY, for_tpm
from cofferdam_runtime.sandbox.policy import Policy
from cofferdam_runtime.sandbox.seccomp import resolve

PING = Request()
CAPABILITIES_OF_THE_BROKER = {0, 1, 3, 5, 6, 7, 8}
"""linux/capability.h: chown, dac_override, fowner, kill, setgid, setuid, setpcap."""
ARCHITECTURE = kernel_view.ARCHITECTURES[platform.machine()]
X32_BIT = 0x40000000
MOST_CALLS = 512
"""More than the kernel has system calls."""
ARGUMENTS = (*range(64), *range(1020, 1040), *(1 << bit for bit in range(32)), 0o20000100, 0o6000, 0o2000, 0xFFFF_FFFF)
"""What an argument is tried with: small numbers, single bits, and several."""
TCTI = TctiSettings(kind="swtpm", path=None, host=None, port=1, bus_name=None, bus_type=None)
ROLES = {"kim": Role.KIM, "worker[software]": Role.SOFTWARE_WORKER, "frontend": Role.FRONTEND,
         "worker[pkcs11]": Role.PKCS11_WORKER, "worker[tpm]": Role.TPM_WORKER}  # fmt: skip


@dataclass(frozen=True)
class Running:
    """A service, and who started it."""

    service: Service
    own_uids: bool
    is_usual: bool
    """Whether it stands for all of them in tests whose result does not depend on the kind."""


@pytest.fixture(scope="module", params=["software", "pkcs11", "tpm", "user"])
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    """Return a service with each kind of worker, and one of a normal user."""
    kind = request.param
    makers: dict[str, Callable[[], Service | TokenService | TpmService]] = {
        "software": Service,
        "pkcs11": TokenService,
        "tpm": TpmService,
        "user": lambda: Service(as_user=UNPRIVILEGED_UID if AS_ROOT else None),
    }
    made = makers[kind]()
    service = made if isinstance(made, Service) else made.service
    # Root has none in a container, and then nobody sees whether they were given up.
    service.groups = (60100, 60200) if AS_ROOT else None
    with made:
        assert call(service.socket_path, PING).status == 0
        wait_for(lambda: is_settled(service))
        yield Running(service, own_uids=AS_ROOT and kind != "user", is_usual=kind == "software")


def is_settled(service: Service) -> bool:
    """Return whether all processes are ready, including a spare frontend."""
    rows = service.status()["processes"]
    spare = any(row["role"].startswith("frontend") and row["principal"] is None for row in rows)
    return spare and all(row["state"] == "ready" for row in rows)


def role_of(row: ProcessStatus) -> Role:
    return ROLES["frontend" if row["role"].startswith("frontend") else row["role"]]


def policy_of(row: ProcessStatus) -> Policy:
    policy = POLICIES[role_of(row)]
    return for_tpm(policy, TCTI) if role_of(row) is Role.TPM_WORKER else policy


def rows_of(running: Running) -> list[ProcessStatus]:
    return running.service.status()["processes"]


def test_the_broker_has_its_seven_capabilities_and_no_others(running: Running) -> None:
    seen = kernel_view.status(running.service.pid)
    mask = sum(1 << number for number in CAPABILITIES_OF_THE_BROKER) if running.own_uids else 0
    assert [int(seen[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")] == [mask, mask, 0, 0]
    if running.own_uids:
        assert int(seen["CapBnd"], 16) == mask
    else:
        # For a process of root the owner of its folder in /proc is the same either way.
        assert not kernel_view.is_dumpable(running.service.pid)
    assert seen["NoNewPrivs"] == "1"
    assert len(kernel_view.threads(running.service.pid)) == 1


def test_every_thread_of_every_child_has_nothing_left(running: Running) -> None:
    for row in rows_of(running):
        pid, role = row["pid"], row["role"]
        threads = kernel_view.threads(pid)
        assert len(threads) == (2 if role_of(row) is Role.SOFTWARE_WORKER else 1), role
        own = kernel_view.status(running.service.pid)
        for thread in threads:
            seen = kernel_view.status(pid, thread)
            held = [int(seen[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")]
            assert held == [0, 0, 0, 0], role
            assert (seen["NoNewPrivs"], seen["Seccomp"]) == ("1", "2"), role
            added = int(seen["Seccomp_filters"]) - int(own["Seccomp_filters"])
            assert added == (2 if policy_of(row).loading else 1), role
            if running.own_uids:
                assert row["uid"] is not None
                assert (seen["Uid"].split(), seen["Gid"].split()) == ([str(row["uid"])] * 4,) * 2, role
                assert (seen["Groups"], int(seen["CapBnd"], 16)) == ("", 0), role
            else:
                assert (seen["Uid"], seen["Gid"], seen["Groups"]) == (own["Uid"], own["Gid"], own["Groups"]), role


def test_processes_of_different_roles_and_principals_have_different_uids(running: Running) -> None:
    uids = [row["uid"] for row in rows_of(running)]
    if running.own_uids:
        assert len(set(uids)) == len(uids)
        assert 0 not in uids
    else:
        assert set(uids) == {None}


def test_no_child_can_be_traced_or_leaves_a_core(running: Running) -> None:
    for row in rows_of(running):
        assert not kernel_view.is_dumpable(row["pid"]), row["role"]
        assert kernel_view.limits(row["pid"])["Max core file size"] == ("0", "0"), row["role"]


def test_every_child_has_the_limits_of_its_policy(running: Running) -> None:
    for row in rows_of(running):
        policy, limits = policy_of(row), kernel_view.limits(row["pid"])
        files = str(policy.open_files)
        assert limits["Max open files"] == (files, files), row["role"]
        if not policy.threads:
            assert limits["Max processes"] == ("0", "0"), row["role"]
        size = kernel_view.UNLIMITED if policy.file_size is None else str(policy.file_size)
        assert limits["Max file size"][0] == size, row["role"]


@pytest.mark.skipif(not AS_ROOT, reason="only root sees into a process that is not dumpable")
def test_the_filter_that_is_loaded_is_the_policy(running: Running) -> None:
    """Every system call there is, in every thread, and the arguments that a policy asks about."""
    for row in rows_of(running):
        for thread in kernel_view.threads(row["pid"]):
            last = kernel_view.filters(thread)[-1:]
            assert wrong_verdicts(last, policy_of(row)) == {}, row["role"]
            # Of another architecture, whose numbers mean something else.
            assert kernel_view.verdict(last, 0x40000003, 20) == KILL
            if platform.machine() == "x86_64":
                assert kernel_view.verdict(last, ARCHITECTURE, X32_BIT | resolve("getpid")) == KILL


def test_the_relay_of_the_log_is_confined_too(running: Running) -> None:
    """The relay is not in the broker's table of children, and its stderr is the log itself."""
    (relay,) = relays(running.service.pid)
    seen, limits = kernel_view.status(relay), kernel_view.limits(relay)
    own = kernel_view.status(running.service.pid)
    assert [int(seen[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")] == [0, 0, 0, 0]
    assert (seen["NoNewPrivs"], seen["Seccomp"], len(kernel_view.threads(relay))) == ("1", "2", 1)
    assert not kernel_view.is_dumpable(relay)
    assert (limits["Max core file size"], limits["Max processes"]) == (("0", "0"), ("0", "0"))
    assert limits["Max open files"] == (str(RELAY.open_files),) * 2
    if not running.own_uids:
        assert (seen["Uid"], seen["Gid"], seen["Groups"]) == (own["Uid"], own["Gid"], own["Groups"])
        return
    assert (seen["Uid"].split(), seen["Gid"].split()) == ([str(RELAY_UID)] * 4,) * 2
    assert (seen["Groups"], int(seen["CapBnd"], 16)) == ("", 0)
    assert wrong_verdicts(kernel_view.filters(relay)[-1:], RELAY) == {}
    wait_for(lambda: len(sockets(relay)) == 1 + len(rows_of(running)))
    others = [found for found in kernel_view.descriptors(relay) if found.inode is None]
    log = str(running.service.log_path)
    assert [found.target for found in others] == [log, log, "anon_inode:[eventpoll]"]


def wrong_verdicts(programs: list[kernel_view.Program], policy: Policy) -> dict[str, str]:
    """Return the system calls for which a filter deviates from its policy."""
    unconditional = {resolve(name): name for name in policy.syscalls}
    conditional = {resolve(condition.syscall) for condition in policy.conditions}
    errors = {resolve(name): refusal.error for refusal in policy.refusals for name in refusal.syscalls - policy.allowed}
    wrong = {}
    for number in range(MOST_CALLS):
        seen = kernel_view.verdict(programs, ARCHITECTURE, number)
        if number in conditional:
            continue
        expected = ALLOW if number in unconditional else ERRNO | errors[number] if number in errors else KILL
        if seen != expected:
            wrong[str(number)] = f"{seen:#x} instead of {expected:#x}"
    for name, position in {"mmap": 2, "mprotect": 2}.items():
        if name in policy.syscalls:
            for protection in range(8):
                seen = kernel_view.verdict(programs, ARCHITECTURE, resolve(name), [0] * position + [protection])
                if (seen == ALLOW) != (policy.executable_memory or not protection & 4):
                    wrong[f"{name} {protection}"] = f"{seen:#x}"
    for name in {condition.syscall for condition in policy.conditions}:
        wrong |= _wrong_conditions(programs, policy, name)
    return wrong


def _wrong_conditions(programs: list[kernel_view.Program], policy: Policy, name: str) -> dict[str, str]:
    conditions = [condition for condition in policy.conditions if condition.syscall == name and not condition.error]
    positions = {condition.argument for condition in conditions}
    wrong = {}
    for value in ARGUMENTS:
        arguments = [value if position in positions else 0 for position in range(6)]
        allowed = any(value & condition.mask == condition.value for condition in conditions)
        seen = kernel_view.verdict(programs, ARCHITECTURE, resolve(name), arguments)
        if (seen == ALLOW) != allowed:
            wrong[f"{name} {value:#x}"] = f"{seen:#x}"
    return wrong


# Which processes hold which ends of sockets.


def sockets(pid: int) -> set[int]:
    return {found.inode for found in kernel_view.descriptors(pid) if found.inode is not None}


def wiring_faults(service: Service) -> list[str]:
    """Return what is connected otherwise than the process graph says; the service has to be at rest."""
    rows = service.status()["processes"]
    held = {row["pid"]: sockets(row["pid"]) for row in rows}
    broker = sockets(service.pid)
    servers = [row for row in rows if not row["role"].startswith("frontend")]
    workers = [row for row in servers if row["role"] != "kim"]
    assigned = [row for row in rows if row["principal"] is not None]
    faults = []
    for row in rows:
        mine = held[row["pid"]]
        others = [other for other in rows if other is not row and mine & held[other["pid"]]]
        faults += [f"{row['role']} and {other['role']} both hold a socket" for other in others]
        clients = 0 if row not in servers else len(assigned) + (len(workers) if row["role"] == "kim" else 0)
        if (ends := len(mine & broker)) != clients:
            faults.append(f"{row['role']} holds {ends} ends that the broker keeps instead of {clients}")
        # The control socket, the one to the log, and the client's end of a channel to each server; the worker of a TPM
        # has the way there.
        asked = len(servers) if row in assigned else 1 if row in workers else 0
        asked += row["role"] == "worker[tpm]"
        if (private := len(mine - broker)) != 2 + asked:
            faults.append(f"{row['role']} holds {private} sockets of its own instead of {2 + asked}")
    return faults


def other_descriptors(service: Service) -> list[str]:
    """Return the descriptors of children that are no sockets and that their role does not need."""
    faults = []
    for row in service.status()["processes"]:
        for found in kernel_view.descriptors(row["pid"]):
            if found.inode is not None or (found.number, found.target) == (0, os.devnull):
                continue
            is_expected = found.target == "anon_inode:[eventpoll]" or (
                {
                    Role.KIM: found.target.startswith(f"{service.folder}/kim/kim.sqlite3"),
                    Role.SOFTWARE_WORKER: found.target.startswith("anon_inode:[eventfd"),
                    Role.PKCS11_WORKER: found.target.startswith(f"{service.folder}/"),
                }.get(role_of(row), False)
            )
            if not is_expected:
                faults.append(f"{row['role']} has {found.target}")
    return faults


@pytest.mark.skipif(not AS_ROOT, reason="only root sees into a process that is not dumpable")
def test_every_end_of_every_socket_is_where_it_belongs(running: Running) -> None:
    """Also those of frontends that started after the channels of others, and of whoever was replaced."""
    service = running.service
    for uid in OTHERS:
        with acting_as(uid):
            assert call(service.socket_path, PING).status == 0

    def check() -> None:
        wait_for(lambda: is_settled(service), 20)
        wait_for(lambda: not wiring_faults(service), 3, lambda: wiring_faults(service))
        assert other_descriptors(service) == []
        inherited = [found for found in kernel_view.descriptors(service.pid) if found.number > 2]
        assert [found for found in inherited if not found.closes_on_exec] == []
        for row in service.status()["processes"]:
            open_on_exec = [found for found in kernel_view.descriptors(row["pid"]) if not found.closes_on_exec]
            assert {found.number for found in open_on_exec} <= {0, 1, 2}, row["role"]

    check()
    if not running.is_usual:
        return
    for role in ("kim", "worker[software]"):
        replace(service, role)
        check()
    with acting_as(59004):
        assert call(service.socket_path, PING).status == 0
    check()
    reload(service)
    for uid in (os.getuid(), *OTHERS):
        with acting_as(uid):
            assert call(service.socket_path, Caller(uid).random(1)).status == 0
    check()
