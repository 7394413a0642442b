"""A proxy before the TPM that accepts several clients at once and injects faults.

    with Swtpm() as tpm, Shim(tpm.address) as shim:
        provider_values = {"tcti": shim.tcti}
        shim.plan(rules.answer("Sign", rc=0x922, times=2))
        mark = shim.mark()
        ...
        assert shim.commands(since=mark) == ["Load", "Sign", "FlushContext"]

rules.py says what it can do, forward.py is its process. A client finds its connection closed when the TPM is gone.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.harness.interpreter import CHECKOUT
from tests.harness.running import Running
from tests.harness.tpm.channel import Address
from tests.harness.tpm.rules import Rule, to_text
from tests.harness.tpm.swtpm import free_port, tcti_of

_MODULE: Final = "tests.harness.tpm.forward"
_TRIES: Final = 20
_STOP_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command, as the journal has it."""

    sequence: int
    client: int
    """Which connection to the shim, from 1."""
    command: str
    sessions: bool
    """Whether it has an authorization area: passwords, HMAC or policy sessions."""
    action: str
    """What a rule did to it; `gone` if the TPM did not answer; empty otherwise."""
    rc: int | None
    """The code in the answer that the client got, or in that of which it got a part; None if it got nothing."""
    sent: str = ""
    """All its bytes as the client sent them, in hex, if the shim was asked to keep them."""
    received: str = ""


class Shim(Running):
    """A shim before one TPM, between `start` and `stop`, in the same place each time."""

    def __init__(self, tpm: Address, *, wire: bool = False) -> None:
        """Make the folder; start nothing.

        Args:
            tpm: Where the TPM is, `Swtpm.address`, or another shim's.
            wire: Whether the journal keeps all bytes.
        """
        self.folder: Final = Path(tempfile.mkdtemp(prefix="cofferdam-tpm-shim-"))
        self._tpm: Final = tpm
        self._is_wire_wanted: Final = wire
        self._schedule: Final = self.folder / "schedule"
        self._journal: Final = self.folder / "journal"
        self._journal.touch()
        self._process: subprocess.Popen[str] | None = None
        self._port: int | None = None
        self.clear()

    @property
    def address(self) -> int:
        """Return the port, the same from the first start on."""
        if self._port is None:
            raise RuntimeError("the shim has not been started")
        return self._port

    @property
    def tcti(self) -> str:
        """Return what the service's configuration says."""
        return tcti_of(self.address)

    @property
    def tools_tcti(self) -> str:
        """Return what tpm2-tools find in TPM2TOOLS_TCTI."""
        return tcti_of(self.address)

    def start(self) -> None:
        """Start the process, and wait until it listens."""
        if self._process is not None:
            raise RuntimeError("the shim is running already")
        # Free ports may have been taken meanwhile; ports that clients know already cannot be changed.
        for port in [self._port] if self._port else [free_port() for _ in range(_TRIES)]:
            words = [sys.executable, "-m", _MODULE, str(port), str(self._tpm), str(self._schedule), str(self._journal)]
            self._process = process = subprocess.Popen(
                [*words, *(["wire"] if self._is_wire_wanted else [])],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                cwd=CHECKOUT,
                text=True,
            )
            if process.stdout is not None and process.stdout.readline() == "ready\n":
                self._port = port
                return
            self.stop()
        raise RuntimeError("the shim did not start; what it wrote is on stderr")

    def stop(self) -> None:
        """End the process, and with it the connections of all clients."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def close(self) -> None:
        """Stop, and remove the folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def plan(self, *rules: Rule) -> None:
        """Let these rules hold in place of the earlier ones, from the next command on, and begin to count."""
        new = self.folder / "schedule.new"
        new.write_text(to_text(rules))
        os.replace(new, self._schedule)

    def clear(self) -> None:
        """Let no rule hold."""
        self.plan()

    def journal(self, *, since: int = 0) -> list[Command]:
        """Return all commands after the first `since`, in the order in which the TPM got them."""
        return [Command(**json.loads(line)) for line in self._journal.read_text().splitlines()[since:]]

    def mark(self) -> int:
        """Return how many commands there were, for `since`."""
        return len(self.journal())

    def commands(self, *, since: int = 0) -> list[str]:
        """Return the names of the commands."""
        return [entry.command for entry in self.journal(since=since)]

    def count(self, *commands: str, since: int = 0) -> int:
        """Count some commands; all if none is named."""
        return sum(not commands or entry.command in commands for entry in self.journal(since=since))

    def wire(self, *, since: int = 0) -> bytes:
        """Return all bytes that passed, both ways, one message after the other.

        Raises:
            RuntimeError: The shim was not asked to keep them.
        """
        if not self._is_wire_wanted:
            raise RuntimeError("this shim keeps no bytes: Shim(…, wire=True)")
        return b"".join(bytes.fromhex(entry.sent + entry.received) for entry in self.journal(since=since))
