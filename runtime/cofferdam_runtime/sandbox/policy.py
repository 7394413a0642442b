"""Sandbox policies as data: what a process may do. Every default grants nothing, and no value means "everything"."""

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

FORBIDDEN: Final = frozenset(
    {
        *("add_key", "keyctl", "request_key"),
        *("bpf", "perf_event_open", "userfaultfd"),
        *("execve", "execveat", "pkey_mprotect", "remap_file_pages", "uselib"),
        *("fsmount", "fsopen", "mount", "mount_setattr", "move_mount", "open_tree", "pivot_root", "umount2"),
        *("chroot", "open_by_handle_at", "setns", "unshare"),
        *("finit_module", "init_module", "delete_module", "kexec_file_load", "kexec_load", "reboot"),
        *("io_uring_enter", "io_uring_register", "io_uring_setup"),
        *("kcmp", "pidfd_getfd", "process_madvise", "process_vm_readv", "process_vm_writev", "ptrace"),
        *("personality", "seccomp", "capset", "setresuid", "setuid", "setresgid", "setgid", "setgroups"),
    }
)
"""System calls that no policy may allow: sandbox escapes, or kernel features with a history of them."""
INT: Final = 0xFFFF_FFFF
"""Mask of a C int."""
CLONE_THREAD: Final = 0x0001_0000
"""linux/sched.h."""
CREATING: Final = (os.O_CREAT, os.O_TMPFILE & ~os.O_DIRECTORY)
"""Flags with which open creates a file; without them its mode argument has no meaning."""
SPECIAL_MODES: Final = (0o4000, 0o2000)
"""The setuid and setgid bits of a mode."""


class Condition(NamedTuple):
    """Allows a system call only if `argument & mask == value`, or makes it fail in that case."""

    syscall: str
    argument: int
    """Position, from 0."""
    mask: int
    value: int
    error: int = 0
    """The errno that it fails with; 0 allows it."""


class Refusal(NamedTuple):
    """System calls that fail instead of killing the process, because harmless code tries them."""

    syscalls: frozenset[str]
    error: int
    """The errno that they fail with."""
    reason: str
    """What code tries them and copes with the error."""


class Policy(NamedTuple):
    """The privileges of one process.

    There is no field for new processes or for signals to others: no process may have these. Sockets, threads and code
    from further libraries are only for the worker of a device whose administrator asked for them.
    """

    syscalls: frozenset[str] = frozenset()
    """Allowed with any arguments, except that mmap and mprotect never make memory executable."""
    conditions: tuple[Condition, ...] = ()
    """Allowed with some arguments."""
    refusals: tuple[Refusal, ...] = ()
    """Calls that fail unless allowed; any call in no list kills the process."""
    executable_memory: bool = False
    """Whether memory may be made executable, as for a PKCS#11 module that loads other libraries late."""
    sockets: bool = False
    """Whether Landlock does not restrict connecting to TCP ports, abstract sockets and sockets of the file system."""
    threads: bool = False
    """Whether threads may be started later. Their number is not limited: RLIMIT_NPROC counts those of the whole uid."""
    readable: tuple[str, ...] = ()
    """Absolute paths of files, or of folders with everything beneath them."""
    writable: tuple[str, ...] = ()
    """As `readable`, and regular files in them may be written, created and removed."""
    folders: bool = False
    """Whether folders may be made in those that are `writable`."""
    loading: tuple[str, ...] = ()
    """As `readable`, until the role is prepared or for good if `executable_memory` is set; missing ones are skipped."""
    opening: tuple[str, ...] = ()
    """Files, such as a device, that may be opened for reading and writing until the role is prepared; missing ones are
    skipped."""
    tcp_ports: tuple[int, ...] = ()
    """TCP ports, of any address, that may be connected to until the role is prepared."""
    local_sockets: tuple[str, ...] = ()
    """Sockets of the file system that may be connected to until the role is prepared; missing ones are skipped."""
    open_files: int = 0
    """Highest descriptor number plus one; descriptors that are already open stay open."""
    file_size: int | None = 0
    """Largest size of a file in bytes, None for no limit."""
    origins: Mapping[str, str] = MappingProxyType({})
    """Where paths were named and what to do if they cannot be used, for messages."""

    def check(self) -> None:
        """Refuse a policy that contradicts itself or the guarantees of the service.

        Raises:
            ValueError: It does; the text says how.
        """
        if forbidden := self.allowed & FORBIDDEN:
            raise ValueError(f"no policy may allow {', '.join(sorted(forbidden))}")
        if twice := self.syscalls.intersection(condition.syscall for condition in self.conditions):
            raise ValueError(f"both allowed and conditional: {', '.join(sorted(twice))}")
        paths = (*self.readable, *self.writable, *self.loading, *self.opening, *self.local_sockets)
        if relative := [path for path in paths if not path.startswith("/")]:
            raise ValueError(f"not absolute: {', '.join(relative)}")
        if (self.opening or self.tcp_ports or self.local_sockets) and (not self.loading or self.executable_memory):
            raise ValueError("what is reached only until the role is prepared would never be taken away")

    @property
    def allowed(self) -> frozenset[str]:
        """System calls that the kernel executes, at least with some arguments."""
        return self.syscalls.union(condition.syscall for condition in self.conditions if not condition.error)

    def with_paths(
        self,
        *,
        readable: tuple[str, ...] = (),
        writable: tuple[str, ...] = (),
        loading: tuple[str, ...] = (),
        origins: Mapping[str, str] | None = None,
    ) -> "Policy":
        """Return this policy with additional paths, which are known only at run time."""
        return self._replace(
            readable=self.readable + readable,
            writable=self.writable + writable,
            loading=self.loading + loading,
            origins={**self.origins, **(origins or {})},
        )

    def grants(self, path: str) -> bool:
        """Tell whether the policy grants a path, or a folder above it, for good."""
        paths = self.readable + self.writable + (self.loading if self.executable_memory else ())
        return any(f"{path}/".startswith(f"{granted.rstrip('/')}/") for granted in paths)

    def refuses(self, syscall: str) -> bool:
        """Tell whether a system call fails with any arguments, without killing the process."""
        return syscall not in self.allowed and any(syscall in refusal.syscalls for refusal in self.refusals)
