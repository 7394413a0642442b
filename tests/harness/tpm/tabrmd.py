"""The resource manager tpm2-abrmd before a TPM, on a bus of its own that nobody else sees.

    with Swtpm() as tpm, Tabrmd(tpm.tcti) as manager:
        environment = {**os.environ, **manager.environment}
        provider_values = {"tcti": manager.tcti}

Clients find the bus by DBUS_SESSION_BUS_ADDRESS. They speak to the manager over a socket that it hands them, and lose
it when the manager ends; every client may have more transient objects than the TPM has slots. dbus-daemon refuses a uid
that has no entry in the system's table of users, whatever its configuration says.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tests.harness.running import Running

_BUS: Final = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={path}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""
"""Lets every uid connect, which the system's configuration of a session bus does not."""
_START_S: Final = 60.0
_STOP_S: Final = 10.0
_POLL_S: Final = 0.01


class TabrmdError(Exception):
    """Raised when the bus or the manager does not start; the text says what they wrote."""


class Tabrmd(Running):
    """One manager with its bus, between `start` and `stop`."""

    tcti: Final = "tabrmd:bus_type=session"

    def __init__(self, tpm: str) -> None:
        """Make the folder; start nothing.

        Args:
            tpm: How the manager reaches the TPM, `Swtpm.tcti` or `Shim.tcti`.
        """
        self.folder: Final = Path(tempfile.mkdtemp(prefix="cofferdam-tabrmd-"))
        self.folder.chmod(0o755)
        self._tpm: Final = tpm
        self._log: Final = self.folder / "log"
        self._bus: subprocess.Popen[bytes] | None = None
        self._manager: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> Mapping[str, str]:
        """Return what clients need in their environment."""
        return {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={self.folder / 'bus'}"}

    def start(self) -> None:
        """Start the bus unless it runs, then the manager, and wait until that has its name on the bus."""
        if self._bus is None:
            configuration = self.folder / "bus.conf"
            configuration.write_text(_BUS.format(path=self.folder / "bus"))
            self._bus = self._launch("dbus-daemon", "--nofork", "--nopidfile", f"--config-file={configuration}")
            self._wait_for((self.folder / "bus").exists)
        # Root is refused without --allow-root.
        self._manager = self._launch("tpm2-abrmd", "--session", "--allow-root", f"--tcti={self._tpm}")
        self._wait_for(self._answers)

    def stop(self) -> None:
        """End the manager in good order, and leave the bus."""
        self._end(self._manager)
        self._manager = None

    def close(self) -> None:
        """End both processes and remove the folder."""
        self.stop()
        self._end(self._bus)
        self._bus = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def tool(self, *words: str, folder: Path | None = None) -> str:
        """Run one of tpm2-tools through the manager and return what it prints."""
        done = subprocess.run(
            words, check=False, capture_output=True, text=True, timeout=30.0, cwd=folder, env=self._environment()
        )
        if done.returncode:
            raise TabrmdError(f"{' '.join(words)} ended with {done.returncode}: {done.stderr}\n{self._text()}")
        return done.stdout

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.environment, "TPM2TOOLS_TCTI": self.tcti}

    def _answers(self) -> bool:
        done = subprocess.run(
            ["tpm2_getrandom", "1"], check=False, capture_output=True, timeout=30.0, env=self._environment()
        )
        return done.returncode == 0

    def _launch(self, *words: str) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            environment = {**os.environ, **self.environment}
            return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env=environment)

    def _wait_for(self, is_done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_S
        while not is_done():
            ended = any(process is not None and process.poll() is not None for process in (self._bus, self._manager))
            if ended or time.monotonic() > deadline:
                raise TabrmdError(f"the resource manager did not start\n{self._text()}")
            time.sleep(_POLL_S)

    @staticmethod
    def _end(process: subprocess.Popen[bytes] | None) -> None:
        if process is None:
            return
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
        process.kill()
        process.wait()

    def _text(self) -> str:
        return f"--- log ---\n{self._log.read_text(errors='replace') if self._log.exists() else ''}"
