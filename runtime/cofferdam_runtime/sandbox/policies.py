"""The policies of all roles, in one literal each, what may be added for a PKCS#11 module, and the ways to a TPM.

A system call is here because strace saw the role make it after confinement, under load, with exceptions and large
buffers; the few that such a run does not show say at their place when they come. What a PKCS#11 module calls depends
on the module: it gets what reading and writing files takes, and the rest by name. Where a call has one name on x86-64
and another on aarch64, both are listed; libseccomp leaves out what an architecture does not have.
"""

import dataclasses
import errno
import fcntl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import TctiSettings
from cofferdam_runtime.sandbox.policy import CLONE_THREAD, CREATING, INT, SPECIAL_MODES, Condition, Policy, Refusal

_FAMILIES: Final = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}
"""linux/socket.h."""

_LIFE: Final = frozenset(
    {
        "exit_group",
        # A handler that the broker's signals run, and a call that one of them, or SIGCONT, interrupted.
        *("rt_sigreturn", "restart_syscall"),
        # CPU clocks; the others too where the vDSO has no fast clock source.
        "clock_gettime",
        # secrets, hash seeds of new random generators.
        "getrandom",
        # A lock that another thread holds, and every threading.Lock that is waited for.
        "futex",
    }
)
"""Living and dying."""
_MEMORY: Final = frozenset({"brk", "mmap", "munmap", "mremap", "madvise"})
"""malloc, the arenas of Python; mremap when a bytearray grows, madvise when a heap or a thread's stack is given back.

mmap never with PROT_EXEC.
"""
_CHANNELS: Final = frozenset(
    {
        *("recvfrom", "sendto", "close"),
        # Control records come with descriptors.
        *("recvmsg", "sendmsg"),
        # CPython asks an adopted descriptor for its family, type and protocol.
        *("getsockname", "getsockopt"),
        # The epoll is made before confinement. glibc calls epoll_wait where it exists.
        *("epoll_ctl", "epoll_wait", "epoll_pwait"),
        # Lines of the log, to stderr.
        "write",
    }
)
"""Serving a loop over sockets that are handed in."""
_THREADS: Final = frozenset(
    {
        # malloc grows the heap of a second thread with mprotect; never with PROT_EXEC.
        "mprotect",
        # A thread returns.
        "exit",
        # The event descriptor that tells the loop of finished work, together with write.
        "read",
    }
)
"""Working beside a second thread that was started before confinement."""
_PAUSE: Final = frozenset({"clock_nanosleep"})
"""A worker lets others have the processor for a moment."""
_FILES: Final = frozenset(
    {
        # glibc before 2.39 makes fstat a newfstatat; which kind of access SQLite asks by depends on its version.
        *("newfstatat", "fstat", "access", "faccessat", "faccessat2"),
        *("read", "pread64", "pwrite64", "lseek", "ftruncate", "fsync", "fdatasync"),
        *("unlink", "unlinkat"),
        # SQLite writes its pid, and asks whether it is root before fchown.
        *("getpid", "geteuid"),
        # It sleeps between attempts while somebody else holds the lock of the database.
        *("clock_nanosleep", "nanosleep"),
    }
)
"""SQLite, in a folder that Landlock holds it in."""
_MODULE: Final = frozenset(
    {
        # As SQLite, which a module may keep its objects in.
        *_FILES,
        *("stat", "lstat", "statx", "readlink", "readlinkat", "getcwd", "getdents64"),
        *("write", "rename", "renameat", "renameat2", "flock", "umask"),
        # Who and where it is, for its lock files and its log.
        *("getuid", "getgid", "getegid", "gettid", "uname"),
        # Reading a file through a duplicate of its descriptor.
        # The time that a device takes of the processor.
        "getrusage",
        # The stack of a thread, before it turns out that there may be none; never with PROT_EXEC.
        "mprotect",
    }
)
"""A PKCS#11 module that keeps its objects in files, where Landlock lets it. No folders are made."""
_LOCKS: Final = tuple(
    # Without F_SETOWN, which sends signals, and F_DUPFD.
    Condition(syscall="fcntl", argument=1, mask=INT, value=command)
    for command in (
        *(fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL),
        *(fcntl.F_GETLK, fcntl.F_SETLK, fcntl.F_SETLKW),
    )
)
"""Locks on files, and their flags."""
_MODES: Final = (
    # No file that makes whoever runs it the process that made it.
    Condition(syscall="openat", argument=2, mask=sum(CREATING), value=0),
    Condition(syscall="openat", argument=3, mask=sum(SPECIAL_MODES), value=0),
    # SQLite gives a new -wal and -shm the mode of the database where the umask took some of it.
    Condition(syscall="fchmod", argument=1, mask=sum(SPECIAL_MODES), value=0),
)
"""Opening and making files."""
_SYSTEM_BUS: Final = "/run/dbus/system_bus_socket"
"""Where the D-Bus of the machine is, which the resource manager daemon gives out its connections on."""
LIBRARIES: Final = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"),
    # OpenSSL's configuration, in its places on Debian and on Fedora; the latter includes files of the third.
    *("/etc/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf", "/etc/crypto-policies"),
)
"""What loading a module reads: the libraries that it needs, and what these read when they are loaded."""

REFUSALS: Final = (
    Refusal(
        reason="tracebacks, warnings and optional features look for files, and do without",
        error=errno.EPERM,
        syscalls=frozenset(
            {
                *("access", "faccessat", "faccessat2", "open", "openat", "readlink", "readlinkat"),
                *("fstat", "lstat", "newfstatat", "stat", "statx", "getcwd", "getdents64", "lseek", "read"),
            }
        ),
    ),
    Refusal(
        reason="the C library asks name services and the system log, and does without",
        error=errno.EPERM,
        syscalls=frozenset({"connect", "socket"}),
    ),
    Refusal(
        reason="new file objects ask for terminals and flags; a blocking mode is set on sockets that are so already",
        error=errno.EPERM,
        syscalls=frozenset({"fcntl", "ioctl", "setsockopt"}),
    ),
    Refusal(
        reason="libraries want a thread or a process, and report that there is none",
        error=errno.EPERM,
        syscalls=frozenset({"clone"}),
    ),
    Refusal(
        reason="as above; glibc takes any other error of clone3 for final, and this one for an old kernel",
        error=errno.ENOSYS,
        syscalls=frozenset({"clone3"}),
    ),
    Refusal(
        reason="abort and raise send a signal; abort ends the process all the same",
        error=errno.EPERM,
        syscalls=frozenset({"getpid", "gettid", "kill", "tgkill", "tkill"}),
    ),
    Refusal(
        reason="the interpreter gives signals their handlers back when it ends",
        error=errno.EPERM,
        syscalls=frozenset({"rt_sigaction", "rt_sigprocmask", "sigaltstack"}),
    ),
    Refusal(
        reason="libraries name threads and mappings, size pools, and look who they are",
        error=errno.EPERM,
        syscalls=frozenset(
            {
                *("getegid", "geteuid", "getgid", "getppid", "getuid"),
                *("prctl", "prlimit64", "sched_getaffinity", "sched_yield", "sysinfo", "uname"),
            }
        ),
    ),
)
"""The one list of what fails instead of killing; a policy that allows one of them takes precedence."""

_ABOVE_THE_LOG: Final = tuple(
    Condition(syscall="shutdown", argument=0, mask=1 << bit, value=1 << bit) for bit in range(2, 32)
)
"""Descriptors from 4 on, where clients are: all processes share the journal's stream, and one could shut it for all."""
POLICIES: Final[Mapping[Role, Policy]] = MappingProxyType(
    {
        # Has the configuration file open, answers with one memfd per process, and ends.
        Role.CONFIG: Policy(
            syscalls=_LIFE | _MEMORY | {"close", "lseek", "memfd_create", "read", "sendmsg", "write"},
            conditions=(
                Condition(syscall="fcntl", argument=1, mask=INT, value=fcntl.F_ADD_SEALS),
                Condition(syscall="fcntl", argument=1, mask=INT, value=fcntl.F_GET_SEALS),
            ),
            refusals=REFUSALS,
            open_files=256,
            # A memfd counts as a file.
            file_size=1 << 20,
        ),
        # Its folder is added at run time.
        Role.KIM: Policy(
            syscalls=_LIFE | _MEMORY | _CHANNELS | _FILES,
            conditions=_LOCKS + _MODES,
            refusals=REFUSALS,
            open_files=4096,
            file_size=None,
        ),
        # The process that reads what strangers send.
        Role.FRONTEND: Policy(
            syscalls=_LIFE | _MEMORY | _CHANNELS,
            conditions=_ABOVE_THE_LOG,
            refusals=REFUSALS,
            open_files=4096,
        ),
        # OpenSSL compares the pid to notice a fork. The worker waits for the key store with poll.
        Role.SOFTWARE_WORKER: Policy(
            syscalls=_LIFE | _MEMORY | _CHANNELS | _THREADS | _PAUSE | {"getpid", "poll", "ppoll"},
            refusals=REFUSALS,
            open_files=4096,
        ),
        # Its paths are added at run time, and what `for_module` makes of the configuration.
        Role.PKCS11_WORKER: Policy(
            syscalls=_LIFE | _MEMORY | _CHANNELS | _MODULE | {"poll", "ppoll"},
            conditions=(
                *_LOCKS,
                *_MODES,
                Condition(syscall="fcntl", argument=1, mask=INT, value=fcntl.F_SETFL),
                # How many descriptors there are is found out by making one.
                Condition(syscall="fcntl", argument=1, mask=INT, value=fcntl.F_DUPFD_CLOEXEC),
            ),
            refusals=REFUSALS,
            # Libraries that have no getrandom, or do not trust it, read it; NSS does not start without.
            readable=("/dev/urandom",),
            loading=LIBRARIES,
            open_files=4096,
            file_size=None,
        ),
        # As the worker in software, without its second thread: a TPM does one thing at a time. The way to the TPM is
        # added at run time by `for_tpm`. The library for it is loaded while the worker is prepared, hence there is a
        # first filter, which also holds whatever the TPM answers until the last one.
        Role.TPM_WORKER: Policy(
            syscalls=_LIFE | _MEMORY | _CHANNELS | _PAUSE | {"getpid", "poll", "ppoll", "read"},
            refusals=REFUSALS,
            loading=LIBRARIES,
            open_files=4096,
        ),
    }
)

RELAY: Final = Policy(
    syscalls=_LIFE | _MEMORY | {"close", "epoll_ctl", "epoll_wait", "epoll_pwait", "read", "recvmsg", "write"},
    refusals=REFUSALS,
    open_files=1024,
    # The log is a file, and the limit would be its size.
    file_size=None,
)
"""The relay of the log is no role of the broker: `cofferdam serve` starts it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a PKCS#11 module may do beyond files, when its administrator says that it has to."""

    syscalls: frozenset[str] = frozenset()
    conditions: tuple[Condition, ...] = ()
    sockets: bool = False
    threads: bool = False
    executable_memory: bool = False


MODULE_NEEDS: Final[Mapping[str, Need]] = MappingProxyType(
    {
        # A device behind a network or a daemon such as pcscd. Nobody is listened to.
        "sockets": Need(
            syscalls=frozenset(
                {
                    *("connect", "getpeername", "setsockopt", "shutdown"),
                    *("select", "pselect6"),
                    # The resolver asks for both kinds of addresses at once.
                    "sendmmsg",
                }
            ),
            conditions=(
                *(
                    Condition(syscall="socket", argument=0, mask=INT, value=_FAMILIES[family])
                    for family in ("AF_UNIX", "AF_INET", "AF_INET6")
                ),
                # The resolver looks for addresses of its own, and does without.
                Condition(
                    syscall="socket",
                    argument=0,
                    mask=INT,
                    value=_FAMILIES["AF_NETLINK"],
                    error=errno.EAFNOSUPPORT,
                ),
            ),
            sockets=True,
        ),
        # The flags of clone3 are out of a filter's sight, so it is refused, and glibc uses clone: for threads only.
        "threads": Need(
            syscalls=_THREADS | {"rseq", "rt_sigprocmask", "sched_yield", "set_robust_list"},
            conditions=(
                Condition(syscall="clone", argument=0, mask=CLONE_THREAD, value=CLONE_THREAD),
                Condition(syscall="clone", argument=0, mask=CLONE_THREAD, value=0, error=errno.EPERM),
            ),
            threads=True,
        ),
        # Code that is loaded after the start, or made. What `loading` names stays readable.
        "libraries": Need(executable_memory=True),
    }
)
"""By the names of `module_needs` in the configuration."""


def for_module(policy: Policy, needs: Iterable[str]) -> Policy:
    """Return a policy with what a PKCS#11 module needs besides.

    Raises:
        ValueError: There is no such need.
    """
    for name in set(needs):
        need = MODULE_NEEDS.get(name)
        if need is None:
            raise ValueError(f"there is no need {name}, only {', '.join(MODULE_NEEDS)}")
        policy = dataclasses.replace(
            policy,
            syscalls=policy.syscalls | need.syscalls,
            conditions=policy.conditions + need.conditions,
            sockets=policy.sockets or need.sockets,
            threads=policy.threads or need.threads,
            executable_memory=policy.executable_memory or need.executable_memory,
        )
    return policy


def for_tpm(policy: Policy, tcti: TctiSettings) -> Policy:
    """Return a policy with the way to a TPM, which is open until the worker is prepared.

    Raises:
        ValueError: The settings name none.
    """
    if tcti.kind == "tabrmd":
        # The D-Bus library serves its connection with a thread that it starts at once.
        return dataclasses.replace(policy, local_sockets=(_SYSTEM_BUS,), syscalls=policy.syscalls | _THREADS)
    if tcti.path is not None and tcti.kind == "device":
        return dataclasses.replace(policy, opening=(tcti.path,))
    if tcti.path is not None:
        return dataclasses.replace(policy, local_sockets=(tcti.path,))
    if tcti.port is None:
        raise ValueError(f"no way to a TPM: {tcti}")
    # A simulator has its power switch behind the next port.
    return dataclasses.replace(policy, tcp_ports=(tcti.port, tcti.port + 1) if tcti.kind == "mssim" else (tcti.port,))
