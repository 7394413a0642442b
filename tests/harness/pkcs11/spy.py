"""OpenSC's module that logs the calls to another one: an independent record of what the service calls.

The process needs to read the library and the module, and to write the output, which the spy flushes after every call.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.harness.pkcs11.token import find_module

_FOLDERS: Final = (
    "/usr/lib/{machine}-linux-gnu/pkcs11",
    "/usr/lib/{machine}-linux-gnu",
    "/usr/lib64/pkcs11",
    "/usr/lib64",
    "/usr/lib/pkcs11",
)
_CALL: Final = re.compile(r"^\d+: (C_\w+)$", re.MULTILINE)


def spy_library() -> Path:
    """Return the path of the spy."""
    return find_module("pkcs11-spy.so", _FOLDERS)


class Spy:
    """The spy before one module."""

    def __init__(self, output: Path, module: Path, environment: Mapping[str, str] | None = None) -> None:
        """Prepare the output file, so that whoever the service's process is can write it.

        Args:
            output: Where the spy writes.
            module: The module behind it.
            environment: What that module needs to have in its environment.
        """
        self.library: Final = spy_library()
        self.environment: Final = {
            **(environment or {}),
            "PKCS11SPY": str(module),
            "PKCS11SPY_OUTPUT": str(output),
        }
        self._output: Final = output
        output.touch()
        output.chmod(0o666)

    def calls(self) -> list[str]:
        """Return the names of the functions called so far, oldest first."""
        return _CALL.findall(self._output.read_text(errors="replace"))

    def mark(self) -> int:
        """Return how many calls there were, for `since`."""
        return len(self.calls())

    def since(self, mark: int) -> list[str]:
        """Return the names of the functions called after a mark."""
        return self.calls()[mark:]
