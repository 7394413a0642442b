"""A module that forwards every call to another one and injects faults; shim.c lists them.

    shim = Shim(folder, token.library, token.environment)
    shim.set("C_Sign@2 return CKR_DEVICE_REMOVED")
    ...
    assert shim.count("C_Sign") == 2

The library finds its settings in a file beside itself, so that nothing has to be in the environment of the process
that loads it. That process needs to read the folder, and to write the log.
"""

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_name("shim.c")
_COMPILE: Final = ("cc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror")


@dataclass(frozen=True, slots=True)
class Call:
    """One call, as the log has it."""

    function: str
    end: str
    """What it returned, in hex, or the action from which it did not return."""


class Shim:
    """A shim before one module, in a folder of its own."""

    def __init__(
        self,
        folder: Path,
        module: Path,
        environment: Mapping[str, str] | None = None,
        *,
        name: str = "shim.so",
        parameters: str = "",
    ) -> None:
        """Put the library and its settings in place.

        Args:
            folder: Where all of it is; made if it is missing.
            module: The module behind the shim.
            environment: What that module needs to have in its environment.
            name: The file name of the library, which the service's table of quirks looks at.
            parameters: The string that C_Initialize gets.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.library: Final = folder / name
        self.folder: Final = folder
        self._schedule: Final = folder / "schedule"
        self._log: Final = folder / "calls.log"
        shutil.copy(compiled(), self.library)
        settings = {
            "SHIM_MODULE": str(module),
            "SHIM_SCHEDULE": str(self._schedule),
            "SHIM_LOG": str(self._log),
            **({"SHIM_PARAMETERS": parameters} if parameters else {}),
            **(environment or {}),
        }
        Path(f"{self.library}.env").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        self._log.touch()
        # Whoever the service's process is.
        self._log.chmod(0o666)
        self.clear()

    def set(self, *rules: str) -> None:
        """Apply these rules from the next call on; a rule that was there before keeps its counter."""
        new = self._schedule.with_name("schedule.new")
        new.write_text("".join(f"{rule}\n" for rule in rules))
        os.replace(new, self._schedule)

    def clear(self) -> None:
        """Remove all rules."""
        self.set()

    def calls(self) -> list[Call]:
        """Return all calls so far, oldest first; those of several processes in the order in which they ended."""
        return [Call(*line.split()) for line in self._log.read_text().splitlines()]

    def count(self, *functions: str, since: int = 0) -> int:
        """Count the calls of some functions, after the first `since` calls of any."""
        return sum(call.function in functions for call in self.calls()[since:])

    def is_asleep(self, function: str) -> bool:
        """Tell whether a call of a function has come to the pause that `slow` or `then-slow` makes."""
        return Call("asleep", function) in self.calls()

    def forget(self) -> None:
        """Empty the log."""
        os.truncate(self._log, 0)


@functools.cache
def compiled() -> Path:
    """Compile the library once; it is removed when this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="cofferdam-shim-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    library = folder / "shim.so"
    subprocess.run([*_COMPILE, "-o", str(library), str(SOURCE), "-ldl"], check=True)
    return library
