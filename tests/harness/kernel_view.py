"""What the kernel says about a running process, asked from outside: its descriptors, its limits, its filters.

Nothing here believes the process, or runs in it. Descriptors and filters of a process that is not dumpable are for
root alone.
"""

import contextlib
import ctypes
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

O_CLOEXEC: Final = os.O_CLOEXEC
UNLIMITED: Final = "unlimited"

# linux/ptrace.h, linux/seccomp.h, linux/bpf_common.h, linux/audit.h.
_SEIZE, _INTERRUPT, _GET_FILTER, _DETACH = 0x4206, 0x4207, 0x420C, 17
_ALL: Final = 0x40000000
"""__WALL of waitpid(2): includes threads that are not group leaders."""
_INSTRUCTION: Final = struct.Struct("=HBBI")
ALLOW: Final = 0x7FFF0000
ERRNO: Final = 0x00050000
KILL: Final = 0x80000000
_ACTION: Final = 0xFFFF0000
ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_LIBC.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_LIBC.ptrace.restype = ctypes.c_long

Program = tuple[tuple[int, int, int, int], ...]
"""A filter: code, jump if true, jump if false, constant of each instruction (linux/filter.h)."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One descriptor of a process."""

    number: int
    target: str
    """As readlink gives it: a path, `socket:[inode]`, `anon_inode:[eventpoll]`."""
    closes_on_exec: bool

    @property
    def inode(self) -> int | None:
        """Return the inode of a socket, None if it is something else."""
        return int(self.target[8:-1]) if self.target.startswith("socket:[") else None


def descriptors(pid: int) -> list[Descriptor]:
    """Return the descriptors of a process."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{name}")
            lines = Path(f"/proc/{pid}/fdinfo/{name}").read_text().splitlines()
        except FileNotFoundError:
            continue  # closed since
        flags = next(int(line.split()[1], 8) for line in lines if line.startswith("flags:"))
        found.append(Descriptor(int(name), target, bool(flags & O_CLOEXEC)))
    return sorted(found, key=lambda descriptor: descriptor.number)


def limits(pid: int) -> dict[str, tuple[str, str]]:
    """Return the soft and the hard limits of a process, by the names in /proc."""
    table = {}
    for line in Path(f"/proc/{pid}/limits").read_text().splitlines()[1:]:
        table[line[:26].strip()] = (line[26:47].strip(), line[47:68].strip())
    return table


def status(pid: int, thread: int | None = None) -> dict[str, str]:
    """Return the fields of the status of a process or of one of its threads."""
    place = f"/proc/{pid}/status" if thread is None else f"/proc/{pid}/task/{thread}/status"
    lines = Path(place).read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def threads(pid: int) -> list[int]:
    """Return the threads of a process."""
    return sorted(int(name) for name in os.listdir(f"/proc/{pid}/task"))


def is_dumpable(pid: int) -> bool:
    """Tell whether others of its uid may trace a process: if not, its files in /proc are root's (proc(5)).

    Says nothing about a process of root.
    """
    return os.stat(f"/proc/{pid}/environ").st_uid == int(status(pid)["Uid"].split()[1])


def filters(thread: int) -> list[Program]:
    """Return the seccomp filters of a thread, the oldest first.

    Raises:
        OSError: This process may not see them, say because it has a filter itself.
    """
    with stopped(thread):
        found: list[Program] = []
        while (length := _LIBC.ptrace(_GET_FILTER, thread, len(found), None)) >= 0:
            code = ctypes.create_string_buffer(length * _INSTRUCTION.size)
            if _LIBC.ptrace(_GET_FILTER, thread, len(found), code) < 0:
                break
            found.append(tuple(_INSTRUCTION.iter_unpack(code.raw)))
        number = ctypes.get_errno()
    if not found:
        raise OSError(number, os.strerror(number))
    return found


@contextlib.contextmanager
def stopped(thread: int) -> Iterator[None]:
    """Stop a thread within, as a debugger does: only SIGKILL reaches it."""
    for request in (_SEIZE, _INTERRUPT):
        if _LIBC.ptrace(request, thread, None, None) < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    os.waitpid(thread, _ALL)
    try:
        yield
    finally:
        _LIBC.ptrace(_DETACH, thread, None, None)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(thread, _ALL | os.WNOHANG)  # of one that has died


def verdict(programs: Sequence[Program], architecture: int, number: int, arguments: Sequence[int] = ()) -> int:
    """Return what the kernel does with a system call under some filters: the strictest of their actions."""
    data = struct.pack("=iIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    return min((_run(program, data) for program in programs), key=lambda result: _signed(result & _ACTION))


def _signed(action: int) -> int:
    return action - (1 << 32) if action & KILL else action


def _run(program: Program, data: bytes) -> int:
    """Interpret a filter: the few instructions that libseccomp makes."""
    accumulator = position = 0
    memory = [0] * 16
    while True:
        code, if_true, if_false, constant = program[position]
        position += 1
        if code == 0x20:  # load a word of the data
            (accumulator,) = struct.unpack_from("=I", data, constant)
        elif code == 0x60:  # load from memory
            accumulator = memory[constant]
        elif code == 0x02:  # store
            memory[constant] = accumulator
        elif code == 0x54:  # and
            accumulator &= constant
        elif code == 0x05:  # jump
            position += constant
        elif code == 0x06:  # return
            return constant
        elif code in _JUMPS:
            position += if_true if _JUMPS[code](accumulator, constant) else if_false
        else:
            raise ValueError(f"an instruction {code:#x}")


_JUMPS: Final[dict[int, Callable[[int, int], bool]]] = {
    0x15: lambda a, k: a == k,
    0x25: lambda a, k: a > k,
    0x35: lambda a, k: a >= k,
    0x45: lambda a, k: bool(a & k),
}
