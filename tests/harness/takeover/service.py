"""A running service with compromised processes: the shipped ones, with a planted hole.

    with TakenOver() as service:
        service.run("frontend", "say(os.getpid())", uid=59002)

See `hole.py` for what is the shipped service's and what is not.
"""

import json
import re
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from tests.harness import wire
from tests.harness.interpreter import CHECKOUT
from tests.harness.service import Service, acting_as
from tests.harness.takeover import hole
from tests.harness.watch import wait_for

from cofferdam_cli.serve import command

PACKAGES: Final = {
    "kim": "cofferdam_kim",
    "software": "cofferdam_providers.software",
    "frontend": "cofferdam_frontend",
}
_PATH, _PACKAGE = 8, 9
"""Where the words of the command that starts the broker are the search path and the package."""
_BECOME: Final = "import sys; from cofferdam_cli.serve import become; become(sys.argv[1:])"
_AHEAD: Final = """
import json, msgpack, sys
channel = sys.modules["tests.harness.takeover.forgeries"].channel_to(owner, {server!r})
channel.send(msgpack.packb(({number}, {code!r})))
answer = msgpack.unpackb(channel.recv(1 << 18), use_list=False)
say(json.loads(answer[1]) if answer[0] == {number} else "died")
"""
"""Passes code on from a frontend to a server, over the channel that a frontend has, and waits for what became of it."""


class TakenOver(Service):
    """A service whose frontends, software worker and key store execute what a test sends."""

    def __init__(self, *, playground: Path, confined: bool = True) -> None:
        """Plant the hole; start nothing.

        Args:
            playground: A folder where everybody may read and write; the key store's is in it.
            confined: Whether the processes enter the sandbox, as they do when they are not tested.
        """
        # No process is killed for being slow, and an unconfined one may serve.
        tables: dict[str, dict[str, Any]] = {
            "limits": {"hang_ms": 60_000, "start_ms": 60_000},
            "listener": {"timeout": 60_000},
            "key_manager": {"sqlite_db_path": str(playground / "store" / "database")},
        }
        if not confined:
            tables["isolation"] = {"require": "none"}
        super().__init__(tables=tables)
        self.planted = Path(tempfile.mkdtemp(prefix="planted-", dir=self.folder))
        self.planted.chmod(0o755)
        words = command(str(self.configuration_path))
        package = self.planted / "hole"
        package.mkdir()
        (package / "__init__.py").write_bytes(Path(hole.__file__ or "").read_bytes())
        roots = [*words[_PATH].split(":"), str(CHECKOUT)]
        chosen = {"roots": roots, "confined": confined, "folder": str(playground)}
        (package / "settings.json").write_text(json.dumps(chosen))
        mains = {name: f"run_child({shipped!r})" for name, shipped in PACKAGES.items()} | {"broker": "run_broker()"}
        for name, main in mains.items():
            (package / name).mkdir()
            (package / name / "__init__.py").touch()
            (package / name / "__main__.py").write_text(
                f"import hole\n\n\ndef main() -> int:\n    return hole.{main}\n"
            )

    def words(self) -> list[str]:
        """Return the words that start the shipped broker with the planted package in front."""
        words = command(str(self.configuration_path))
        words[_PATH] = f"{self.planted}:{words[_PATH]}"
        words[_PACKAGE] = "hole.broker"
        return [sys.executable, "-c", _BECOME, *words]

    def connect(self, uid: int) -> socket.socket:
        """Return a connection of a uid, which its frontend has taken."""
        with acting_as(uid):
            return wire.connect(self.socket_path)

    def run(self, role: str, code: str, uid: int) -> Any:  # noqa: ANN401  whatever JSON value the code says
        """Execute code in the frontend of a uid, or in a server by way of that; "died" if it never answers."""
        with self.connect(uid) as connection:
            self.send(connection, role, code)
            return self.answer(connection)

    def send(self, connection: socket.socket, role: str, code: str) -> None:
        """Send code and wait for nothing."""
        if role != "frontend":
            code = _AHEAD.format(server="kim" if role == "kim" else "worker", number=hole.NUMBER, code=code.encode())
        connection.sendall(hole.MAGIC + b"%08x" % len(code.encode()) + code.encode())

    @staticmethod
    def answer(connection: socket.socket) -> Any:  # noqa: ANN401
        """Return what code said, or "died"."""
        try:
            length = connection.recv(hole.LENGTH, socket.MSG_WAITALL)
            if len(length) < hole.LENGTH:
                return "died"
            return json.loads(connection.recv(int(length, 16), socket.MSG_WAITALL))
        except ConnectionResetError:
            return "died"

    def death_of(self, pid: int) -> str:
        """Return what the broker says about the end of a process, once it knows."""
        pattern = re.compile(rf'"a process (?:died|ended, as was logged before)" process=\S+ pid={pid} how="([^"]*)"')
        wait_for(lambda: pattern.search(self.log()) is not None, explain=lambda: f"no death of {pid}: {self.log()}")
        found = pattern.search(self.log())
        return found.group(1) if found else ""

    def pid_of(self, role: str, uid: int) -> int:
        """Return the process that `run` would use."""
        if role == "frontend":
            return next(row["pid"] for row in self.rows("frontend") if row["principal"] == uid)
        return self.pids("kim" if role == "kim" else "worker[software]")[0]
