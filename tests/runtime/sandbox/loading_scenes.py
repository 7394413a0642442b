"""What a vendor's module may try while it is loaded; scenes like those beside it."""

import _socket
import ctypes
import os
import signal
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.runtime.sandbox import attacks

from cofferdam_contracts.roles import Role
from cofferdam_runtime.sandbox import enter, inspect, seccomp
from cofferdam_runtime.sandbox.enter import enter_sandbox
from cofferdam_runtime.sandbox.policies import POLICIES, for_module

UID: Final = 60123 if os.getuid() == 0 else None


def _detach() -> None:
    if not os.fork():
        os.setsid()
        os._exit(0)


_ALLOW: Final = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0x7FFF0000))
"""A filter of one instruction."""
LOADING: Final[dict[str, Callable[[], object]]] = {
    "thread": lambda: threading.Thread(target=bytes).start(),
    "file": lambda: os.close(os.open("made", os.O_WRONLY | os.O_CREAT, 0o644)),
    "fork": lambda: os.waitpid(os.fork() or os._exit(0), 0),
    "fork by its own call": lambda: os.waitpid(attacks.call("fork") or os._exit(0), 0),
    "vfork": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "detached child": _detach,
    "session": os.setsid,
    "execve": lambda: os.execv("/bin/true", ["true"]),  # noqa: S606
    "io_uring": lambda: attacks.call("io_uring_setup", 1, bytes(120)),
    "trace": lambda: attacks.call("ptrace", 0, 0, 0, 0),
    "IPv4 socket": lambda: _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM),
    "local socket": lambda: _socket.socket(_socket.AF_UNIX),
    "netlink socket": lambda: _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW),
    "vsock socket": lambda: _socket.socket(_socket.AF_VSOCK),
    "pair of sockets": _socket.socketpair,
    "signal": lambda: os.kill(os.getpid(), 0),
    "live on alone": lambda: attacks.call("prctl", 1, 0, 0, 0, 0),
    "become traceable": lambda: attacks.call("prctl", attacks.PR_SET_DUMPABLE, 1, 0, 0, 0),
    "filter by prctl": lambda: attacks.call("prctl", 22, 2, struct.pack("H6xP", 1, ctypes.addressof(_ALLOW)), 0, 0),
    "mode of a file": lambda: Path("old").chmod(0o4755),
    "mode by descriptor": lambda: os.fchmod(os.open("old", os.O_RDONLY), 0o2755),
    "file with a mode": lambda: os.close(os.open("special", os.O_WRONLY | os.O_CREAT, 0o4755)),
    "node with a mode": lambda: os.mknod("node", 0o104755),
}
"""What a module may try while it is loaded: the first two are allowed."""


def while_loading(folder: str, name: str, needs: str = "", confined: str = "yes") -> object:
    """Try something in a module's constructor, in a child, and tell how it ended and whether anything stayed."""
    token = Path(folder, "kim")
    os.chdir(token)
    Path("old").touch()
    Path("old").chmod(0o666)
    if UID is not None:
        os.chown("old", UID, UID)
    policy = for_module(POLICIES[Role.PKCS11_WORKER], needs.split()).with_paths(writable=(folder,), loading=("/bin",))
    if confined != "yes":
        seccomp.load_first = lambda policy: None  # noqa: ARG005
    outcome, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            enter_sandbox(policy, uid=UID, parent=os.getppid(), prepare=lambda: _report(writer, LOADING[name]))
        finally:
            os._exit(1)
    os.close(writer)
    _, status = os.waitpid(child, 0)
    with os.fdopen(outcome) as pipe:
        said = pipe.read()
    return said or {-signal.SIGSYS: "killed", 0: "done"}.get(os.waitstatus_to_exitcode(status), status)


def _report(writer: int, use: Callable[[], object]) -> None:
    try:
        use()
        os.write(writer, b"done")
    except OSError as error:
        os.write(writer, attacks.outcome_of(error).encode())
    os._exit(0)


def after_loading(role: str, patched: str) -> object:
    """Tell how many filters a worker has of its own, where its module is harmless, and where it patched the loader."""
    before = max(thread.seccomp_filters for thread in inspect.observe(os.getpid()))
    started = threading.Event()
    threads: list[threading.Thread] = []

    def prepare() -> None:
        threads.append(threading.Thread(target=started.wait, daemon=True))
        threads[0].start()
        if patched == "yes":
            seccomp.load = lambda policy: None  # noqa: ARG005
            enter.selftest.SelfTest.run = lambda *_arguments: None  # type: ignore[attr-defined]

    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        enter_sandbox(POLICIES[Role[role]], uid=UID, parent=os.getppid(), prepare=prepare)
        os.write(writer, b"x")
        threading.Event().wait()
    os.read(reader, 1)
    held = [thread.seccomp_filters - before for thread in inspect.observe(child)]
    lacks = inspect.lacking(child, uid=UID, filters=before + 2)
    os.kill(child, signal.SIGKILL)
    return {"held": held, "lacks": len(lacks) > 0}


def reaching(folder: str, granted: str) -> object:
    """Tell what stops a worker from reaching things while it is prepared, and later, where one of them is granted."""
    ports, listeners = [], []
    for _ in range(2):
        listener = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        listener.bind(("127.0.0.1", 0))
        ports.append(listener.getsockname()[1])
        listener.listen()
        listeners.append(listener)
    local = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    path = str(Path(folder, "public.sock"))
    local.bind(path)
    Path(path).chmod(0o666)
    local.listen()
    grants = {"opening": ("/dev/zero", "/nonexistent"), "tcp_ports": (ports[0],), "local_sockets": (path,)}
    policy = POLICIES[Role.PKCS11_WORKER]
    policy = policy._replace(**{granted: grants[granted]}) if granted else policy  # type: ignore[arg-type]
    attempts: dict[str, Callable[[], object]] = {
        "device": lambda: os.close(os.open("/dev/zero", os.O_RDWR)),
        "other device": lambda: os.close(os.open("/dev/null", os.O_RDWR)),
        "port": lambda: _connect(_socket.AF_INET, ("127.0.0.1", ports[0])),
        "other port": lambda: _connect(_socket.AF_INET, ("127.0.0.1", ports[1])),
        "local socket": lambda: _connect(_socket.AF_UNIX, path),
        "datagrams": lambda: _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM),
        "other datagrams": lambda: _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC),
        "pair of sockets": _socket.socketpair,
    }
    reached: list[dict[str, str]] = []

    def try_all() -> None:
        reached.append({name: _outcome(attempt) for name, attempt in attempts.items()})

    enter_sandbox(policy, uid=UID, parent=os.getppid(), prepare=try_all)
    del attempts["pair of sockets"]
    try_all()
    return reached


def _connect(family: int, address: tuple[str, int] | str) -> None:
    client = _socket.socket(family, _socket.SOCK_STREAM)
    try:
        client.connect(address)
    finally:
        client.close()


def _outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return attacks.outcome_of(error)
    return "done"


def special_mode(folder: str, role: str, how: str, mode: str) -> object:
    """Make a file of a mode once all is closed, in a child, and tell how it ended."""
    path = str(Path(folder, "kim", "made"))
    child = os.fork()
    if not child:
        enter_sandbox(POLICIES[Role[role]].with_paths(writable=(folder,)), uid=UID, parent=os.getppid())
        made = os.open(path, os.O_WRONLY | os.O_CREAT, int(mode, 8) if how == "open" else 0o644)
        if how == "fchmod":
            os.fchmod(made, int(mode, 8))
        os.close(os.open(path, os.O_RDONLY, 0o7777))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return {-signal.SIGSYS: "killed", 0: "done"}.get(os.waitstatus_to_exitcode(status), status)
