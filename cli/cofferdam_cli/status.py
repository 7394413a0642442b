"""`cofferdam status`: what the broker reports about the processes of the service."""

import dataclasses
import json
import math
import os
import select
import socket
import time
import tomllib
from collections.abc import Iterable, Sequence
from typing import Any, Final, get_args

from cofferdam_cli.text import printable

DEFAULT_SOCKET: Final = "/run/parsec/cofferdam-status.sock"
_NAME: Final = os.path.basename(DEFAULT_SOCKET)
_MAX_DOCUMENT: Final = 4 << 20
"""Longest status document in bytes; a process takes about 200."""
_TIMEOUT: Final = 5.0
"""Seconds that the broker may take."""
_ABSENT: Final = "-"


class StatusError(Exception):
    """Raised when the status cannot be fetched or is malformed."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRow:
    """One process of the service. The fields are the keys of the document and the columns of the table."""

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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """The status of the service."""

    phase: str
    processes: tuple[ProcessRow, ...]


_KINDS: Final = {field.name: get_args(field.type) or (field.type,) for field in dataclasses.fields(ProcessRow)}
"""The exact types of each field: a bool is no number here."""


def socket_of(config: str) -> str:
    """Return the path of the status socket of a service with this configuration file.

    Raises:
        StatusError: The file cannot be read.
    """
    try:
        with open(config, "rb") as file:
            document = tomllib.load(file)
    except (OSError, ValueError) as error:
        raise StatusError(f"cannot read {config}: {error}") from error
    named = _text(document, "service", "status_path")
    if named:
        return named
    beside = _text(document, "listener", "socket_path")
    # A relative path is one in the working directory, which is that of the service where both agree.
    return os.path.join(os.path.dirname(beside), _NAME) if beside else DEFAULT_SOCKET


def _text(document: dict[str, Any], table: str, key: str) -> str:
    found = document.get(table)
    value = found.get(key) if isinstance(found, dict) else None
    return value if isinstance(value, str) else ""


def fetch(path: str) -> bytes:
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
            while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                piece = connection.recv(1 << 16)
                if not piece:
                    return bytes(document)
                document += piece
                if len(document) > _MAX_DOCUMENT:
                    raise StatusError(f"{path} sends more than {_MAX_DOCUMENT} bytes")
        except OSError as error:
            raise StatusError(f"no status at {path}: {error.strerror or error}; {_hint(error)}") from error
    raise StatusError(f"no complete answer from {path} within {_TIMEOUT:g} s")


def _hint(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "only the user that runs the service may read it"
    return "is the service running?"


def parse(document: bytes) -> ServiceStatus:
    """Decode a status document.

    Raises:
        StatusError: It is malformed.
    """
    try:
        value = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise StatusError("the status is not a JSON document") from error
    if not isinstance(value, dict) or not isinstance(value.get("phase"), str):
        raise StatusError("the status does not name the phase of the service")
    rows = value.get("processes")
    if not isinstance(rows, list):
        raise StatusError("the status does not list processes")
    return ServiceStatus(phase=value["phase"], processes=tuple(map(_process, rows)))


def _process(row: Any) -> ProcessRow:  # noqa: ANN401  any JSON value
    if not isinstance(row, dict):
        raise StatusError("a process in the status is not an object")
    for key, kinds in _KINDS.items():
        if type(row.get(key)) not in kinds:
            raise StatusError(f"a process in the status has a wrong {key}")
    if not math.isfinite(row["uptime_s"]):
        raise StatusError("a process in the status has a wrong uptime_s")
    return ProcessRow(**{key: row[key] for key in _KINDS})


def table(status: ServiceStatus) -> str:
    """Return the status as text: the phase, then a line for each process."""
    head = [key.removesuffix("_s").replace("_", "-").upper() for key in _KINDS]
    rows = [[_cell(key, getattr(process, key)) for key in _KINDS] for process in status.processes]
    return "\n".join((f"service: {printable(status.phase)}", *_align([head, *rows]))) + "\n"


def _cell(key: str, value: str | float | None) -> str:
    if value is None:
        return _ABSENT
    if key == "uptime_s":
        return _duration(int(value))
    return printable(str(value))


def _duration(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"


def _align(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
