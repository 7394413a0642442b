"""The policies of all roles, one literal each, with the additions for PKCS#11 modules and for connections to a TPM.

A system call is listed because strace has shown the role make it after confinement, under load, with exceptions and
large buffers; for the few calls that such a run does not show, a comment says when they occur. What a PKCS#11 module
calls depends on the module: it may read and write files, and gets the rest by named needs. Where a call has different
names on x86-64 and aarch64, both are listed; libseccomp skips calls that an architecture does not have.
"""

import errno
import fcntl
import os
import termios
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import TctiSettings
from cofferdam_runtime.sandbox.policy import CLONE_THREAD, CREATING, INT, SPECIAL_MODES, Condition, Policy, Refusal

_FAMILIES: Final = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}
"""linux/socket.h."""

_LIFE: Final = frozenset(
    {
        "exit_group",
        # Return from a signal handler, and resuming a call that a signal, such as SIGCONT, interrupted.
        *("rt_sigreturn", "restart_syscall"),
        # CPU clocks; all clocks where the vDSO has no fast clock source.
        "clock_gettime",
        # The secrets module, and seeds of new random generators.
        "getrandom",
        # A contended lock, and every threading.Lock that is waited for.
        "futex",
    }
)
"""Running and exiting."""
_MEMORY: Final = frozenset({"brk", "mmap", "munmap", "mremap", "madvise"})
"""malloc and Python's arenas; mremap when a bytearray grows, madvise when a heap or a thread's stack is released.

mmap never with PROT_EXEC.
"""
_CHANNELS: Final = frozenset(
    {
        *("recvfrom", "sendto", "close"),
        # Control records can carry descriptors.
        *("recvmsg", "sendmsg"),
        # CPython queries family, type and protocol of an adopted descriptor.
        *("getsockname", "getsockopt"),
        # The epoll is created before confinement. glibc calls epoll_wait where it exists.
        *("epoll_ctl", "epoll_wait", "epoll_pwait"),
        # Log lines, to stderr.
        "write",
    }
)
"""Running a loop over sockets that the broker passes."""
_THREADS: Final = frozenset(
    {
        # malloc grows the heap of a second thread with mprotect; never with PROT_EXEC.
        "mprotect",
        # A thread ends.
        "exit",
        # The event descriptor that notifies the loop of finished work, together with write.
        "read",
    }
)
"""Running a second thread that was started before confinement."""
_PAUSE: Final = frozenset({"clock_nanosleep"})
"""A worker yields the processor for a moment."""
_FILES: Final = frozenset(
    {
        # glibc before 2.39 implements fstat by newfstatat; which access call SQLite makes depends on its version.
        *("newfstatat", "fstat", "access", "faccessat", "faccessat2"),
        *("read", "pread64", "pwrite64", "lseek", "ftruncate", "fsync", "fdatasync"),
        *("unlink", "unlinkat"),
        # SQLite writes its pid, and checks whether it is root before fchown.
        *("getpid", "geteuid"),
        # It sleeps between attempts while another process holds the lock of the database.
        *("clock_nanosleep", "nanosleep"),
    }
)
"""SQLite, in a folder to which Landlock confines it."""
_MODULE: Final = frozenset(
    {
        # A module may keep its objects in SQLite.
        *_FILES,
        *("stat", "lstat", "statx", "readlink", "readlinkat", "getcwd", "getdents64"),
        *("write", "rename", "renameat", "renameat2", "flock", "umask"),
        # Its identity and host, for lock files and logs.
        *("getuid", "getgid", "getegid", "gettid", "uname"),
        # The processor time of a software device.
        "getrusage",
        # The stack of a thread, before starting the thread is refused; never with PROT_EXEC.
        "mprotect",
    }
)
"""A PKCS#11 module that keeps its objects in files, where Landlock permits. It cannot create folders."""
_LOCKS: Final = tuple(
    # Neither F_SETOWN, which sends signals, nor F_DUPFD.
    Condition(syscall="fcntl", argument=1, mask=INT, value=command)
    for command in (
        *(fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL),
        *(fcntl.F_GETLK, fcntl.F_SETLK, fcntl.F_SETLKW),
    )
)
"""File locks and descriptor flags."""
_MODES: Final = (
    # No setuid or setgid files.
    Condition(syscall="openat", argument=2, mask=sum(CREATING), value=0),
    Condition(syscall="openat", argument=3, mask=sum(SPECIAL_MODES), value=0),
    # SQLite restores the database's mode on a new -wal or -shm file if the umask has reduced it.
    Condition(syscall="fchmod", argument=1, mask=sum(SPECIAL_MODES), value=0),
)
"""Opening and creating files."""
_WRITING: Final = os.O_ACCMODE | sum(CREATING) | os.O_TRUNC
"""Flags of open without which a file is only read."""
_READING: Final = (
    Condition(syscall="openat", argument=2, mask=_WRITING, value=0),
    # The self-test of the sandbox tries it.
    Condition(syscall="openat", argument=2, mask=os.O_WRONLY, value=os.O_WRONLY, error=errno.EPERM),
)
"""Opening files without writing to them."""
_SYSTEM_BUS: Final = "/run/dbus/system_bus_socket"
"""The socket of the system D-Bus, over which the resource manager daemon hands out its connections."""
LIBRARIES: Final = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"),
    # OpenSSL's configuration on Debian and on Fedora; the latter includes files from the third path.
    *("/etc/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf", "/etc/crypto-policies"),
)
"""Files read while a module is loaded: the libraries that it needs, and what these read at load time."""

REFUSALS: Final = (
    Refusal(
        reason="tracebacks, warnings and optional features look for files, and cope without",
        error=errno.EPERM,
        syscalls=frozenset(
            {
                *("access", "faccessat", "faccessat2", "open", "openat", "readlink", "readlinkat"),
                *("fstat", "lstat", "newfstatat", "stat", "statx", "getcwd", "getdents64", "lseek", "read"),
            }
        ),
    ),
    Refusal(
        reason="the C library tries name services and the system log, and copes without",
        error=errno.EPERM,
        syscalls=frozenset({"connect", "socket"}),
    ),
    Refusal(
        reason="new file objects query terminals and flags; a blocking mode is set on sockets that already have it",
        error=errno.EPERM,
        syscalls=frozenset({"fcntl", "ioctl", "setsockopt"}),
    ),
    Refusal(
        reason="libraries try to start a thread or a process, and report the failure",
        error=errno.EPERM,
        syscalls=frozenset({"clone"}),
    ),
    Refusal(
        reason="as above; with this error glibc assumes an old kernel and falls back to clone, with any other it fails",
        error=errno.ENOSYS,
        syscalls=frozenset({"clone3"}),
    ),
    Refusal(
        reason="abort and raise send a signal; abort ends the process anyway",
        error=errno.EPERM,
        syscalls=frozenset({"getpid", "gettid", "kill", "tgkill", "tkill"}),
    ),
    Refusal(
        reason="SQLite that runs as uid 0 (without capabilities) gives new files to the database's owner, or goes on",
        error=errno.EPERM,
        syscalls=frozenset({"fchown"}),
    ),
    Refusal(
        reason="the interpreter restores signal handlers when it exits",
        error=errno.EPERM,
        syscalls=frozenset({"rt_sigaction", "rt_sigprocmask", "sigaltstack"}),
    ),
    Refusal(
        reason="libraries name threads and mappings, size pools, and query their identity",
        error=errno.EPERM,
        syscalls=frozenset(
            {
                *("getegid", "geteuid", "getgid", "getppid", "getuid"),
                *("prctl", "prlimit64", "sched_getaffinity", "sched_yield", "sysinfo", "uname"),
            }
        ),
    ),
)
"""The only list of calls that fail instead of killing the process; a policy may still allow one of them."""

_ABOVE_THE_LOG: Final = tuple(
    Condition(syscall="shutdown", argument=0, mask=1 << bit, value=1 << bit) for bit in range(2, 32)
)
"""Descriptors from 4 up, such as clients: all processes share the journal's stream, which one could shut for all."""
POLICIES: Final[Mapping[Role, Policy]] = MappingProxyType(
    {
        # Reads the open configuration file, answers with one memfd per process, and exits.
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
        # Parses tokens and documents with keys. Reads the files of the administrator that are added at run time, and
        # hears from an inotify descriptor, which exists before, when they change. OpenSSL compares the pid.
        Role.IDENTITY: Policy(
            syscalls=_LIFE | _MEMORY | _CHANNELS | {"getpid", "read", "fstat", "newfstatat", "lseek"},
            conditions=(
                *_READING,
                *_ABOVE_THE_LOG,
            ),
            refusals=REFUSALS,
            open_files=4096,
        ),
        # Holds nothing. `for_agent` and `for_network` add what it talks to at run time.
        Role.FETCHER: Policy(
            syscalls=_LIFE | _MEMORY | _CHANNELS | {"getpid"},
            refusals=REFUSALS,
            open_files=256,
        ),
        # Reads untrusted input of clients.
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
        # Its paths, and the needs that `for_module` adds, come from the configuration at run time.
        Role.PKCS11_WORKER: Policy(
            syscalls=_LIFE | _MEMORY | _CHANNELS | _MODULE | {"poll", "ppoll"},
            conditions=(
                *_LOCKS,
                *_MODES,
                Condition(syscall="fcntl", argument=1, mask=INT, value=fcntl.F_SETFL),
                # A module finds out how many descriptors are in use by duplicating one.
                Condition(syscall="fcntl", argument=1, mask=INT, value=fcntl.F_DUPFD_CLOEXEC),
            ),
            refusals=REFUSALS,
            # Read by libraries that have no getrandom or do not trust it; NSS does not start without it.
            readable=("/dev/urandom",),
            loading=LIBRARIES,
            open_files=4096,
            file_size=None,
        ),
        # As the software worker, but without a second thread: a TPM does one thing at a time. `for_tpm` adds the
        # connection to the TPM at run time. The TPM library is loaded while the worker is prepared, hence there is a
        # first filter, which also confines the handling of the TPM's answers until the final filter.
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
    # stderr may be a file, and the limit would apply to its size.
    file_size=None,
)
"""The log relay, which is no role of the broker: `cofferdam serve` starts it."""


class Need(NamedTuple):
    """Privileges of a PKCS#11 module besides files, which its administrator has to grant."""

    syscalls: frozenset[str] = frozenset()
    conditions: tuple[Condition, ...] = ()
    sockets: bool = False
    threads: bool = False
    executable_memory: bool = False


MODULE_NEEDS: Final[Mapping[str, Need]] = MappingProxyType(
    {
        # A device behind a network or a daemon such as pcscd. Listening is not allowed.
        "sockets": Need(
            syscalls=frozenset(
                {
                    *("connect", "getpeername", "setsockopt", "shutdown"),
                    *("select", "pselect6"),
                    # The resolver queries IPv4 and IPv6 addresses at once.
                    "sendmmsg",
                }
            ),
            conditions=(
                *(
                    Condition(syscall="socket", argument=0, mask=INT, value=_FAMILIES[family])
                    for family in ("AF_UNIX", "AF_INET", "AF_INET6")
                ),
                # The resolver looks up the host's own addresses, and copes without.
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
        # A filter cannot see clone3's flags, so it is refused; glibc falls back to clone, which is for threads only.
        "threads": Need(
            syscalls=_THREADS | {"rseq", "rt_sigprocmask", "sched_yield", "set_robust_list"},
            conditions=(
                Condition(syscall="clone", argument=0, mask=CLONE_THREAD, value=CLONE_THREAD),
                Condition(syscall="clone", argument=0, mask=CLONE_THREAD, value=0, error=errno.EPERM),
            ),
            threads=True,
        ),
        # Code that is loaded or generated after the start. The paths of `loading` stay readable.
        "libraries": Need(executable_memory=True),
    }
)
"""Needs by their names in the configuration's `module_needs`."""


def for_mapping_files(policy: Policy) -> Policy:
    """Return the policy of a key store that also keeps mapping files: it lists and makes folders, and renames files."""
    return policy._replace(
        syscalls=policy.syscalls | {"getdents64", "mkdirat", "renameat"},
        # Listing a folder by its descriptor duplicates that.
        conditions=(
            *policy.conditions,
            Condition(syscall="fcntl", argument=1, mask=INT, value=fcntl.F_DUPFD_CLOEXEC),
        ),
        folders=True,
    )


def for_module(policy: Policy, needs: Iterable[str]) -> Policy:
    """Return a policy with the additional needs of a PKCS#11 module.

    Raises:
        ValueError: There is no need of such a name.
    """
    for name in set(needs):
        need = MODULE_NEEDS.get(name)
        if need is None:
            raise ValueError(f"there is no need {name}, only {', '.join(MODULE_NEEDS)}")
        policy = policy._replace(
            syscalls=policy.syscalls | need.syscalls,
            conditions=policy.conditions + need.conditions,
            sockets=policy.sockets or need.sockets,
            threads=policy.threads or need.threads,
            executable_memory=policy.executable_memory or need.executable_memory,
        )
    return policy


def for_agent(policy: Policy) -> Policy:
    """Return the policy of a fetcher that talks to an agent on this machine, over a socket of the file system."""
    return _connecting(policy, ("AF_UNIX",))


def for_network(policy: Policy) -> Policy:
    """Return the policy of a fetcher that talks to servers of the network."""
    return _connecting(policy, ("AF_INET", "AF_INET6"))


def _connecting(policy: Policy, families: Iterable[str]) -> Policy:
    return policy._replace(
        syscalls=policy.syscalls | {"connect", "getpeername", "setsockopt", "shutdown"},
        conditions=(
            *policy.conditions,
            *(Condition(syscall="socket", argument=0, mask=INT, value=_FAMILIES[family]) for family in families),
            # A socket is made non-blocking.
            Condition(syscall="ioctl", argument=1, mask=INT, value=termios.FIONBIO),
        ),
        sockets=True,
    )


def for_tpm(policy: Policy, tcti: TctiSettings) -> Policy:
    """Return a policy with the connection to a TPM, which can be opened until the worker is prepared.

    Raises:
        ValueError: The settings name no TPM.
    """
    if tcti.kind == "tabrmd":
        # The D-Bus library starts a thread for its connection at once.
        return policy._replace(local_sockets=(_SYSTEM_BUS,), syscalls=policy.syscalls | _THREADS)
    if tcti.path is not None and tcti.kind == "device":
        return policy._replace(opening=(tcti.path,))
    if tcti.path is not None:
        return policy._replace(local_sockets=(tcti.path,))
    if tcti.port is None:
        raise ValueError(f"no way to a TPM: {tcti}")
    # The Microsoft simulator's platform commands, such as power on, use the next port.
    return policy._replace(tcp_ports=(tcti.port, tcti.port + 1) if tcti.kind == "mssim" else (tcti.port,))
