"""Works on a store while a system call fails: `fault_child.py DATABASE SYSCALL ERRNO`.

Writes the status of each question. The kernel itself refuses the call, by a seccomp filter.
"""

import ctypes
import os
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2] / folder) for folder in ("contracts", "runtime", "kim", ".")]

from tests.kim.support import MBED, PLANNED, PROVIDERS, RECORD, name  # noqa: E402

from cofferdam_contracts.status import ServiceError  # noqa: E402
from cofferdam_kim.store import MappingStore  # noqa: E402

_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000


def refuse(syscall: str, errno: int) -> None:
    """Let a system call fail from now on."""
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(_ALLOW))
    number = library.seccomp_syscall_resolve_name(syscall.encode())
    if library.seccomp_rule_add(context, _ERRNO | errno, number, 0) or library.seccomp_load(context):
        raise OSError(ctypes.get_errno(), "no filter")


def main() -> None:
    """Ask everything."""
    path, syscall, errno = sys.argv[1:]
    store = MappingStore.open(path, PROVIDERS)
    refuse(syscall, int(errno))
    for question, key_name, arguments in (
        ("reserve", "new", (PLANNED,)),
        ("activate", "reserved", (RECORD,)),
        ("mark_deleting", "active", ()),
        ("remove", "deleting", ()),
        ("cancel", "reserved", ()),
        ("lookup", "active", ()),
    ):
        try:
            getattr(store, question)(MBED, name(key_name), *arguments)
            answer = "SUCCESS"
        except ServiceError as error:
            answer = f"{error.status.name} {error.detail}"
        os.write(1, f"{question} {answer}\n".encode())
    os.write(1, f"pending {len(store.pending(MBED))}\n".encode())


if __name__ == "__main__":
    main()
