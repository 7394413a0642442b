"""Use of a module in a process of its own, step by step."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.harness.pkcs11.token import Token

DRIVE: Final = Path(__file__).with_name("drive.py")
_TIMEOUT_S: Final = 20.0


class Driver:
    """A process that has a module loaded and is logged in to a token, for the length of a `with`."""

    def __init__(self, token: Token, library: Path | None = None, environment: Mapping[str, str] | None = None) -> None:
        """Start the process.

        Args:
            token: The token, and the module if there is no other.
            library: A module in front of the token's.
            environment: The variables that this module needs besides those of the token.
        """
        self._process: Final = subprocess.Popen(
            [sys.executable, "-I", str(DRIVE), str(library or token.library), str(token.slot), token.pin],
            env={**os.environ, **token.environment, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def take(self, step: str) -> str:
        """Take a step and return its result; None if the process died of it."""
        self.send(step)
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode(errors="replace").rstrip("\n")

    def send(self, step: str) -> None:
        """Send a step and do not wait for the result."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{step}\n".encode())
        self._process.stdin.flush()

    def end(self) -> tuple[int, bytes]:
        """Let the process end, and return its exit status and what it wrote to stderr."""
        _, errors = self._process.communicate(timeout=_TIMEOUT_S)
        return self._process.returncode, errors
