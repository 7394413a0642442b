"""A software TPM 2.0 with a state folder of its own: swtpm, as our child process.

    with Swtpm() as tpm:
        provider_values = {"tcti": tpm.tcti}
        assert tpm.getcap("handles-persistent") == ""

swtpm serves one data connection at a time. While somebody keeps one open, everybody else's connection is accepted by
the kernel and then waits: no error, no answer, until the first one closes. The C library's TCTI for swtpm opens one for
each command, so it and tpm2-tools can take turns; a client that keeps its connection needs the shim before the TPM.

What a kept connection sees: after `reset`, 0x100 (TPM_RC_INITIALIZE) until TPM2_Startup, on the same connection; after
CMD_STOP alone, 0x101 (TPM_RC_FAILURE); after `stop`, `kill` and `restart`, its end.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.harness.running import Running
from tests.harness.tpm.channel import (
    HEADER,
    LOOPBACK,
    NO_SESSIONS,
    Address,
    code_of,
    connect,
    control_of,
    receive,
)
from tests.harness.tpm.codes import CODES

INITIALIZE: Final = 0x100
"""TPM_RC_INITIALIZE: TPM2_Startup is missing, or there was one already."""
_CLEAR: Final = 0
_STATE: Final = 1
# swtpm_ioctls(3), for sockets: a command in 32 bits, big endian, answered by a result in 32 bits.
_CMD_INIT: Final = 2
_CMD_SHUTDOWN: Final = 3
# Below the ports that Linux gives to outgoing connections, one of which could take ours while swtpm is gone.
_PORTS: Final = range(20000, 32000, 2)
_TRIES: Final = 20
_START_S: Final = 60.0
_ANSWER_S: Final = 3.0
_TOOL_S: Final = 30.0
_POLL_S: Final = 0.005


class SwtpmError(Exception):
    """Raised when swtpm or a tool does not do what it has to; the text says what they wrote."""


def free_port() -> int:
    """Return an even port that is free, as the next one is."""
    for _ in range(1000):
        port = secrets.choice(_PORTS)
        with contextlib.suppress(OSError), socket.socket() as first, socket.socket() as second:
            first.bind((LOOPBACK, port))
            second.bind((LOOPBACK, port + 1))
            return port
    raise SwtpmError("no two ports beside each other are free")


def tcti_of(address: Address) -> str:
    """Return the configuration string of the service and of tpm2-tools for swtpm, or a shim, at an address."""
    return f"swtpm:host={LOOPBACK},port={address}" if isinstance(address, int) else f"swtpm:path={address}"


def tool(tcti: str, *words: str, folder: Path | None = None) -> str:
    """Run one of tpm2-tools against a TPM and return what it prints.

    Args:
        tcti: How it reaches the TPM.
        words: The tool, `tpm2_getcap`, and its arguments.
        folder: Where it runs, if it makes files.

    Raises:
        SwtpmError: It failed, or somebody else kept the only connection.
    """
    try:
        done = subprocess.run(
            words,
            check=False,
            capture_output=True,
            text=True,
            timeout=_TOOL_S,
            cwd=folder,
            env={**os.environ, "TPM2TOOLS_TCTI": tcti},
        )
    except subprocess.TimeoutExpired as error:
        raise SwtpmError(f"{words[0]} got no answer: does somebody keep a connection to the TPM?") from error
    if done.returncode:
        raise SwtpmError(f"{' '.join(words)} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


class Swtpm(Running):
    """One TPM. `start` and `stop` switch it on and off, and what it stores stays until `close`."""

    def __init__(self, *, startup: bool = True, unix: bool = False) -> None:
        """Make the folder; start nothing.

        Args:
            startup: Whether TPM2_Startup(CLEAR) is done at each start, as firmware does it.
            unix: Whether it is reached by Unix sockets in place of ports.
        """
        self.folder: Final = Path(tempfile.mkdtemp(prefix="cofferdam-swtpm-"))
        # A service's worker passes through here on the way to the Unix socket.
        self.folder.chmod(0o755)
        (self.folder / "state").mkdir(mode=0o700)
        self._log: Final = self.folder / "log"
        self._startup: Final = startup
        self._process: subprocess.Popen[bytes] | None = None
        self._address: Address | None = str(self.folder / "tpm") if unix else None

    @property
    def address(self) -> Address:
        """Return where the data channel is, the same from the first start on."""
        if self._address is None:
            raise RuntimeError("the TPM has not been started")
        return self._address

    @property
    def tcti(self) -> str:
        """Return what the service's configuration says: `swtpm:host=127.0.0.1,port=N`."""
        return tcti_of(self.address)

    @property
    def tools_tcti(self) -> str:
        """Return what tpm2-tools find in TPM2TOOLS_TCTI."""
        return tcti_of(self.address)

    @property
    def pid(self) -> int:
        """Return the process id of swtpm."""
        return self._running().pid

    def start(self) -> None:
        """Switch the TPM on, and wait until it answers."""
        if self._process is not None:
            raise RuntimeError("the TPM is on already")
        if self._address is not None:
            if not self._launch(self._address):
                raise self._failure("swtpm did not start")
            return
        for _ in range(_TRIES):
            port = free_port()
            # Somebody may have taken the ports just now.
            if self._launch(port):
                self._address = port
                return
        raise self._failure("swtpm did not start on any ports")

    def stop(self) -> None:
        """Switch the TPM off properly: without TPM2_Shutdown the next start may count as an attack.

        Raises:
            SwtpmError: Somebody keeps the data channel, so that TPM2_Shutdown cannot be said.
        """
        process = self._running()
        self.shutdown()
        self._control(_CMD_SHUTDOWN)
        try:
            process.wait(_START_S)
        except subprocess.TimeoutExpired as error:
            raise self._failure("swtpm did not end") from error
        self._process = None

    def kill(self) -> None:
        """Let the TPM lose its power, and its process be gone."""
        process = self._running()
        process.send_signal(signal.SIGKILL)
        process.wait()
        self._process = None

    def close(self) -> None:
        """End the process if it runs, and remove the folder."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def restart(self, *, orderly: bool = True) -> None:
        """Let the process go and come back in the same place, with what the TPM had stored."""
        if orderly:
            self.stop()
        else:
            self.kill()
        self.start()

    def reset(self, *, orderly: bool = True, startup: bool = True, state: bool = False) -> None:
        """Reset the TPM as a power loss would, while the process and its connections live on.

        Args:
            orderly: Whether TPM2_Shutdown comes before; needs the data channel to be free.
            startup: Whether TPM2_Startup comes after; needs it too.
            state: Whether both are of the STATE kind, as around a suspension, and not of the CLEAR kind.
        """
        if orderly:
            self.shutdown(state=state)
        self._control(_CMD_INIT, struct.pack(">I", 0))
        if startup:
            self.startup(state=state)

    def startup(self, *, state: bool = False) -> int:
        """Send TPM2_Startup and return the response code, INITIALIZE if there was one already."""
        return self._power("Startup", state=state)

    def shutdown(self, *, state: bool = False) -> int:
        """Send TPM2_Shutdown and return the response code, INITIALIZE if there was no TPM2_Startup."""
        return self._power("Shutdown", state=state)

    def exchange(self, command: bytes) -> bytes:
        """Send the TPM one command, on a connection for it alone.

        Raises:
            SwtpmError: There is no answer, since somebody else keeps the data channel or swtpm is gone.
        """
        try:
            with connect(self.address, _ANSWER_S) as connection:
                connection.sendall(command)
                answer = receive(connection)
        except OSError as error:
            raise self._failure(f"swtpm does not answer ({error}): does somebody keep a connection?") from error
        if answer is None:
            raise self._failure("swtpm has closed the connection")
        return answer

    def getcap(self, what: str) -> str:
        """Return what `tpm2_getcap` prints of a capability: `handles-transient`, `properties-variable`."""
        return tool(self.tools_tcti, "tpm2_getcap", what)

    def flush(self) -> None:
        """Flush all transient objects: tpm2-tools leave theirs, and the TPM has three slots."""
        tool(self.tools_tcti, "tpm2_flushcontext", "--transient-object")

    def lockout_counter(self) -> int:
        """Return how many failed authorizations the dictionary-attack logic holds against us."""
        (line,) = [row for row in self.getcap("properties-variable").splitlines() if "TPM2_PT_LOCKOUT_COUNTER:" in row]
        return int(line.split()[-1], 16)

    def log(self) -> str:
        """Return what swtpm has written."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _launch(self, address: Address) -> bool:
        data, control = (
            f"type=tcp,port={place},bindaddr={LOOPBACK}"
            if isinstance(place, int)
            else f"type=unixio,path={place},mode=0666"
            for place in (address, control_of(address))
        )
        flags = "not-need-init,startup-clear" if self._startup else "not-need-init"
        words = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.folder / 'state'}"]
        words += ["--server", data, "--ctrl", control, "--flags", flags]
        with self._log.open("ab") as log:
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")
        self._process = process
        deadline = time.monotonic() + _START_S
        while process.poll() is None:
            with contextlib.suppress(OSError):
                # Another process may have one of the ports, and accept our connection, but hardly both.
                for place in (control_of(address), address):
                    connect(place, _ANSWER_S).close()
                if process.poll() is None:
                    return True
            if time.monotonic() > deadline:
                process.kill()
            time.sleep(_POLL_S)
        process.wait()
        self._process = None
        return False

    def _power(self, name: str, *, state: bool) -> int:
        kind = _STATE if state else _CLEAR
        command = HEADER.pack(NO_SESSIONS, HEADER.size + 2, CODES[name]) + struct.pack(">H", kind)
        code = code_of(self.exchange(command))
        if code not in {0, INITIALIZE}:
            raise SwtpmError(f"TPM2_{name} returned {code:#x}")
        return code

    def _control(self, command: int, body: bytes = b"") -> None:
        try:
            with connect(control_of(self.address), _ANSWER_S) as connection:
                connection.sendall(struct.pack(">I", command) + body)
                result = connection.recv(4)
        except OSError as error:
            raise self._failure(f"swtpm's control channel does not answer ({error})") from error
        if result != bytes(4):
            raise self._failure(f"swtpm answered command {command} of the control channel with {result.hex()}")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the TPM is off")
        return self._process

    def _failure(self, text: str) -> SwtpmError:
        return SwtpmError(f"{text}\n--- log ---\n{self.log()}")
