"""Stand in for systemd where it cannot run: as much of it as the how-tos use, read from the units that they install.

It takes `ExecStart=`, `ExecReload=`, `Environment=`, `RuntimeDirectory=`, `StateDirectory=` and `LoadCredential=` of a
service with its drop-ins, and `ListenStream=` and `SocketMode=` of its socket; it waits for READY=1. It confines
nothing: the sandbox of the unit needs systemd itself. One service, one log.
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Self

UNITS: Final = Path("/etc/systemd/system")
SOCKET: Final = "/run/manager.sock"
LOG: Final = Path("/run/manager.log")
_NOTIFY: Final = "/run/notify.sock"
_CREDENTIALS: Final = Path("/run/credentials")
_READY_S: Final = 60
_FIRST: Final = 3
"""The descriptor of the first socket that is handed over (sd_listen_fds(3))."""


class UnitError(Exception):
    """Raised when a unit cannot do what is asked; the text is for stderr."""


class Unit:
    """What a unit and its drop-ins say."""

    def __init__(self, name: str) -> None:
        """Read it as it is now."""
        files = [UNITS / name, *sorted((UNITS / f"{name}.d").glob("*.conf"))]
        lines = [line for file in files for line in file.read_text().splitlines() if "=" in line]
        self._values = [line.split("=", 1) for line in lines if not line.startswith("#")]

    def all(self, key: str) -> list[str]:
        """Return all values of a key."""
        return [value for name, value in self._values if name == key]

    def last(self, key: str) -> str:
        """Return the value that counts of a key that has one."""
        return self.all(key)[-1]


class Service:
    """The service and its socket."""

    def __init__(self) -> None:
        """Start nothing."""
        self._name = "cofferdam"
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._ready = threading.Event()
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(_NOTIFY)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            if "READY=1" in self._notify.recv(4096).decode().splitlines():
                self._ready.set()

    def start(self, name: str) -> None:
        """Start the service or make its socket."""
        if name.endswith(".socket"):
            self._open()
        elif self._process is None or self._process.poll() is not None:
            self._ready.clear()
            self._process = self._run(Unit(f"{self._name}.service"))
            self._await()

    def _open(self) -> None:
        if self._socket is not None:
            return
        unit = Unit(f"{self._name}.socket")
        path = unit.last("ListenStream")
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(path)
        os.chmod(path, int(unit.last("SocketMode"), 8))
        self._socket.listen(int(unit.last("Backlog")))

    def _run(self, unit: Unit) -> subprocess.Popen[bytes]:
        for key, parent in (("RuntimeDirectory", "/run"), ("StateDirectory", "/var/lib")):
            (Path(parent) / unit.last(key)).mkdir(exist_ok=True)
        environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "NOTIFY_SOCKET": _NOTIFY}
        words = [word for value in unit.all("Environment") for word in shlex.split(value)]
        environment.update({name: value for name, _, value in (word.partition("=") for word in words)})
        environment.update(_credentials(unit))
        command = shlex.split(unit.last("ExecStart"))
        descriptors: list[int] = []
        if self._socket is not None:
            descriptors = [self._socket.fileno()]
            command = ["sh", "-c", f'export LISTEN_PID=$$; exec {_FIRST}<&{descriptors[0]}; exec "$@"', "sh", *command]
            environment["LISTEN_FDS"] = "1"
        with LOG.open("ab") as log:
            return subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=descriptors,
                start_new_session=True,
                umask=int(unit.last("UMask"), 8),
            )

    def _await(self) -> None:
        process = self._process
        assert process is not None
        for _ in range(_READY_S * 10):
            if self._ready.wait(0.1):
                return
            if process.poll() is not None:
                break
        raise UnitError(f"Job for {self._name}.service failed; see journalctl -u {self._name}")

    def stop(self, name: str) -> None:
        """End the service, or remove its socket."""
        if name.endswith(".socket"):
            if self._socket is not None:
                Path(self._socket.getsockname()).unlink(missing_ok=True)
                self._socket.close()
                self._socket = None
        elif self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait()
            self._process = None

    def restart(self, name: str) -> None:
        """End and start it."""
        self.stop(name)
        self.start(name)

    def reload(self, name: str) -> None:
        """Run what the unit has for it."""
        if self._process is None:
            raise UnitError(f"{name} is not active.")
        command = Unit(f"{self._name}.service").last("ExecReload").replace("$MAINPID", str(self._process.pid))
        if subprocess.run(shlex.split(command), check=False).returncode != 0:
            raise UnitError(f"Job for {name} failed.")


def _credentials(unit: Unit) -> dict[str, str]:
    shutil.rmtree(_CREDENTIALS, ignore_errors=True)
    for value in unit.all("LoadCredential"):
        name, path = value.split(":", 1)
        _CREDENTIALS.mkdir(mode=0o700, exist_ok=True)
        (_CREDENTIALS / name).write_bytes(Path(path).read_bytes())
        (_CREDENTIALS / name).chmod(0o400)
    return {"CREDENTIALS_DIRECTORY": str(_CREDENTIALS)} if unit.all("LoadCredential") else {}


class Manager:
    """What answers `systemctl` while it lasts."""

    def __enter__(self) -> Self:
        """Begin to answer."""
        LOG.touch()
        self._service = Service()
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._server.bind(SOCKET)
        os.chmod(SOCKET, 0o600)
        self._server.listen()
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the service."""
        self._service.stop("cofferdam.service")

    def _serve(self) -> None:
        while True:
            connection, _ = self._server.accept()
            with connection:
                connection.send(self._answer(json.loads(connection.recv(65536))).encode())

    def _answer(self, arguments: Sequence[str]) -> str:
        words = [word for word in arguments if not word.startswith("-")]
        verb = words.pop(0)
        if verb == "enable" and "--now" in arguments:
            verb = "start"
        verbs: dict[str, Callable[[str], None]] = {
            "start": self._service.start,
            "stop": self._service.stop,
            "restart": self._service.restart,
            "reload": self._service.reload,
        }
        try:
            for name in words:
                verbs[verb](name)
        except KeyError:
            return f"{verb} is not among what is stood in for: daemon-reload, enable --now, {', '.join(verbs)}"
        except (UnitError, OSError) as error:
            return str(error)
        return ""


def systemctl(arguments: Sequence[str]) -> int:
    """Ask the manager, and say what it answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(SOCKET)
        connection.send(json.dumps(arguments).encode())
        answer = connection.recv(65536).decode()
    sys.stderr.write(answer and answer + "\n")
    return 1 if answer else 0


def journalctl(arguments: Sequence[str]) -> int:
    """Print the log, or with `--grep PATTERN` the lines that fit."""
    pattern = arguments[arguments.index("--grep") + 1] if "--grep" in arguments else ""
    lines = [line for line in LOG.read_text().splitlines(keepends=True) if re.search(pattern, line)]
    sys.stdout.write("".join(lines))
    return 0 if lines else 1


if __name__ == "__main__":
    sys.exit({"systemctl": systemctl, "journalctl": journalctl}[sys.argv[1]](sys.argv[2:]))
