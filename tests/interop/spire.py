"""SPIRE itself: servers, an agent and workloads that the agent knows by their uid, all on loopback."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Final, Self

from tests.interop.parsec_tool import CACHE

VERSION: Final = "1.13.3"
_PROGRAMS: Final = ("spire-server", "spire-agent")
_MODULE: Final = "github.com/spiffe/spire/cmd"
_BUILD_S: Final = 1200
_RUN_S: Final = 60
_START_S: Final = 60
_ENV: Final = {"PATH": os.defpath, "HOME": "/nonexistent"}

_SERVER: Final = """
server {{
    bind_address = "127.0.0.1"
    bind_port = "{port}"
    trust_domain = "{domain}"
    data_dir = "{folder}"
    socket_path = "{folder}/api.sock"
    log_level = "WARN"
    default_jwt_svid_ttl = "1m"
}}
plugins {{
    DataStore "sql" {{ plugin_data {{ database_type = "sqlite3" connection_string = "{folder}/data.sqlite3" }} }}
    KeyManager "memory" {{ plugin_data {{}} }}
    NodeAttestor "join_token" {{ plugin_data {{}} }}
}}
"""
_AGENT: Final = """
agent {{
    data_dir = "{folder}"
    log_level = "WARN"
    server_address = "127.0.0.1"
    server_port = "{port}"
    socket_path = "{socket}"
    trust_bundle_path = "{folder}/bootstrap.pem"
    trust_domain = "{domain}"
}}
plugins {{
    KeyManager "disk" {{ plugin_data {{ directory = "{folder}" }} }}
    NodeAttestor "join_token" {{ plugin_data {{}} }}
    WorkloadAttestor "unix" {{ plugin_data {{}} }}
}}
"""


class SpireMissingError(Exception):
    """Raised when SPIRE cannot be had; the text says why."""


def build() -> Path:
    """Return the folder with the programs, built if need be.

    Raises:
        SpireMissingError: There is no toolchain.
    """
    folder = CACHE / f"spire-{VERSION}"
    if all((folder / name).exists() for name in _PROGRAMS):
        return folder
    go = shutil.which("go")
    if go is None:
        raise SpireMissingError("there is no go")
    print(f"building SPIRE {VERSION}; this takes five minutes or more, once", flush=True)
    module = folder / "module"
    module.mkdir(parents=True, exist_ok=True)
    (module / "go.mod").write_text("module tools\n")
    paths = [f"{_MODULE}/{name}" for name in _PROGRAMS]
    words = [[go, "get", "-tool", *(f"{path}@v{VERSION}" for path in paths)], [go, "install", *paths]]
    for each in words:
        subprocess.run(each, check=True, timeout=_BUILD_S, cwd=module, env={**os.environ, "GOBIN": str(folder)})
    return folder


class _Process:
    """One of the programs, while it runs."""

    def __init__(self, words: list[str], log: Path) -> None:
        with log.open("ab") as file:
            self._child = subprocess.Popen(words, stdout=file, stderr=file, stdin=subprocess.DEVNULL, env=_ENV)
        self._log = log

    def await_socket(self, path: Path) -> None:
        """Wait until the program answers at a socket."""
        end = time.monotonic() + _START_S
        while not _answers(path):
            assert self._child.poll() is None, self._log.read_text()
            assert time.monotonic() < end, self._log.read_text()
            time.sleep(0.05)

    def end(self, number: int = signal.SIGTERM) -> None:
        """End the program with a signal."""
        self._child.send_signal(number)
        try:
            self._child.wait(_RUN_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


class SpireServer:
    """The server of a trust domain."""

    def __init__(self, programs: Path, domain: str) -> None:
        self._program = str(programs / "spire-server")
        self.domain = domain
        # Short, for the path of a socket has at most 107 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="spire-"))
        self.port = _free_port()
        config = self._folder / "server.conf"
        config.write_text(_SERVER.format(port=self.port, domain=domain, folder=self._folder))
        self._process = _Process([self._program, "run", "-config", str(config)], self._folder / "log")
        self._process.await_socket(self._folder / "api.sock")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.end()
        shutil.rmtree(self._folder)

    def run(self, *words: str, given: str | None = None) -> str:
        """Run a command of the server's, which has to succeed, and return what it printed."""
        done = subprocess.run(
            [self._program, *words, "-socketPath", str(self._folder / "api.sock")],
            check=False,
            input=given,
            capture_output=True,
            text=True,
            timeout=_RUN_S,
            env=_ENV,
        )
        assert done.returncode == 0, f"{words} ended with {done.returncode}: {done.stderr}{done.stdout}"
        return done.stdout

    def register(self, name: str, uid: int, *federated: str) -> None:
        """Make an entry: processes of a uid are `spiffe://domain/name` and get the bundles of federated domains."""
        words = [word for each in federated for word in ("-federatesWith", f"spiffe://{each}")]
        ids = ["-parentID", f"spiffe://{self.domain}/host", "-spiffeID", f"spiffe://{self.domain}/{name}"]
        self.run("entry", "create", *ids, "-selector", f"unix:uid:{uid}", *words)

    def join_token(self) -> str:
        """Return a token by which an agent becomes `spiffe://domain/host`."""
        printed = self.run("token", "generate", "-spiffeID", f"spiffe://{self.domain}/host")
        found = re.search(r"Token: (\S+)", printed)
        assert found, printed
        return found[1]

    def federate(self, other: "SpireServer") -> None:
        """Take over the bundle of another server as it is now."""
        bundle = other.run("bundle", "show", "-format", "spiffe")
        self.run("bundle", "set", "-id", f"spiffe://{other.domain}", "-format", "spiffe", given=bundle)

    def authorities(self) -> dict[str, Any]:
        """Return the keys that sign tokens, by their state: active, prepared, old."""
        found: dict[str, Any] = json.loads(self.run("localauthority", "jwt", "show", "-output", "json"))
        return found

    def rotate(self) -> str:
        """Sign tokens with a new key from now on; return the id of the old one, whose tokens are still good."""
        old: str = self.authorities()["active"]["authority_id"]
        self.run("localauthority", "jwt", "prepare")
        prepared = self.authorities()["prepared"]["authority_id"]
        self.run("localauthority", "jwt", "activate", "-authorityID", prepared)
        return old

    def revoke(self, authority: str) -> None:
        """Withdraw a key that signs no more."""
        self.run("localauthority", "jwt", "taint", "-authorityID", authority)
        self.run("localauthority", "jwt", "revoke", "-authorityID", authority)


class SpireAgent:
    """The agent of a server; it can be killed and started again."""

    def __init__(self, programs: Path, server: SpireServer) -> None:
        self._program = str(programs / "spire-agent")
        self._folder = Path(tempfile.mkdtemp(prefix="spire-"))
        self._folder.chmod(0o755)
        self.socket = self._folder / "public" / "agent.sock"
        (self._folder / "bootstrap.pem").write_text(server.run("bundle", "show"))
        self._config = self._folder / "agent.conf"
        self._config.write_text(
            _AGENT.format(port=server.port, domain=server.domain, folder=self._folder, socket=self.socket)
        )
        self._process: _Process | None = None
        self.start("-joinToken", server.join_token())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.kill(signal.SIGTERM)
        shutil.rmtree(self._folder)

    @property
    def endpoint(self) -> str:
        """The `workload_endpoint` of a configuration."""
        return f"unix://{self.socket}"

    def start(self, *words: str) -> None:
        """Start the agent, which has not to run."""
        self._process = _Process([self._program, "run", "-config", str(self._config), *words], self._folder / "log")
        self._process.await_socket(self.socket)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End the agent, if it runs."""
        if self._process is not None:
            self._process.end(number)
            self._process = None

    def token(self, audience: str = "parsec", uid: int | None = None) -> str:
        """Return a JWT-SVID for a workload of a uid, or of this process'; it lives for a minute."""
        words = [self._program, "api", "fetch", "jwt", "-audience", audience, "-output", "json"]
        end = time.monotonic() + _START_S
        while True:  # an entry takes seconds from the server to the agent
            done = subprocess.run(
                [*words, "-socketPath", str(self.socket)],
                check=False,
                capture_output=True,
                text=True,
                timeout=_RUN_S,
                env=_ENV,
                user=uid,
                extra_groups=None if uid is None else (),
            )
            if done.returncode == 0:
                token: str = json.loads(done.stdout)[0]["svids"][0]["svid"]
                return token
            assert time.monotonic() < end, done.stderr + done.stdout
            time.sleep(0.2)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
