"""An attacker's code in the shipped frontend, worker and key store of a running service, and its consequences.

The processes are started by the shipped broker and enter the sandbox by their shipped `main`; the hole that lets code
in is planted by `tests/harness/takeover`. What counts is the effect: a process that is killed by SIGSYS, a file that
does not appear, a victim that lives. Each attempt succeeds in the same processes where they are not confined.

Two sources speak for what a list cannot hold: `test_processes` compares the loaded filters with the policies, call by
call, and the last test here uses a debugger on processes in which nothing was planted.
"""

import errno
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.harness import kernel_view
from tests.harness.identities import AS_ROOT, Identity
from tests.harness.service import Service
from tests.harness.takeover import forgeries
from tests.harness.takeover.forgeries import ANSWERED, ENDED, FORGERIES, REFUSED, Forgery
from tests.harness.takeover.service import TakenOver
from tests.harness.watch import wait_for
from tests.harness.wire import Request, call
from tests.runtime.sandbox.attacks import ATTACKS, NOT_IN_THIS_KERNEL, STOPPED_BY, Attack, Scene
from tests.runtime.sandbox.harness import playground

from cofferdam_runtime.accusations import MOST_ACCUSED

ROLES = ("frontend", "software", "kim")
FATAL_IN_SERVERS = {
    *("run a shell", "fork by its own call", "trace another", "become root", "turn data into code"),
    *("make an io_uring", "bind a lookalike"),
}
"""What servers are killed for here; the rest is seen in their filters. A server takes longer to come back."""
ATTACKER = 59002 if AS_ROOT else os.getuid()
FIRST_OF_MANY = 59200
AT_ONCE = MOST_ACCUSED - 1
"""Of the forgers' uids, so that nobody takes an honest server for one that accuses everybody."""
TITLES = {"worker": "worker[software]", "kim": "kim"}
FLOOD = 20_000
VICTIM = """
import ctypes, os, sys
secret = ctypes.create_string_buffer(b"memory of the victim")
pipe, _ = os.pipe()
print(ctypes.addressof(secret), pipe, flush=True)
sys.stdin.read()
"""


@dataclass
class Stage:
    """What attempts look for, beside the service."""

    folder: Path
    listener: socket.socket
    notify: socket.socket
    abstract: socket.socket
    victim: subprocess.Popen[str]
    secret: int = 0
    pipe: int = 0

    def renew_victim(self) -> None:
        """Start another victim if the last one is dead."""
        if self.victim.poll() is None and self.secret:
            return
        self.victim.communicate()
        command = [sys.executable, "-I", "-S", "-c", VICTIM]
        self.victim = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.victim.stdout is not None
        self.secret, self.pipe = map(int, self.victim.stdout.readline().split())

    def attempt(self, attack: Attack) -> str:
        """Return the code that makes an attempt in a process."""
        return f"""
import sys
from pathlib import Path
attacks = sys.modules["tests.runtime.sandbox.attacks"]
say(attacks.report({attack.name!r}, attacks.Scene(
    folder=Path({str(self.folder)!r}), victim={self.victim.pid}, pipe={self.pipe}, secret={self.secret},
    directory=held["directory"], listener=None, abstract={self.abstract.getsockname()!r}, notify=None,
    terminal=held["terminal"], code=held["code"], keep=None, spare=[held["spare"][{attack.number} % 8]],
)))
"""

    def had_effect(self, attack: Attack, outcome: str) -> bool:
        """Tell, from outside, whether an attempt had its effect."""
        nothing: Any = None
        scene = Scene(
            folder=self.folder,
            victim=self.victim.pid,
            pipe=-1,
            directory=-1,
            listener=self.listener,
            abstract=b"",
            notify=self.notify,
            terminal=(-1, -1),
            code=nothing,
            keep=nothing,
        )
        return attack.had_effect(scene, outcome)


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Prepare what attempts look for."""
    with ExitStack() as opened:
        sockets = [
            opened.enter_context(socket.socket(socket.AF_UNIX, kind))
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_STREAM)
        ]
        listener, notify, abstract = sockets
        for bound, name in ((listener, "service.sock"), (notify, "notify.sock")):
            (folder / name).unlink(missing_ok=True)
            bound.bind(str(folder / name))
            (folder / name).chmod(0o666)
        abstract.bind("")
        listener.listen()
        abstract.listen()
        listener.settimeout(0)
        nobody = subprocess.Popen(["true"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        made = Stage(folder, listener, notify, abstract, nobody)
        try:
            yield made
        finally:
            made.victim.communicate()


def expected(attack: Attack) -> set[str]:
    return {"killed"} if attack.fatal else STOPPED_BY | {"killed"}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with playground() as made:
        yield made


@pytest.fixture(scope="module")
def taken(folder: Path) -> Iterator[TakenOver]:
    """Return a service that was taken over, in which root has a key."""
    with TakenOver(playground=folder) as service:
        Identity(os.getuid()).make(service.socket_path, "root's")
        yield service


def test_every_attempt_succeeds_where_nothing_is_confined() -> None:
    """Otherwise it would prove nothing that it fails."""
    with playground() as other, TakenOver(playground=other, confined=False) as service, stage(other) as made:
        for role in ROLES:
            seen = {}
            for attack in ATTACKS.values():
                made.renew_victim()
                outcome = service.run(role, made.attempt(attack), ATTACKER)
                usual = {"done"} if AS_ROOT or not attack.root else {"EPERM", "EACCES"}
                if outcome not in usual | NOT_IN_THIS_KERNEL.get(attack.name, set()):
                    seen[attack.name] = outcome
                elif attack.effect is not None and made.had_effect(attack, outcome) != (outcome == "done"):
                    seen[attack.name] = f"{outcome}, without effect"
            assert seen == {}, role


@pytest.mark.parametrize("role", ROLES)
def test_what_is_not_fatal_fails_and_the_process_serves_on(taken: TakenOver, folder: Path, role: str) -> None:
    seen = {}
    assert taken.run(role, "say(1)", ATTACKER) == 1
    before = taken.pid_of(role, ATTACKER)
    with stage(folder) as made:
        for attack in ATTACKS.values():
            if attack.fatal:
                continue
            made.renew_victim()
            outcome = taken.run(role, made.attempt(attack), ATTACKER)
            if outcome == "died" and "SIGSYS" in taken.death_of(before):
                outcome = "killed"
                taken.run(role, "say(1)", ATTACKER)
                before = taken.pid_of(role, ATTACKER)
            if outcome not in expected(attack) or made.had_effect(attack, outcome):
                seen[attack.name] = outcome
        assert made.victim.poll() is None
    assert seen == {}
    assert taken.run(role, "say(1)", ATTACKER) == 1
    assert taken.pid_of(role, ATTACKER) == before


@pytest.mark.parametrize("role", ROLES)
def test_what_is_fatal_ends_the_process_and_nothing_else(taken: TakenOver, folder: Path, role: str) -> None:
    attacks = [
        attack
        for attack in ATTACKS.values()
        if attack.fatal and (role == "frontend" or attack.name in FATAL_IN_SERVERS)
    ]
    at_once = AT_ONCE if role == "frontend" and AS_ROOT else 1
    others = {name: taken.pid_of(name, ATTACKER) for name in ("software", "kim") if name != role}
    with stage(folder) as made:
        made.renew_victim()
        for start in range(0, len(attacks), at_once):
            kill_some(taken, made, role, attacks[start : start + at_once])
        assert made.victim.poll() is None
    assert {name: taken.pid_of(name, ATTACKER) for name in others} == others
    assert taken.pid == taken.pids()[0]


def kill_some(taken: TakenOver, made: Stage, role: str, attacks: list[Attack]) -> None:
    """Make attempts in as many processes at once, each of which has to be killed by the kernel."""
    with ExitStack() as opened:
        under_way = []
        for number, attack in enumerate(attacks):
            uid = FIRST_OF_MANY + number if role == "frontend" and AS_ROOT else ATTACKER
            connection = opened.enter_context(taken.connect(uid))
            under_way.append((attack, uid, connection))
        for _, _, connection in under_way:
            taken.send(connection, role, "say(1)")
        pids = []
        for attack, uid, connection in under_way:
            assert taken.answer(connection) == 1
            pids.append((attack, taken.pid_of(role, uid)))
            taken.send(connection, role, made.attempt(attack))
        for attack, _, connection in under_way:
            outcome = taken.answer(connection)
            assert outcome == "died", (attack.name, outcome)
            assert not made.had_effect(attack, outcome), attack.name
    for attack, pid in pids:
        assert taken.death_of(pid) == "killed by SIGSYS", attack.name


@pytest.mark.parametrize("server", ["worker", "kim"])
def test_a_forged_message_costs_the_forger_its_channel_and_nobody_anything(taken: TakenOver, server: str) -> None:
    before = servers(taken)
    wrong = {}
    for forgery, uid, pid, answer in forge(taken, server):
        whole = [ANSWERED[server], forgery.outcome]
        # Without root all clients have one uid, so the key of the others is their own.
        if answer != whole and (AS_ROOT or forgery.number != 45):
            wrong[forgery.name] = answer
        # It gets another channel, over which it is served as before.
        wait_for(lambda uid=uid: taken.run("frontend", forgeries.code("ask", server), uid) == ANSWERED[server])  # type: ignore[misc]
        assert taken.pid_of("frontend", uid) == pid, f"{forgery.name}: another frontend"
    assert wrong == {}
    assert servers(taken) == before
    refused = [f for f in FORGERIES if f.server == server and f.outcome == REFUSED]
    accused = f'event="a process says that another broke the protocol" process={TITLES[server]} other=frontend['
    assert taken.log().count(accused) == len(refused), "the server has a reason for each channel that it closes"
    check_the_others(taken)


def test_a_forged_record_ends_the_forger_and_nobody_else(taken: TakenOver) -> None:
    before = servers(taken)
    answers = {}
    for forgery, _, pid, answer in forge(taken, "broker"):
        answers[forgery.name] = answer
        assert taken.death_of(pid) == "killed by SIGKILL", forgery.name
        said = rf'"a process broke the protocol of its control socket and is killed" process=\S+ pid={pid} '
        assert re.search(said, taken.log()), forgery.name
    assert answers == {f.name: f.outcome for f in FORGERIES if f.server == "broker"} == dict.fromkeys(answers, ENDED)
    assert servers(taken) == before
    check_the_others(taken)


def servers(taken: TakenOver) -> list[int]:
    return [taken.pid, *taken.pids("kim"), *taken.pids("worker[software]")]


def check_the_others(taken: TakenOver) -> None:
    owner = Identity(os.getuid())
    assert "root's" in owner.listed(taken.socket_path)
    assert owner.sign(taken.socket_path, "root's", bytes(32)).status == 0


def forge(taken: TakenOver, server: str) -> Iterator[tuple[Forgery, int, int, Any]]:
    """Make all attempts against a server, some at once; yield each with its uid, its frontend, and what that said."""
    attempts = [forgery for forgery in FORGERIES if forgery.server == server]
    at_once = AT_ONCE if AS_ROOT else 1
    for start in range(0, len(attempts), at_once):
        forgers = []
        with ExitStack() as opened:
            under_way = []
            for number, forgery in enumerate(attempts[start : start + at_once]):
                uid = FIRST_OF_MANY + number if AS_ROOT else ATTACKER
                connection = opened.enter_context(taken.connect(uid))
                taken.send(connection, "frontend", "say(1)")
                under_way.append((forgery, uid, connection))
            for forgery, uid, connection in under_way:
                assert taken.answer(connection) == 1
                forgers.append((forgery, uid, taken.pid_of("frontend", uid), connection))
                taken.send(connection, "frontend", forgeries.code("forge", forgery.name))
            made = [(forgery, uid, pid, taken.answer(connection)) for forgery, uid, pid, connection in forgers]
        yield from made


@pytest.mark.skipif(not AS_ROOT, reason="only root sees the descriptors of a process that is not dumpable")
@pytest.mark.parametrize("server", ["worker", "kim"])
def test_descriptors_that_are_sent_stay_nowhere(taken: TakenOver, server: str) -> None:
    assert taken.run("frontend", "say(1)", ATTACKER) == 1
    pid = taken.pid_of("kim" if server == "kim" else "software", ATTACKER)
    before = [len(kernel_view.descriptors(other)) for other in (pid, taken.pid)]
    statuses = taken.run("frontend", forgeries.code("send_descriptors", server, 20), ATTACKER)
    # Since Linux 6.16 the message is not sent at all; before, it arrives without them.
    assert statuses in ([ANSWERED[server]] * 20, [errno.EPERM] * 20)
    assert [len(kernel_view.descriptors(other)) for other in (pid, taken.pid)] == before


@pytest.mark.parametrize("server", ["worker", "kim"])
def test_who_reads_no_answers_holds_up_nobody_else(taken: TakenOver, server: str) -> None:
    other = Identity(59003 if AS_ROOT else os.getuid())
    flood = forgeries.code("flood", server, FLOOD)
    assert 0 < taken.run("frontend", flood, ATTACKER) < FLOOD, "the server takes no more of who takes no answers"
    if AS_ROOT:
        other.make(taken.socket_path, f"while {server} is flooded")
        assert other.sign(taken.socket_path, f"while {server} is flooded", bytes(32)).status == 0
        assert other.listed(taken.socket_path) >= set(other.keys)
    assert taken.run("frontend", flood, ATTACKER) == 0, "nobody read an answer meanwhile"
    frontend = taken.pid_of("frontend", ATTACKER)
    os.kill(frontend, signal.SIGKILL)
    taken.death_of(frontend)
    assert call(taken.socket_path, Request()).status == 0


@pytest.mark.skipif(not AS_ROOT, reason="only root can be many uids")
def test_a_frontend_has_no_end_of_anybody_else(taken: TakenOver) -> None:
    uids = range(FIRST_OF_MANY, FIRST_OF_MANY + 3)
    for uid in uids:
        assert taken.run("frontend", "say(1)", uid) == 1
    for uid in uids:
        kinds = taken.run("frontend", forgeries.code("probe_descriptors"), uid)
        ends = [number for number, kind in kinds.items() if kind == socket.SOCK_SEQPACKET]
        # The channel to the log, twice, the control socket, and one channel to each of two servers.
        assert ends[:2] == ["1", "2"], kinds
        assert len(ends) == 2 + 3, kinds


# The same processes without a planted hole, attacked with a debugger.

INSIDE = """
import os, sys, _socket, ctypes
def attempt(name, action):
    try: action(); outcome = 'done'
    except (OSError, ImportError) as error: outcome = type(error).__name__
    os.write(2, ('inside %s: %s\\n' % (name, outcome)).encode())
attempt('read', lambda: os.open('/etc/passwd', 0))
attempt('own memory', lambda: os.open('/proc/self/mem', 2))
attempt('socket', lambda: _socket.socket(_socket.AF_INET))
attempt('fork', os.fork)
attempt('kill', lambda: os.kill(os.getppid(), 0))
attempt('import', lambda: __import__('colorsys'))
attempt('library', lambda: ctypes.CDLL('libz.so.1.none'))
os.write(2, b'inside now\\n')
os.setuid(0)
os.write(2, b'inside still there\\n')
"""


@pytest.mark.skipif(not AS_ROOT, reason="only root may use a debugger on a process that is not dumpable")
@pytest.mark.parametrize("role", ["frontend", "worker[software]", "kim"])
def test_code_that_a_debugger_puts_into_the_shipped_process_reaches_nothing(service: Service, role: str) -> None:
    assert call(service.socket_path, Request()).status == 0
    pid = service.pids(role)[0]
    code = INSIDE.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    commands = ["call (int)PyGILState_Ensure()", f'call (int)PyRun_SimpleString("{code}")', "detach"]
    words = [word for command in commands for word in ("-ex", command)]
    assert shutil.which("gdb"), "gdb is one of the packages that ./dev installs for root"
    # The debugger does not always survive the death of its target, and need not leave a core either.
    debugger = ["prlimit", "--core=0", "gdb", "-q", "-nx", "-batch", "-p", str(pid), *words]
    subprocess.run(debugger, cwd=service.folder, capture_output=True, timeout=60, check=False)
    wait_for(lambda: f"pid={pid} how=" in service.log(), explain=service.log)
    lines = [line for line in service.log().splitlines() if line.startswith("inside ")]
    (place,) = [place for place, line in enumerate(lines) if line == "inside now"][-1:]
    assert {line.rpartition(" ")[2] for line in lines[place - 7 : place]} <= {"PermissionError", "OSError",
            "FrozenImportsError"}, lines  # fmt: skip
    assert lines[place:] == ["inside now"]
    assert f'pid={pid} how="killed by SIGSYS"' in service.log()
