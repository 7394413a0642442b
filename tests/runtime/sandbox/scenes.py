"""What processes do in the sandbox when nobody attacks, and when something is wrong with it.

Run by name in an interpreter of their own; each prints one JSON value.
"""

import _socket
import array
import ctypes
import errno
import fcntl
import gc
import hashlib
import json
import os
import select
import signal
import sqlite3
import struct
import sys
import threading
import tomllib
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.runtime.sandbox import attacks
from tests.runtime.sandbox.loading_scenes import UID, after_loading, reaching, special_mode, while_loading  # noqa: F401  run by name

from cofferdam_contracts.roles import Role
from cofferdam_runtime.sandbox import enter, imports, inspect, landlock, limits, prctl, seccomp
from cofferdam_runtime.sandbox.broker import trim_broker_capabilities
from cofferdam_runtime.sandbox.enter import Achieved, enter_sandbox
from cofferdam_runtime.sandbox.errors import SandboxError
from cofferdam_runtime.sandbox.policies import POLICIES, for_module
from cofferdam_runtime.sandbox.policy import Policy
from cofferdam_runtime.sandbox.title import set_title


def _enter(policy: Policy, prepare: Callable[[], object] | None = None) -> Achieved:
    return enter_sandbox(policy, uid=UID, parent=os.getppid(), prepare=prepare)


def _summary(achieved: Achieved) -> dict[str, object]:
    return {"level": achieved.level, "abi": achieved.landlock_abi, "notes": achieved.notes}


def _strain() -> None:
    """Use memory, exceptions and the collector as a long life would."""
    grown = bytearray()
    for _ in range(200):
        grown += bytes(64 * 1024)
    del grown
    loops: list[list[object]] = [[] for _ in range(10_000)]
    for loop in loops:
        loop.append(loop)
    del loops
    gc.collect()
    try:
        raise RuntimeError("seen in a traceback")
    except RuntimeError:
        assert "seen in a traceback" in traceback.format_exc()
    assert len(os.urandom(32)) == 32
    hashlib.sha256(bytes(1 << 20)).digest()


def frontend() -> object:
    """Serve connections that arrive over a control socket."""
    control, broker = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    pairs = [_socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM) for _ in range(20)]
    epoll = select.epoll()
    epoll.register(control.fileno(), select.EPOLLIN)
    achieved = _enter(POLICIES[Role.FRONTEND])
    for client, server in pairs:
        right = array.array("i", [server.fileno()])
        broker.sendmsg([b"client"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, right)])
        assert epoll.poll(1)
        _, ancillary, _, _ = control.recvmsg(64, _socket.CMSG_SPACE(16), _socket.MSG_CMSG_CLOEXEC)
        (descriptor,) = struct.unpack("i", ancillary[0][2])
        connection = _socket.socket(fileno=descriptor)
        epoll.register(descriptor, select.EPOLLIN)
        client.send(b"question")
        assert (descriptor, select.EPOLLIN) in epoll.poll(1)
        connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        connection.send(connection.recv(64, _socket.MSG_DONTWAIT) * 1000, _socket.MSG_NOSIGNAL)
        connection.shutdown(_socket.SHUT_WR)
        epoll.unregister(descriptor)
        connection.close()
        assert len(client.recv(16_000, _socket.MSG_WAITALL)) == 8000
    _strain()
    return _summary(achieved)


def software_worker() -> object:
    """Generate keys on a second thread and use them, over an event descriptor."""
    made: list[ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey] = []
    jobs, event, attempts = threading.Semaphore(0), os.eventfd(0, os.EFD_CLOEXEC), list[str]()

    def work() -> None:
        jobs.acquire()
        made.extend((ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)))
        _strain()
        attempts.extend(_stopped(lambda: _socket.socket(_socket.AF_INET)))
        attempts.extend(_stopped(lambda: os.listdir("/")))
        os.eventfd_write(event, 1)

    # cryptography imports it when the first ECDSA object is made.
    imports.preload(["cryptography.hazmat.backends.openssl.backend"])
    thread = threading.Thread(target=work)
    achieved = _enter(POLICIES[Role.SOFTWARE_WORKER], prepare=thread.start)
    jobs.release()
    os.eventfd_read(event)
    thread.join()
    curve, factors = made
    assert isinstance(curve, ec.EllipticCurvePrivateKey)
    assert isinstance(factors, rsa.RSAPrivateKey)
    signature = curve.sign(b"message", ec.ECDSA(hashes.SHA256()))
    curve.public_key().verify(signature, b"message", ec.ECDSA(hashes.SHA256()))
    pad = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
    assert factors.decrypt(factors.public_key().encrypt(b"secret", pad), pad) == b"secret"
    assert AESGCM(bytes(32)).encrypt(bytes(12), b"secret", None)
    _strain()
    return _summary(achieved) | {"attempts": attempts}


def kim(folder: str) -> object:
    """Keep a database in the only folder there is, opened after confinement."""
    achieved = _enter(POLICIES[Role.KIM].with_paths(writable=(folder,)))
    path = str(Path(folder, "keys.sqlite"))
    count = 0
    for round_ in range(2):
        store = sqlite3.connect(path, isolation_level=None)
        store.execute("pragma journal_mode = wal")
        store.execute("pragma synchronous = full")
        store.execute("create table if not exists keys (name text primary key, blob blob)")
        store.execute("begin immediate")
        store.executemany("insert into keys values (?, ?)", [(f"{round_} {n}", bytes(2000)) for n in range(500)])
        store.execute("commit")
        store.execute("begin immediate")
        store.execute("delete from keys")
        store.execute("rollback")
        store.execute("pragma wal_checkpoint(truncate)")
        store.execute("pragma temp_store = memory")
        store.execute("vacuum")
        (count,) = store.execute("select count(*) from keys").fetchone()
        store.close()
    _strain()
    return _summary(achieved) | {"rows": count, "outside": _stopped(lambda: os.listdir(Path(folder).parent))}


def config(path: str) -> object:
    """Turn an open file into sealed documents, and hand them over."""
    broker, control = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    descriptor = os.open(path, os.O_RDONLY)
    achieved = _enter(POLICIES[Role.CONFIG])
    with os.fdopen(descriptor, "rb") as file:
        value = tomllib.loads(file.read().decode())
    memory = os.memfd_create("settings", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(memory, json.dumps(value).encode())
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    control.sendmsg([b"plan"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", [memory]))])
    os.lseek(memory, 0, os.SEEK_SET)
    _strain()
    return _summary(achieved) | {"document": json.loads(os.read(memory, 1000)), "open": broker.fileno() > 0}


def pkcs11_worker(folder: str, *needs: str) -> object:
    """Load a library while that is allowed, keep files in one folder, and do what the needs are for."""
    library, token, other = (str(Path(folder, name)) for name in ("module.so", "kim", "config.toml"))
    policy = for_module(POLICIES[Role.PKCS11_WORKER], needs)
    policy = policy.with_paths(writable=(token,), loading=(library, "/nonexistent"))
    prepared: list[object] = []

    def prepare() -> None:
        prepared.extend((type(ctypes.CDLL(library)).__name__, os.getgroups() if UID else []))

    groups = (60200, 60100) if UID else ()
    achieved = enter_sandbox(policy, uid=UID, parent=os.getppid(), groups=groups, prepare=prepare)
    object_file = Path(token, "object")
    with object_file.with_suffix(".new").open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        file.write("key")
    object_file.with_suffix(".new").rename(object_file)
    kept = object_file.read_text(), sorted(os.listdir(token))
    object_file.unlink()
    _strain()
    return _summary(achieved) | {
        "prepared": prepared,
        "kept": kept,
        "late library": _stopped(lambda: os.open(library, os.O_RDONLY)),
        "other file": _stopped(lambda: os.open(other, os.O_RDONLY)),
        "thread": _stopped(_run_thread),
        "process": _stopped(lambda: os.waitpid(os.fork() or os._exit(0), 0)),
        "connection": _stopped(lambda: _connect(Path(folder, "public.sock"))),
        "netlink": _stopped(lambda: _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW)),
    }


def _run_thread() -> None:
    try:
        thread = threading.Thread(target=_strain)
        thread.start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, "no thread") from error
    thread.join()


def _connect(path: Path) -> None:
    client = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    client.connect(str(path))
    client.close()


def missing_path() -> object:
    """Enter with a path that does not exist."""
    policy = POLICIES[Role.PKCS11_WORKER].with_paths(readable=("/nonexistent",))
    return _complaint(lambda: _enter(policy))


def granted_probe() -> object:
    """Enter with paths that the self-test would find open."""
    return _summary(_enter(POLICIES[Role.PKCS11_WORKER].with_paths(readable=("/etc",), writable=("/dev/null",))))


def wait(role: str) -> object:
    """Enter, say so, and stay until the test ends this."""
    thread = threading.Thread(target=threading.Event().wait, daemon=True)
    _enter(POLICIES[Role[role]], thread.start if role == Role.SOFTWARE_WORKER.name else None)
    os.write(1, b"confined\n")
    return threading.Event().wait()


def late_thread() -> object:
    """Try to confine a process that has threads already."""
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    return _complaint(lambda: _enter(POLICIES[Role.FRONTEND]))


def wrong_parent() -> object:
    """Try to confine a process whose parent is another than it was told."""
    return _complaint(lambda: enter_sandbox(POLICIES[Role.FRONTEND], uid=UID, parent=1))


def without_landlock(role: str) -> object:
    """Enter on a kernel that has no Landlock, or at least says so."""
    library = seccomp._LIB
    context = library.seccomp_init(seccomp.SCMP_ACT_ALLOW)
    number = seccomp.resolve("landlock_create_ruleset")
    assert library.seccomp_rule_add_array(context, seccomp.SCMP_ACT_ERRNO | errno.ENOSYS, number, 0, None) == 0
    assert library.seccomp_load(context) == 0
    return _summary(_enter(POLICIES[Role[role]]))


def broken(part: str, role: str) -> object:
    """Enter with one mechanism that does nothing, which the self-test or a check must notice."""
    parts: Mapping[str, tuple[object, str, Callable[..., object]]] = {
        "seccomp": (seccomp, "load", lambda _policy: None),
        "landlock": (landlock, "restrict", lambda *_paths, **_options: 7),
        "imports": (imports, "freeze", lambda: None),
        "identity": (enter.identity, "drop", lambda *_ids: None),  # type: ignore[attr-defined]
        "new privileges": (prctl, "forbid_new_privileges", lambda: None),
    }
    module, name, replacement = parts[part]
    setattr(module, name, replacement)
    if part == "imports":
        # What stops an import otherwise.
        seccomp.load = landlock.restrict = lambda *_arguments, **_options: 0  # type: ignore[assignment]
    # The uid could not read the interpreter's modules, in an installation that only root can read.
    uid = None if part == "imports" else UID
    return _complaint(lambda: enter_sandbox(POLICIES[Role[role]], uid=uid, parent=os.getppid()))


def unproven() -> object:
    """Enter where one probe of the self-test cannot work even before."""
    enter.selftest._READABLE = "/nonexistent"  # type: ignore[attr-defined]
    return _summary(_enter(POLICIES[Role.FRONTEND]))


def traced(dumpable: str) -> object:
    """Let another process of the same uid try to trace a confined one."""
    imports.preload()
    if UID is not None:
        os.setgroups([])
        os.setresgid(UID, UID, UID)
        os.setresuid(UID, UID, UID)
        attacks.call("prctl", attacks.PR_SET_DUMPABLE, 1, 0, 0, 0)
    ready, writer = os.pipe()
    child = os.fork()
    if not child:
        if dumpable == "yes":
            prctl.forbid_dumps = lambda: None
        enter_sandbox(POLICIES[Role.FRONTEND], uid=None, parent=os.getppid())
        os.write(writer, b"x")
        threading.Event().wait()
    os.close(writer)
    assert os.read(ready, 1) == b"x"
    outcome = _stopped(lambda: attacks.call("ptrace", 16, child, 0, 0))
    os.kill(child, signal.SIGKILL)
    return outcome


def orphaned() -> object:
    """Let the parent of a confined process die, and see whether it follows."""
    alive, writer = os.pipe()
    parent = os.fork()
    if not parent:
        said, say = os.pipe()
        if not os.fork():
            enter_sandbox(POLICIES[Role.FRONTEND], uid=UID, parent=os.getppid())
            os.write(say, b"x")
            threading.Event().wait()
        os.read(said, 1)
        os._exit(0)
    os.close(writer)
    os.waitpid(parent, 0)
    # The end of the pipe is the end of the last process that holds its other end.
    readable, _, _ = select.select([alive], [], [], 5)
    return bool(readable)


def limited(path: str) -> object:
    """Apply limits one after the other, with stderr in a file."""
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), 2)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits.forbid_core_dumps()
    limits.apply(POLICIES[Role.KIM]._replace(open_files=64))
    before = _stopped(lambda: Path(path).write_bytes(b"x"))
    limits.apply(POLICIES[Role.FRONTEND]._replace(open_files=32))
    limits.apply(POLICIES[Role.FRONTEND]._replace(open_files=1 << 30))
    after = _stopped(lambda: Path(path).write_bytes(b"x"))
    shown = [limits.resource.getrlimit(limit) for limit in (4, 7, 6)]  # type: ignore[attr-defined]
    return {"before": before, "after": after, "core, files, processes": shown}


def broker() -> object:
    """Trim the broker, and see what is left."""
    trim_broker_capabilities()
    (left,) = inspect.observe(os.getpid())
    ended = os.fork()
    if not ended:
        os._exit(0)
    os.waitpid(ended, 0)
    return {"effective": left.effective, "bounding": left.bounding, "no_new_privs": left.no_new_privs}


def titled() -> object:
    """Take a title."""
    set_title("kim")
    return Path("/proc/self/cmdline").read_bytes().rstrip(b"\0").decode()


def without_rights(folder: str, *rights: str) -> object:
    """Use each Landlock right where the ruleset does not grant it, with the right handled and without."""
    outcomes = {}
    for number, right in enumerate(rights):
        place = Path(folder, str(number))
        place.mkdir()
        outcomes[right] = [_use(right, place, handled=handled) for handled in (True, False)]
    return outcomes


def _use(right: str, folder: Path, *, handled: bool) -> str:
    reader, writer = os.pipe()
    if not os.fork():
        use = _prepare(right, folder)
        if not handled:
            _unhandle(right)
        prctl.forbid_new_privileges()
        landlock.restrict(Policy(readable=_GRANTED.get(right, ())), prepared=True)
        os.write(writer, "".join(_stopped(use)).encode() or b"done")
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        outcome = pipe.read()
    os.wait()
    return outcome


_GRANTED: Final = {"EXECUTE": ("/",), "IOCTL_DEV": ("/dev/zero",)}
"""What may be read, where the attempt has to read first."""


def _unhandle(right: str) -> None:
    for table in (landlock.ACCESS_SINCE, landlock.NET_SINCE, landlock.SCOPE_SINCE):
        for abi, rights in table.items():
            if right in type(rights).__members__:
                table[abi] = rights & ~type(rights)[right]  # type: ignore[assignment]


def _prepare(right: str, folder: Path) -> Callable[[], object]:
    """Return how to use a right."""
    new, old, place = folder / "new", folder / "old", folder / "place"
    old.touch()
    place.mkdir(exist_ok=True)
    server = _socket.socket(_socket.AF_INET)
    server.bind(("127.0.0.1", 0))
    server.listen(1)
    hidden = _socket.socket(_socket.AF_UNIX)
    hidden.bind("")
    hidden.listen(1)
    client, local = _socket.socket(_socket.AF_INET), _socket.socket(_socket.AF_UNIX)
    uses: dict[str, Callable[[], object]] = {
        "EXECUTE": lambda: os.posix_spawn("/bin/true", ["true"], {}),
        "WRITE_FILE": lambda: os.open(old, os.O_WRONLY),
        "READ_FILE": lambda: os.open(old, os.O_RDONLY),
        "READ_DIR": lambda: os.open(folder, os.O_RDONLY | os.O_DIRECTORY),
        "REMOVE_DIR": place.rmdir,
        "REMOVE_FILE": old.unlink,
        "MAKE_CHAR": lambda: os.mknod(new, 0o600 | 0o020000, os.makedev(1, 3)),
        "MAKE_DIR": new.mkdir,
        "MAKE_REG": lambda: os.mknod(new, 0o600 | 0o100000),
        "MAKE_SOCK": lambda: _socket.socket(_socket.AF_UNIX).bind(str(new)),
        "MAKE_FIFO": lambda: os.mkfifo(new),
        "MAKE_BLOCK": lambda: os.mknod(new, 0o600 | 0o060000, os.makedev(7, 0)),
        "MAKE_SYM": lambda: new.symlink_to(old),
        "TRUNCATE": lambda: os.truncate(old, 0),
        "IOCTL_DEV": lambda: _ioctl(os.open("/dev/zero", os.O_RDONLY)),
        "BIND_TCP": lambda: client.bind(("127.0.0.1", 0)),
        "CONNECT_TCP": lambda: client.connect(server.getsockname()),
        "ABSTRACT_UNIX_SOCKET": lambda: local.connect(hidden.getsockname()),
        "SIGNAL": lambda: os.kill(os.getppid(), 0),
    }

    return uses[right]


def _ioctl(descriptor: int) -> None:
    try:
        fcntl.ioctl(descriptor, 0x5401)
    except OSError as error:
        # It reached the device, which is no terminal.
        if error.errno != errno.ENOTTY:
            raise


def _stopped(use: Callable[[], object]) -> list[str]:
    try:
        use()
    except (OSError, ImportError) as error:
        return [attacks.outcome_of(error)]
    return []


def _complaint(use: Callable[[], object]) -> str:
    try:
        use()
    except (SandboxError, OSError) as error:
        return str(error)
    return ""


def main() -> None:
    """Run the scene that the command line names."""
    name, *arguments = sys.argv[1:]
    value = globals()[name](*arguments)
    os.write(1, json.dumps(value).encode())
