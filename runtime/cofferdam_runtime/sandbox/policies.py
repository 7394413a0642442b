"""The policies of all roles, in one literal each.

A system call is here because strace saw the role make it after confinement, under load, with exceptions and large
buffers; the few that such a run does not show say at their place when they come. Where a call has one name on x86-64
and another on aarch64, both are listed; libseccomp leaves out what an architecture does not have.
"""

import errno
import fcntl
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from cofferdam_contracts.ipc.control import Role
from cofferdam_runtime.sandbox.policy import Condition, Policy, Refusal

_CMD: Final = 0xFFFF_FFFF
"""Mask of a C int."""

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
_FILES: Final = frozenset(
    {
        # glibc before 2.39 makes fstat a newfstatat; which kind of access SQLite asks by depends on its version.
        *("openat", "newfstatat", "fstat", "access", "faccessat", "faccessat2"),
        *("read", "pread64", "pwrite64", "lseek", "ftruncate", "fsync", "fdatasync"),
        *("unlink", "unlinkat"),
        # SQLite gives a new -wal and -shm the mode of the database where the umask took some of it.
        "fchmod",
        # SQLite writes its pid, and asks whether it is root before fchown.
        *("getpid", "geteuid"),
        # It sleeps between attempts while somebody else holds the lock of the database.
        *("clock_nanosleep", "nanosleep"),
    }
)
"""SQLite, in a folder that Landlock holds it in."""

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

POLICIES: Final[Mapping[Role, Policy]] = MappingProxyType(
    {
        # Has the configuration file open, answers with one memfd per process, and ends.
        Role.CONFIG: Policy(
            syscalls=_LIFE | _MEMORY | {"close", "lseek", "memfd_create", "read", "sendmsg", "write"},
            conditions=(
                Condition(syscall="fcntl", argument=1, mask=_CMD, value=fcntl.F_ADD_SEALS),
                Condition(syscall="fcntl", argument=1, mask=_CMD, value=fcntl.F_GET_SEALS),
            ),
            refusals=REFUSALS,
            open_files=256,
            # A memfd counts as a file.
            file_size=1 << 20,
        ),
        # Its folder is added at run time.
        Role.KIM: Policy(
            syscalls=_LIFE | _MEMORY | _CHANNELS | _FILES,
            # Without F_SETOWN, which sends signals, and F_DUPFD.
            conditions=tuple(
                Condition(syscall="fcntl", argument=1, mask=_CMD, value=command)
                for command in (
                    *(fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL),
                    *(fcntl.F_GETLK, fcntl.F_SETLK, fcntl.F_SETLKW),
                )
            ),
            refusals=REFUSALS,
            open_files=4096,
            file_size=None,
        ),
        # The process that reads what strangers send.
        Role.FRONTEND: Policy(
            syscalls=_LIFE | _MEMORY | _CHANNELS | {"shutdown"},
            refusals=REFUSALS,
            open_files=4096,
        ),
        # OpenSSL compares the pid to notice a fork. The worker waits for the key store with poll.
        Role.SOFTWARE_WORKER: Policy(
            syscalls=_LIFE | _MEMORY | _CHANNELS | _THREADS | {"getpid", "poll", "ppoll"},
            refusals=REFUSALS,
            open_files=4096,
        ),
    }
)
