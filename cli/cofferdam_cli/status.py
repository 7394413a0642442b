"""`cofferdam status`: what the broker reports about the providers and processes of the service."""

import json
import math
import os
import select
import socket
import struct
import time
import tomllib
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from cofferdam_cli.text import printable
from cofferdam_client.connection import may_not_connect

DEFAULT_SOCKET: Final = "/run/parsec/cofferdam-status.sock"
_NAME: Final = os.path.basename(DEFAULT_SOCKET)
_MAX_DOCUMENT: Final = 4 << 20
"""Longest status document in bytes; a process takes about 200."""
_TIMEOUT: Final = 5.0
"""Seconds that the broker may take."""
_ABSENT: Final = "-"
_SERVING: Final = "running"
_UP: Final = "up"
_UCRED: Final = struct.Struct("=iII")
DOWN: Final = 3
"""Exit status when a provider is down, or the service does not serve."""
T = TypeVar("T")


class StatusError(Exception):
    """Raised when the status cannot be fetched or is malformed."""


class ConfigurationRow(NamedTuple):
    """The configuration in force. The fields of these classes are the keys of docs/reference/status.md."""

    file: str
    loaded_s: int | float | None


class ReloadRow(NamedTuple):
    """The last reload."""

    asked: int
    done: int
    outcome: str | None
    ended_s: int | float | None
    problems: tuple[str, ...]


class ProviderRow(NamedTuple):
    """One configured provider, or the key store."""

    name: str
    type: str
    id: int
    state: str
    since_s: int | float
    cause: str
    next_try_s: int | float | None
    device: str
    keys: int | None


class ProcessRow(NamedTuple):
    """One process of the service."""

    role: str
    pid: int
    uid: int | None
    principal: int | None
    level: str | None
    """None while the process starts."""
    landlock_abi: int | None
    state: str
    requests: int
    in_flight: int
    restarts: int
    uptime_s: int | float


class ServiceStatus(NamedTuple):
    """The status of the service."""

    phase: str
    configuration: ConfigurationRow
    reload: ReloadRow
    providers: tuple[ProviderRow, ...]
    key_store: ProviderRow
    processes: tuple[ProcessRow, ...]

    @property
    def is_well(self) -> bool:
        """Tell whether it serves, every configured provider can be used, and keys can be made and destroyed."""
        return self.phase == _SERVING and not self.down()

    def down(self) -> list[ProviderRow]:
        """Return the key store, if it is down, and the providers that are."""
        return [one for one in (self.key_store, *self.providers) if one.state != _UP]


class Answer(NamedTuple):
    """A status document, and the process that listens on the socket."""

    document: bytes
    pid: int


def socket_of(config: str) -> str:
    """Return the path of the status socket of a service with this configuration file.

    Raises:
        StatusError: The file cannot be read.
    """
    try:
        with open(config, "rb") as file:
            document = tomllib.load(file)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        text = f"cannot read {config}: {why}; --socket names the status socket itself (service.status_path)"
        raise StatusError(text) from error
    named = _setting(document, "service", "status_path")
    if named:
        return named
    beside = _setting(document, "listener", "socket_path")
    # A relative path is one in the working directory, which is that of the service where both agree.
    return os.path.join(os.path.dirname(beside), _NAME) if beside else DEFAULT_SOCKET


def _setting(document: dict[str, Any], table: str, key: str) -> str:
    found = document.get(table)
    value = found.get(key) if isinstance(found, dict) else None
    return value if isinstance(value, str) else ""


def fetch(path: str) -> Answer:
    """Return the status document that the broker sends on a socket.

    Raises:
        StatusError: The socket cannot be used, or the document does not end in time.
    """
    deadline = time.monotonic() + _TIMEOUT
    document = bytearray()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        try:
            connection.connect(path)
            pid, _, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
            while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                piece = connection.recv(1 << 16)
                if not piece:
                    return Answer(bytes(document), pid)
                document += piece
                if len(document) > _MAX_DOCUMENT:
                    raise StatusError(f"{path} sends more than {_MAX_DOCUMENT} bytes")
        except OSError as error:
            raise StatusError(_reason(path, error)) from error
    raise StatusError(f"no complete answer from {path} within {_TIMEOUT:g} s")


def _reason(path: str, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return f"{may_not_connect(path)}; service.status_group lets the members of a group read the status"
    relative = "" if os.path.isabs(path) else ", and is this the working directory that it was started in"
    return f"no status at {os.path.abspath(path)}: {error.strerror or error}; is the service running{relative}?"


def parse(document: bytes) -> ServiceStatus:
    """Decode a status document.

    Raises:
        StatusError: It is malformed.
    """
    try:
        value = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise StatusError("the status is not a JSON document") from error
    return _read(ServiceStatus, value, "the status")


def _read(kind: type[T], value: Any, what: str) -> T:  # noqa: ANN401  any JSON value
    """Return a JSON object as one of the rows; further keys are ignored."""
    if not isinstance(value, dict):
        raise StatusError(f"{what} is not an object")
    return kind(**{key: _field(hint, value.get(key), f"{what}, {key}") for key, hint in get_type_hints(kind).items()})


def _field(hint: Any, value: Any, what: str) -> Any:  # noqa: ANN401
    if isinstance(hint, type) and issubclass(hint, tuple) and get_origin(hint) is None:
        return _read(hint, value, what)
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise StatusError(f"{what}: not a list")
        return tuple(_field(get_args(hint)[0], item, what) for item in value)
    # The exact type: a bool is no number here.
    if type(value) not in (get_args(hint) or (hint,)) or (isinstance(value, float) and not math.isfinite(value)):
        raise StatusError(f"{what}: a wrong value")
    return value


def table(status: ServiceStatus) -> str:
    """Return the status as text: the service, each provider and what ails it, each process."""
    heads = ("name", "type", "id", "state", "since", "next_try", "keys", "device")
    providers = [
        [one.name, one.type, one.id, one.state, _duration(one.since_s), _next_try(one), one.keys, one.device or None]
        for one in status.providers
    ]
    processes = [[*one[:-1], _duration(one.uptime_s)] for one in status.processes]
    lines = [
        *_summary(status),
        "",
        *_align(["provider", *heads[1:]], providers),
        *(f"{one.name}: {one.cause}" for one in status.providers if one.cause),
        "",
        *_align(ProcessRow._fields, processes),
    ]
    return "\n".join(map(printable, lines)) + "\n"


def _summary(status: ServiceStatus) -> Iterable[str]:
    yield f"service: {status.phase}"
    loaded, reload = status.configuration.loaded_s, status.reload
    yield f"configuration: {status.configuration.file}" + (
        "" if loaded is None else f", loaded {_duration(loaded)} ago"
    )
    store = status.key_store
    yield f"key store: {store.state}, {_duration(store.since_s)}, {store.device or _ABSENT}"
    if store.cause:
        yield f"  {store.cause}"
    if reload.outcome is not None:
        ended = "" if reload.ended_s is None else f" {_duration(reload.ended_s)} ago"
        yield f"last reload: {reload.outcome}{ended}"
    yield from (f"  {problem}" for problem in reload.problems)
    if reload.asked > reload.done:
        yield "a reload is under way"


def _next_try(provider: ProviderRow) -> str | None:
    if provider.state == _UP:
        return None
    return "after a reload" if provider.next_try_s is None else _duration(provider.next_try_s)


def _duration(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"


def _align(keys: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterable[str]:
    head = [key.removesuffix("_s").replace("_", "-").upper() for key in keys]
    texts = [[_ABSENT if cell is None else printable(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *texts, strict=True)]
    for row in (head, *texts):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
