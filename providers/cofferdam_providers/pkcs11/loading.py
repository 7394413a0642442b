"""Why a module cannot be loaded, in words: what the dynamic linker says names the cause only to those who know it."""

import sys
from typing import Final

from cofferdam_runtime.faults import explain

_MAGIC: Final = b"\x7fELF"
_MACHINE: Final = slice(18, 20)
_HEADER: Final = 20
_MACHINES: Final = {"x86_64": 62, "aarch64": 183, "arm": 40, "i386": 3, "riscv64": 243, "powerpc64le": 21, "s390x": 22}
"""Numbers of the machines in the headers of their files (elf(5), e_machine)."""
_SETTING: Final = "provider.library_path"
_ENTRY: Final = "C_GetFunctionList"


def why_not(path: str, said: str) -> str:
    """Return why a module cannot be loaded, and what to do, as one sentence.

    Args:
        path: The module.
        said: What the dynamic linker says.
    """
    needed = f"needed a PKCS#11 module for this machine; correct {_SETTING}"
    try:
        with open(path, "rb") as file:
            header = file.read(_HEADER)
    except OSError as error:
        return explain(error, path, "a PKCS#11 module that the worker may read", _SETTING)
    if not header.startswith(_MAGIC):
        return f"{path}: found no ELF file, {needed}"
    ours = _MACHINES.get(getattr(sys.implementation, "_multiarch", "").partition("-")[0])
    machine = int.from_bytes(header[_MACHINE], sys.byteorder)
    if ours is not None and machine != ours:
        return f"{path}: found a library for another machine (ELF machine {machine}, here {ours}), {needed}"
    if _ENTRY in said:
        return f"{path}: found a library without {_ENTRY}, {needed}"
    return (
        f"{path}: the dynamic linker says: {said}; install what it needs, and if that is not in the system's folders "
        "of libraries, name it in provider.module_readable"
    )
