"""The provider in a process of its own, called as by a worker.

with Child(settings_for(token, folder)) as child:
    child.do(GenerateKey("k", attributes))
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.harness.pkcs11.token import Token

from cofferdam_contracts.ipc.framing import pack
from cofferdam_contracts.ipc.requests import WorkerOperation, encode_request
from cofferdam_contracts.psa.attributes import KeyAttributes
from cofferdam_contracts.psa.encoding import encode_attributes
from cofferdam_contracts.registry import AuthType
from cofferdam_contracts.settings import LogSettings, Pkcs11Settings, ProviderEntry, TokenMatch, WorkerSettings, dump
from cofferdam_contracts.status import Status

SCRIPT: Final = Path(__file__).with_name("provider_child.py")
ROOT: Final = SCRIPT.parents[3]
SHOW: Final = Path(__file__).with_name("show.py")
_TIMEOUT_S: Final = 30.0
NOTHING: Final = TokenMatch(**dict.fromkeys(TokenMatch._fields, None))


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of a request."""

    status: Status
    lost: bool
    """Whether the worker would end over it."""
    detail: str
    results: tuple[bytes, ...]


class ChildEndedError(Exception):
    """Raised when the process no longer answers."""


class SetupFailedError(Exception):
    """Raised when the provider cannot be set up; the text begins with the name of the error."""


def settings_for(token: Token, folder: Path, /, **changes: Any) -> Pkcs11Settings:  # noqa: ANN401  any field
    """Return settings for a token, with the provider's own folder below another one."""
    worker = WorkerSettings(
        log=LogSettings(level="debug", details=True, timestamp=False),
        provider=ProviderEntry(id=2, uuid="", name="pkcs11", opcodes=()),
        authenticators=(),
        buffer_size_limit=1 << 20,
        body_len_limit=1 << 20,
        allow_deprecated=True,
        key_cache=64,
        memory_limit=512 << 20,
        adopt_rows=False,
    )
    usual = Pkcs11Settings(
        worker=worker,
        library_path=str(token.library),
        token=NOTHING._replace(label=token.label),
        slot_number=None,
        pin=os.fsencode(token.pin).hex(),
        pin_file=None,
        pin_change="reload",
        kek_file="",
        kek_create=False,
        state_folder=str(folder / "state"),
        software_public_operations=False,
        allow_export=False,
        give_back=False,
        environment=tuple(f"{name}={value}" for name, value in token.environment.items()),
        readable=(),
        writable=(),
        needs=(),
        quirks=(),
        groups=(),
    )
    return usual._replace(**changes)


class Child:
    """The process, for the length of a `with`."""

    def __init__(self, settings: Pkcs11Settings) -> None:
        """Start it, and wait until the provider has opened its token or given up."""
        self._errors = b""
        self._process: Final = subprocess.Popen(
            [sys.executable, str(SCRIPT)],
            env={key: value for key, value in os.environ.items() if key != "SOFTHSM2_CONF"} | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            self.about: Final = self._ask(dump(settings).decode())
        except BaseException:
            self._process.kill()
            self.end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> str:
        """Let the process end, and return its log."""
        if self._process.returncode is None:
            try:
                _, self._errors = self._process.communicate(timeout=_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                _, self._errors = self._process.communicate()
        return self._errors.decode(errors="replace")

    def ask(self, word: str, *arguments: object, **named: object) -> dict[str, Any]:
        """Ask for one of the script's commands."""
        return self._ask(json.dumps([word, arguments, named]))

    def try_(self, operation: WorkerOperation, application: str = "1000") -> Answer:
        """Perform an operation, and return the outcome."""
        message = encode_request(operation, 1, 0, AuthType.UNIX_PEER_CREDENTIALS, "")
        found = self.ask("perform", pack(message).hex(), application)
        results = tuple(map(bytes.fromhex, found["results"]))
        return Answer(Status(found["status"]), found["lost"], found["detail"], results)

    def do(self, operation: WorkerOperation, application: str = "1000") -> bytes:
        """Perform an operation that has to succeed, and return its first result."""
        answer = self.try_(operation, application)
        assert answer.status is Status.SUCCESS, answer
        return answer.results[0] if answer.results else b""

    def refuses(self, operation: WorkerOperation, status: Status, *, lost: bool = False) -> str:
        """Perform an operation that has to fail with this status, and return the detail for the log."""
        answer = self.try_(operation)
        assert (answer.status, answer.lost) == (status, lost), answer
        return answer.detail

    def put_row(self, name: str, key_id: bytes, version: int, attributes: KeyAttributes) -> None:
        """Put a row into the key store that the process did not make."""
        self.ask("put_row", name, key_id.hex(), version, encode_attributes(attributes).hex())

    def _ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ChildEndedError(self.end()) from None
        answer = self._process.stdout.readline()
        if not answer:
            raise ChildEndedError(self.end())
        found: dict[str, Any] = json.loads(answer)
        if "failed" in found:
            self.end()
            raise SetupFailedError(f"{found['failed']}: {found['text']}")
        return found


def shown(token: Token) -> list[dict[str, str]]:
    """Return the objects of a token with the attributes that they reveal, in hex, as another process sees them."""
    done = subprocess.run(
        [sys.executable, "-I", str(SHOW), str(token.library), str(token.slot), token.pin],
        check=True,
        env={**os.environ, **token.environment},
        capture_output=True,
        timeout=_TIMEOUT_S,
    )
    found: list[dict[str, str]] = json.loads(done.stdout)
    return found
