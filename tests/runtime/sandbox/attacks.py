"""What code that took over a process would try: one function per attempt, used before and after confinement.

The numbers are those of the list of attacks that the service has to survive (files and code 1 to 17, processes 18 to
28, kernel surface 29 to 34, sockets 35 to 40). An attempt returns when it succeeded and raises when it was stopped.
"""

import _socket
import codecs
import ctypes
import encodings
import errno
import fcntl
import importlib
import mmap
import os
import platform
import resource
import signal
import socket
import struct
import sys
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cofferdam_runtime.sandbox import seccomp

LIBC: Final = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
PR_SET_DUMPABLE: Final = 4
X32_BIT: Final = 0x40000000
SECRET: Final = ctypes.create_string_buffer(b"memory of the victim")
SHARED_MEMORY: Final = "/dev/shm/{}"  # noqa: S108  the braces take the unique name of the scene's folder
SETTLES: Final = 1000
"""How often an effect is looked for, at 10 ms."""
TEMPORARY: Final = "/tmp/{}-file"  # noqa: S108  as above
_NEW_USER_NAMESPACE: Final = 0x10000000
_NEW_MOUNT_NAMESPACE: Final = 0x00020000


@dataclass
class Scene:
    """What an attempt finds: files and sockets of others, a process of another, and what it holds itself."""

    folder: Path
    """Everyone may read and write here; the key store's folder is in it."""
    victim: int
    pipe: int
    """Kept open by the victim too."""
    directory: int
    """A descriptor of `folder`."""
    listener: socket.socket
    abstract: bytes
    notify: _socket.socket
    terminal: tuple[int, int]
    code: mmap.mmap
    """Executable memory from before confinement, as a library has."""
    keep: _socket.socket
    """Listens at the abstract address."""
    secret: int = 0
    """Where the victim has something to read and to overwrite."""
    spare: list[_socket.socket] = field(default_factory=list)
    """Sockets that are not connected, made before confinement."""

    def path(self, name: str) -> str:
        return str(self.folder / name.format(self.folder.name))


@dataclass(frozen=True)
class Attack:
    """One attempt."""

    number: int
    name: str
    attempt: Callable[[Scene], object]
    root: bool = False
    """Whether it needs root to succeed even without a sandbox."""
    effect: Callable[[Scene], bool] | None = None
    """Tells, from outside, whether it had the effect; None when success of the call is the effect."""
    fatal: bool = False
    """Whether the process is expected to be killed; otherwise the call fails."""

    def had_effect(self, scene: Scene, outcome: str) -> bool:
        """Tell, from outside, whether it had its effect: of one that says that it succeeded, as soon as it is seen.

        A process that a signal ends is for a moment neither waiting for the signal nor dead.
        """
        if self.effect is None:
            return False
        seen = self.effect(scene)
        for _ in range(SETTLES):
            if seen or outcome != "done":
                break
            time.sleep(0.01)
            seen = self.effect(scene)
        return seen


def call(name: str, *arguments: object, base: int = 0) -> int:
    """Make a system call by its name."""
    values = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    result: int = LIBC.syscall(ctypes.c_long(seccomp.resolve(name) | base), *values)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


def _read(path: str) -> Callable[[Scene], object]:
    return lambda scene: os.read(os.open(scene.path(path), os.O_RDONLY), 1)


def _write(path: str) -> Callable[[Scene], object]:
    def attempt(scene: Scene) -> None:
        os.write(os.open(scene.path(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), b"x")

    return attempt


def _appeared(path: str) -> Callable[[Scene], bool]:
    def effect(scene: Scene) -> bool:
        file = Path(scene.path(path))
        there = file.exists()
        file.unlink(missing_ok=True)
        return there

    return effect


def _create_beneath_descriptor(scene: Scene) -> None:
    os.close(os.open("planted", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=scene.directory))


def _run_from_memory(_scene: Scene) -> None:
    # Not closed on exec, since the interpreter of the script has to read it.
    descriptor = os.memfd_create("program", 0)
    os.write(descriptor, b"#!/bin/true\n")
    os.execve(descriptor, ["program"], {})  # noqa: S606


def _run_shell(_scene: Scene) -> None:
    os.execv("/bin/sh", ["sh", "-c", "exit 0"])  # noqa: S606


def _make_writable_code(_scene: Scene) -> None:
    mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def _make_code(_scene: Scene) -> None:
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    call("mprotect", address, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC)


def _import(scene: Scene) -> None:
    sys.path.insert(0, scene.path("code"))
    importlib.import_module("planted")


def _look_codec_up(scene: Scene) -> None:
    encodings.__path__.append(scene.path("code"))
    codecs.lookup("planted_codec")


def _move_public_socket(scene: Scene) -> None:
    os.rename(scene.path("public.sock"), scene.path("moved"))


def _socket_is_gone(scene: Scene) -> bool:
    gone = not Path(scene.path("public.sock")).exists()
    Path(scene.path("public.sock")).touch()
    Path(scene.path("moved")).unlink(missing_ok=True)
    return gone


def _leave_child(pid: int) -> None:
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)


def _clone3(_scene: Scene) -> None:
    # struct clone_args of linux/sched.h: only the signal at its end.
    arguments = struct.pack("8Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
    _leave_child(call("clone3", arguments, len(arguments)))


def _attach(scene: Scene) -> None:
    call("ptrace", 16, scene.victim, 0, 0)
    os.waitpid(scene.victim, 0)
    call("ptrace", 17, scene.victim, 0, 0)


def _copy_memory(name: str) -> Callable[[Scene], object]:
    def attempt(scene: Scene) -> None:
        mine = ctypes.create_string_buffer(len(SECRET))
        local = struct.pack("PN", ctypes.addressof(mine), len(mine))
        remote = struct.pack("PN", scene.secret, len(SECRET))
        call(name, scene.victim, local, 1, remote, 1, 0)

    return attempt


def _take_descriptor(scene: Scene) -> None:
    call("pidfd_getfd", call("pidfd_open", scene.victim, 0), scene.pipe, 0)


def _is_dead(scene: Scene) -> bool:
    lines = Path(f"/proc/{scene.victim}/status").read_text().splitlines()
    fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    # A victim that a signal reached is a zombie until it is reaped, or has yet to notice.
    killed = 1 << (signal.SIGKILL - 1)
    return fields["State"][0] in "ZX" or bool((int(fields["SigPnd"], 16) | int(fields["ShdPnd"], 16)) & killed)


def _lower_limit_of_victim(scene: Scene) -> None:
    resource.prlimit(scene.victim, resource.RLIMIT_NOFILE, (16, 16))


def _unmount(scene: Scene) -> None:
    call("mount", b"none", os.fsencode(scene.path("")), b"tmpfs", 0, 0)
    call("umount2", os.fsencode(scene.path("")), 0)


def _ask_for_filters(_scene: Scene) -> None:
    action = struct.pack("I", 0x7FFF0000)
    call("seccomp", 2, 0, action)


def _push_input(scene: Scene) -> None:
    fcntl.ioctl(scene.terminal[1], termios.TIOCSTI, b"x")


def _open_socket(family: int, kind: int = _socket.SOCK_STREAM, protocol: int = 0) -> Callable[[Scene], object]:
    return lambda _scene: _socket.socket(family, kind, protocol).close()


def _connect_abstract(scene: Scene) -> None:
    scene.spare.pop().connect(scene.abstract)


def _connect_by_path(scene: Scene) -> None:
    scene.spare.pop().connect(scene.path("service.sock"))


def _has_visitor(scene: Scene) -> bool:
    try:
        visitor, _ = scene.listener.accept()
    except BlockingIOError:
        return False
    visitor.close()
    return True


def _notify(scene: Scene) -> None:
    _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM).sendto(b"STOPPING=1", scene.path("notify.sock"))


def _was_notified(scene: Scene) -> bool:
    try:
        return bool(scene.notify.recv(64, _socket.MSG_DONTWAIT))
    except BlockingIOError:
        return False


def _set_capabilities(_scene: Scene) -> None:
    header, data = struct.pack("Ii", 0x20080522, 0), ctypes.create_string_buffer(24)
    call("capget", header, data)
    call("capset", header, data)


def _add_key(_scene: Scene) -> None:
    # To the keyring of the thread, which ends with it.
    call("add_key", b"user", b"name", b"x", 1, -1)


def _ask_keyring(_scene: Scene) -> None:
    call("keyctl", 0, -1, 1)


def _open_perf_event(_scene: Scene) -> None:
    # perf_event_attr: type SOFTWARE, its size, config DUMMY, and excluding the kernel.
    call("perf_event_open", struct.pack("IIQ24xQ64x", 1, 112, 9, 1 << 5), 0, -1, -1, 0)


def _load_map(_scene: Scene) -> None:
    # An array map of one element.
    call("bpf", 0, struct.pack("IIIII100x", 2, 4, 4, 1, 0), 120)


FILES: Final = (
    Attack(1, "read the list of users", lambda _scene: os.open("/etc/passwd", os.O_RDONLY)),
    Attack(2, "read the configuration", _read("config.toml")),
    Attack(3, "read the key database", _read("kim/database")),
    # The user's own file, where a user runs the tests.
    *((Attack(3, "read a file of root beside it", _read("kim/private"), root=True),) if os.getuid() == 0 else ()),
    Attack(4, "read the PKCS#11 module", _read("module.so")),
    Attack(5, "open a device", lambda _scene: os.open("/dev/zero", os.O_RDWR)),
    Attack(6, "list the credentials", lambda scene: os.listdir(scene.path("credentials"))),
    Attack(7, "write a file", _write("written"), effect=_appeared("written")),
    Attack(7, "write shared memory", _write(SHARED_MEMORY), effect=_appeared(SHARED_MEMORY)),
    Attack(7, "write a temporary file", _write(TEMPORARY), effect=_appeared(TEMPORARY)),
    Attack(8, "make a file by an inherited folder", _create_beneath_descriptor, effect=_appeared("planted")),
    Attack(9, "read own memory map", lambda _scene: os.open("/proc/self/maps", os.O_RDONLY)),
    Attack(9, "read own environment", lambda _scene: os.open("/proc/self/environ", os.O_RDONLY)),
    Attack(9, "write own memory", lambda _scene: os.open("/proc/self/mem", os.O_RDWR)),
    Attack(9, "find own descriptors", lambda _scene: os.listdir("/proc/self/fd")),
    Attack(10, "write another's memory", lambda scene: os.open(f"/proc/{scene.victim}/mem", os.O_RDWR)),
    Attack(10, "open another's root", lambda scene: os.listdir(f"/proc/{scene.victim}/root")),
    Attack(10, "open another's folder", lambda scene: os.listdir(f"/proc/{scene.victim}/cwd")),
    Attack(11, "run a program from memory", _run_from_memory, fatal=True),
    Attack(12, "run a shell", _run_shell, fatal=True),
    Attack(13, "map writable code", _make_writable_code, fatal=True),
    Attack(13, "turn data into code", _make_code, fatal=True),
    Attack(14, "load a library", lambda scene: ctypes.CDLL(scene.path("module.so"))),
    Attack(15, "import a module", _import),
    Attack(15, "load a codec", _look_codec_up),
    Attack(16, "change the root", lambda scene: os.chroot(scene.path("")), root=True, fatal=True),
    Attack(16, "mount and unmount", _unmount, root=True, fatal=True),
    Attack(17, "move the public socket", _move_public_socket, effect=_socket_is_gone),
    Attack(17, "remove the public socket", lambda scene: os.unlink(scene.path("public.sock")), effect=_socket_is_gone),
)

PROCESSES: Final = (
    Attack(18, "fork", lambda _scene: _leave_child(os.fork())),
    Attack(18, "fork by its own call", lambda _scene: _leave_child(call("fork")), fatal=True),
    Attack(18, "clone3", _clone3),
    Attack(18, "start a program", lambda _scene: os.posix_spawn("/bin/true", ["true"], {})),
    Attack(19, "trace another", _attach, fatal=True),
    Attack(20, "read another's memory", _copy_memory("process_vm_readv"), fatal=True),
    Attack(20, "change another's memory", _copy_memory("process_vm_writev"), fatal=True),
    Attack(21, "take another's descriptor", _take_descriptor, fatal=True),
    Attack(22, "kill another", lambda scene: os.kill(scene.victim, signal.SIGKILL), effect=_is_dead),
    Attack(22, "signal the parent", lambda _scene: os.kill(os.getppid(), 0)),
    Attack(22, "signal a thread", lambda scene: call("tgkill", scene.victim, scene.victim, 9), effect=_is_dead),
    Attack(23, "slow another down", lambda scene: os.setpriority(os.PRIO_PROCESS, scene.victim, 19), fatal=True),
    Attack(23, "bind another to a core", lambda scene: os.sched_setaffinity(scene.victim, {0}), fatal=True),
    Attack(23, "limit another", _lower_limit_of_victim),
    Attack(24, "become root", lambda _scene: os.setuid(0), root=True, fatal=True),
    Attack(24, "become another", lambda _scene: os.setresuid(1, 1, 1), root=True, fatal=True),
    Attack(24, "join a group", lambda _scene: os.setgroups([0]), root=True, fatal=True),
    Attack(24, "set capabilities", _set_capabilities, fatal=True),
    Attack(25, "keep a key in the kernel", _add_key, fatal=True),
    Attack(25, "ask for a keyring", _ask_keyring, fatal=True),
    Attack(26, "become traceable", lambda _scene: call("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0)),
    Attack(27, "raise a limit", lambda _scene: resource.setrlimit(resource.RLIMIT_NPROC, (64, 64))),
    Attack(28, "get a mount namespace", lambda _scene: call("unshare", _NEW_MOUNT_NAMESPACE), root=True, fatal=True),
    Attack(28, "get a user namespace", lambda _scene: call("unshare", _NEW_USER_NAMESPACE), fatal=True),
)


def _call_as_i386(scene: Scene) -> None:
    ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(scene.code)))()


# mov eax, 20 (getpid); int 0x80; ret
I386_CODE: Final = bytes.fromhex("b814000000cd80c3")

FOREIGN_CALLS: Final = (
    (
        Attack(31, "call the kernel as i386", _call_as_i386, fatal=True),
        Attack(31, "call the kernel as x32", lambda _scene: call("getpid", base=X32_BIT), fatal=True),
    )
    if platform.machine() == "x86_64"
    else ()
)
"""Only this architecture has others beside it in the same process."""

KERNEL: Final = (
    Attack(29, "make an io_uring", lambda _scene: call("io_uring_setup", 1, bytes(120)), fatal=True),
    Attack(30, "make a BPF map", _load_map, root=True, fatal=True),
    Attack(30, "count events", _open_perf_event, fatal=True),
    Attack(30, "handle page faults", lambda _scene: call("userfaultfd", 1), fatal=True),
    Attack(32, "add a filter", _ask_for_filters, fatal=True),
    Attack(33, "type into a terminal", _push_input, root=True),
    Attack(34, "make a vsock socket", _open_socket(_socket.AF_VSOCK)),
    Attack(34, "make a netlink socket", _open_socket(_socket.AF_NETLINK, _socket.SOCK_RAW)),
    Attack(34, "make a packet socket", _open_socket(_socket.AF_PACKET, _socket.SOCK_RAW), root=True),
    Attack(34, "make a kernel crypto socket", _open_socket(_socket.AF_ALG, _socket.SOCK_SEQPACKET)),
)

SOCKETS: Final = (
    Attack(35, "make an IPv4 socket", _open_socket(_socket.AF_INET)),
    Attack(35, "make an IPv6 socket", _open_socket(_socket.AF_INET6)),
    Attack(36, "make a local socket", _open_socket(_socket.AF_UNIX)),
    Attack(36, "connect to a service by path", _connect_by_path, effect=_has_visitor),
    Attack(37, "connect to an abstract address", _connect_abstract),
    Attack(
        39,
        "bind a lookalike",
        lambda scene: scene.spare.pop().bind(scene.path("lookalike.sock")),
        effect=_appeared("lookalike.sock"),
        fatal=True,
    ),
    Attack(40, "notify the service manager", _notify, effect=_was_notified),
)

ATTACKS: Final = {attack.name: attack for attack in (*FILES, *PROCESSES, *FOREIGN_CALLS, *KERNEL, *SOCKETS)}

STOPPED: Final = (OSError, ImportError, LookupError, ValueError)
STOPPED_BY: Final = {"EPERM", "EACCES", "ENOSYS", "OSError", "FrozenImportsError", "LookupError", "ValueError"}
"""How an attempt in a role is stopped unless the process is killed."""
NOT_IN_THIS_KERNEL: Final = {
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


def outcome_of(error: BaseException) -> str:
    """Return how an attempt was stopped: an errno, or the class of the error."""
    number = error.errno if isinstance(error, OSError) else None
    return type(error).__name__ if number is None else errno.errorcode[number]


def report(name: str, scene: Scene) -> str:
    """Make an attempt and say how it went."""
    try:
        ATTACKS[name].attempt(scene)
    except STOPPED as error:
        return outcome_of(error)
    return "done"
