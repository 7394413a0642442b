"""Clients under uids of their own, each a program (crowd.c) that can be started and ended."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.harness import wire
from tools.measure import UnavailableError, cc

_END_S: Final = 80.0
"""No crowd runs for longer than a minute."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """Clients of one uid that all do the same."""

    uid: int
    mode: str = "ask"
    """One of crowd.c's."""
    requests: Sequence[wire.Request] = (wire.Request(),)
    connections: int = 1
    cycle: int = 1
    """How many of the requests belong to one connection."""
    pause_ms: float = 0.0
    first_uid: int = 0
    """If not 0, the clients have many uids, from this one on; the program runs as root then."""
    nice: int = 0


@dataclass(frozen=True, slots=True)
class Tally:
    """The measurements of a crowd."""

    seconds: float
    answers: int
    failed_connects: int
    failed_requests: int
    cpu_s: float
    p50_ms: float
    p99_ms: float
    most_ms: float

    @property
    def rate(self) -> float:
        """Return the answers per second."""
        return self.answers / self.seconds


@dataclass(slots=True)
class Run:
    """A crowd at work."""

    process: subprocess.Popen[str] = field(repr=False)

    def end(self) -> Tally:
        """Have it end, and return what it saw.

        Raises:
            UnavailableError: It failed.
        """
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        return self.result()

    def result(self) -> Tally:
        """Wait for its end, and return what it saw.

        Raises:
            UnavailableError: It failed.
        """
        try:
            output, errors = self.process.communicate(timeout=_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            output, errors = self.process.communicate()
        if self.process.returncode:
            raise UnavailableError(f"crowd ended with {self.process.returncode}: {errors}")
        found: dict[str, Any] = json.loads(output)
        return Tally(**found)

    def close(self) -> None:
        """End it, if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


class Crowds:
    """The compiled program, and a folder for the requests that it sends."""

    def __init__(self, folder: str) -> None:
        """Compile it into a folder, which every uid must be able to enter from now on.

        Raises:
            UnavailableError: It cannot be compiled.
        """
        self._folder = Path(folder)
        self._folder.chmod(0o755)
        self._program = str(self._folder / "crowd")
        self._files: dict[bytes, str] = {}
        cc(Path(__file__).with_name("crowd.c"), self._program)

    def start(self, path: str, crowd: Crowd, seconds: float) -> Run:
        """Run a crowd against a socket for a time; with 0 seconds it sends one request."""
        words = [self._program, path, crowd.mode, self._file(crowd.requests), str(crowd.connections), str(seconds)]
        words += [str(crowd.cycle), str(int(crowd.pause_ms * 1000)), str(crowd.first_uid)]
        identity = 0 if crowd.first_uid else crowd.uid
        process = subprocess.Popen(
            ["nice", "-n", str(crowd.nice), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            user=identity,
            group=identity,
            extra_groups=(),
        )
        return Run(process)

    def run(self, path: str, crowd: Crowd, seconds: float) -> Tally:
        """Run a crowd, and return its tally."""
        return self.start(path, crowd, seconds).result()

    def _file(self, requests: Sequence[wire.Request]) -> str:
        data = b"".join(request.to_bytes() for request in requests)
        if data not in self._files:
            self._files[data] = str(self._folder / f"requests-{len(self._files)}")
            Path(self._files[data]).write_bytes(data)
            os.chmod(self._files[data], 0o644)
        return self._files[data]
