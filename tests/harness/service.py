"""A running service in a folder of its own, as an operator would run it: real processes, real sockets.

    with Service(admins=["0"]) as service:
        client = connect(service.endpoint)

Started as root, the processes have uids of their own; started as somebody else, or with `as_user`, they share that
uid and keep the rest of their confinement.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TypedDict, cast

from tests.harness.configuration import Tables, configuration
from tests.harness.interpreter import cofferdam
from tests.harness.relay import wait_until_written
from tests.harness.running import Running

from cofferdam_client import Client

START_S: Final = 60.0
STOP_S: Final = 60.0
UNPRIVILEGED_UID: Final = 59001
"""A uid that belongs to nobody and is not one of the service's, for `as_user`."""
_POLL_S: Final = 0.002
_MAX_SOCKET_PATH: Final = 107
"""unix(7): sun_path has 108 bytes, one of which ends the path."""


class ProcessStatus(TypedDict):
    """One row of the status document."""

    role: str
    pid: int
    uid: int | None
    principal: int | None
    level: str | None
    landlock_abi: int | None
    state: str
    requests: int
    in_flight: int
    restarts: int
    uptime_s: float


class ProviderStatus(TypedDict):
    """One provider of the status document."""

    name: str
    type: str
    id: int
    state: str
    since_s: float
    cause: str
    next_try_s: float | None
    device: str
    keys: int | None


class ReloadStatus(TypedDict):
    """The last reload, of the status document."""

    asked: int
    done: int
    outcome: str | None
    ended_s: float | None
    problems: list[str]


class Status(TypedDict):
    """The status document."""

    phase: str
    reload: ReloadStatus
    providers: list[ProviderStatus]
    key_store: ProviderStatus
    processes: list[ProcessStatus]


class ServiceFailedError(Exception):
    """Raised when the service does not start, stop or respond as it should; the text contains its whole log."""


class Service(Running):
    """One service, running between `start` and `stop`."""

    def __init__(
        self,
        *,
        authenticators: Sequence[str] = ("UnixPeerCredentials",),
        admins: Sequence[str] = (),
        tables: Tables | None = None,
        extra: str = "",
        as_user: int | None = None,
    ) -> None:
        """Prepare the folder and the configuration; start nothing.

        Args:
            authenticators: The active ones, the default one first.
            admins: Names with administrator rights.
            tables: Values by table and key, beside and in place of those of `configuration`.
            extra: TOML that ends the configuration.
            as_user: The uid to run as, if not that of the tests; needs root.
        """
        self.groups: tuple[int, ...] | None = None
        """The supplementary groups of whoever starts it, None for those of the tests; needs root."""
        self._as_user = as_user
        self.command = cofferdam(as_user)
        """The words that start the `cofferdam` command; those of another checkout start its code."""
        self._process: subprocess.Popen[bytes] | None = None
        self._group = 0
        """The process group of the last launch."""
        self.folder = Path(tempfile.mkdtemp(prefix="cofferdam-"))
        # Processes with uids of their own pass through here on the way to their folders.
        self.folder.chmod(0o755)
        self.socket_path = str(self.folder / "parsec.sock")
        self.status_path = str(self.folder / "status.sock")
        if len(os.fsencode(self.status_path)) > _MAX_SOCKET_PATH:
            raise ValueError(f"{self.folder} is too long for a socket; set TMPDIR to a shorter folder")
        self.configuration_path = self.folder / "config.toml"
        self.log_path = self.folder / "log"
        self._authenticators, self._admins = tuple(authenticators), tuple(admins)
        self.configure(tables or {}, extra)
        if as_user is not None:
            os.chown(self.folder, as_user, as_user)
        self.ready_s = 0.0
        """How long the last start took, from the execution of the command until clients are served."""

    def configure(self, tables: Tables, extra: str = "") -> None:
        """Rewrite the configuration, for the next start or reload."""
        text = configuration(
            self.folder, authenticators=self._authenticators, admins=self._admins, tables=tables, extra=extra
        )
        self.configuration_path.write_text(text)

    @property
    def endpoint(self) -> str:
        """Return what clients find in PARSEC_SERVICE_ENDPOINT."""
        return f"unix:{self.socket_path}"

    def client(self) -> Client:
        """Return a client of the first provider."""
        return Client(self.endpoint)

    @property
    def pid(self) -> int:
        """Return the process id of the broker."""
        return self._running().pid

    def start(self) -> None:
        """Start the service and wait until it serves.

        Raises:
            ServiceFailedError: It ended, or does not serve in time.
        """
        started = time.monotonic()
        process = self.launch()
        while not self.is_ready():
            if process.poll() is not None:
                raise self.failure(f"the service ended with status {process.returncode} during its start")
            if time.monotonic() - started > START_S:
                raise self.failure(f"the service does not serve after {START_S} s")
            time.sleep(_POLL_S)
        self.ready_s = time.monotonic() - started

    def launch(
        self, *, variables: Mapping[str, str] | None = None, listener: socket.socket | None = None
    ) -> subprocess.Popen[bytes]:
        """Execute the command without waiting for anything; `start` is for the usual case.

        Args:
            variables: What the service has in its environment besides the usual.
            listener: A listening socket that the service gets as systemd's socket activation passes it.
        """
        self._end_last()
        command = self.words()
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", **(variables or {})}
        if listener is not None:
            # Only the process itself knows what LISTEN_PID has to be.
            words = f'exec 3<&{listener.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
            command = ["bash", "-c", words, "bash", *command]
        with self.log_path.open("ab") as log:
            identity = self._as_user
            # A group of its own, so that whatever it started can be ended with it and nothing else can.
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=environment,
                pass_fds=() if listener is None else (listener.fileno(),),
                process_group=0,
                user=identity,
                group=identity,
                extra_groups=self.groups if identity is None else (),
            )
        self._process, self._group = process, process.pid
        return process

    def words(self) -> list[str]:
        """Return the words that start the service."""
        return [*self.command, "serve", "-c", str(self.configuration_path)]

    def stop(self) -> int:
        """Shut the service down cleanly and return its exit status.

        Raises:
            ServiceFailedError: It did not end in time, and was killed.
        """
        process = self._running()
        if process.poll() is None:
            process.terminate()
        try:
            status = process.wait(STOP_S)
        except subprocess.TimeoutExpired as error:
            raise self.failure(f"the service did not end within {STOP_S} s") from error
        else:
            wait_until_written(self._group)
            return status
        finally:
            self._end_last()

    def kill(self) -> None:
        """Kill the broker, and wait until all of its processes have ended."""
        process, children = self._running(), self.pids()
        process.kill()
        process.wait()
        until = time.monotonic() + STOP_S
        while left := [pid for pid in children if is_alive(pid)]:
            if time.monotonic() > until:
                raise self.failure(f"processes outlive the broker: {left}")
            time.sleep(_POLL_S)
        self._process = None

    def close(self) -> None:
        """End all processes that still run, and remove the folder."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_S)
        self._end_last()
        shutil.rmtree(self.folder, ignore_errors=True)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the broker."""
        self._running().send_signal(number)

    def status(self) -> Status:
        """Return what the status socket says.

        Raises:
            OSError: Nobody answers there.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(5.0)
            connection.connect(self.status_path)
            document = b"".join(iter(lambda: connection.recv(65536), b""))
        return cast("Status", json.loads(document))

    def is_ready(self) -> bool:
        """Return whether it serves clients."""
        try:
            return self.status()["phase"] == "running"
        except (OSError, ValueError):
            return False

    def rows(self, role: str) -> list[ProcessStatus]:
        """Return the status of the processes of a role: `kim`, `worker[software]`, `frontend` for all of these."""
        return [row for row in self.status()["processes"] if row["role"] == role or row["role"].startswith(f"{role}[")]

    def provider(self, kind: str) -> ProviderStatus:
        """Return the status of the provider of a type."""
        return next(row for row in self.status()["providers"] if row["type"] == kind)

    def pids(self, role: str = "") -> list[int]:
        """Return the process ids of a role; all of them, with that of the broker, without one."""
        if role == "broker":
            return [self.pid]
        if not role:
            return [self.pid, *(row["pid"] for row in self.status()["processes"])]
        return [row["pid"] for row in self.rows(role)]

    def log(self) -> str:
        """Return everything that the service has logged until now."""
        wait_until_written(self._group)
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def failure(self, text: str) -> ServiceFailedError:
        """Return an exception with the log in its text."""
        return ServiceFailedError(f"{text}\n--- log ---\n{self.log()}")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the service is not running")
        return self._process

    def _end_last(self) -> None:
        """Kill what is left of the last launch, if it was not stopped."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def is_alive(pid: int) -> bool:
    """Tell whether a process runs."""
    try:
        # A zombie is dead, too.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextlib.contextmanager
def acting_as(uid: int) -> Iterator[None]:
    """Connect to the service as another uid within; needs root. It holds for the whole process, all threads."""
    if uid == os.geteuid():
        yield
        return
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
