"""The way to a TPM in the form of Parsec: a kind of TCTI (TPM Command Transmission Interface), and its parameters.

Texts of errors hold nothing of what they are about.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Final

from cofferdam_contracts.settings import TctiSettings

DEVICE: Final = "/dev/tpmrm0"
"""The device by default: unlike `/dev/tpm0`, which is that of tss2, it has a resource manager before it."""
ADDRESS: Final = "127.0.0.1"
PORT: Final = 2321
BUS_NAME: Final = "com.intel.tss2.Tabrmd"
_BUS_TYPES: Final = ("system", "session")
_LAST_PORT: Final = 65534
"""A simulator has its power switch behind the next one."""
_MAX_PATH: Final = 4095
_MAX_SOCKET_PATH: Final = 107
_BUS_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z_][A-Za-z0-9_-]*)+")
_MAX_BUS_NAME: Final = 255


class TctiError(ValueError):
    """A text that is no way to a TPM."""


def parse(text: str) -> TctiSettings:
    """Return what a text says.

    Raises:
        TctiError: It says nothing that can be followed.
    """
    kind, _, rest = text.partition(":")
    if kind not in _KINDS:
        raise TctiError(f"it does not begin with {', '.join(_KINDS)}")
    return _KINDS[kind](kind, rest)


def _device(kind: str, path: str) -> TctiSettings:
    return _settings(kind, path=_path(path, _MAX_PATH) if path else DEVICE)


def _simulator(kind: str, text: str) -> TctiSettings:
    given = _parameters(text, ("host", "port"))
    return _settings(kind, host=_host(given.get("host", ADDRESS)), port=_port(given.get("port", str(PORT))))


def _swtpm(kind: str, text: str) -> TctiSettings:
    if not text.startswith("path="):
        return _simulator(kind, text)
    given = _parameters(text, ("path",))
    return _settings(kind, path=_path(given["path"], _MAX_SOCKET_PATH))


def _tabrmd(kind: str, text: str) -> TctiSettings:
    given = _parameters(text, ("bus_name", "bus_type"))
    name, bus_type = given.get("bus_name", BUS_NAME), given.get("bus_type", _BUS_TYPES[0])
    if len(name) > _MAX_BUS_NAME or not _BUS_NAME.fullmatch(name):
        raise TctiError("its bus_name is no name on D-Bus")
    if bus_type not in _BUS_TYPES:
        raise TctiError("its bus_type is neither system nor session")
    return _settings(kind, bus_name=name, bus_type=bus_type)


_KINDS: Final[Mapping[str, Callable[[str, str], TctiSettings]]] = {
    "device": _device,
    "mssim": _simulator,
    "swtpm": _swtpm,
    "tabrmd": _tabrmd,
}


def _settings(  # noqa: PLR0913  what there is
    kind: str,
    *,
    path: str | None = None,
    host: str | None = None,
    port: int | None = None,
    bus_name: str | None = None,
    bus_type: str | None = None,
) -> TctiSettings:
    return TctiSettings(kind=kind, path=path, host=host, port=port, bus_name=bus_name, bus_type=bus_type)


def _parameters(text: str, names: tuple[str, ...]) -> dict[str, str]:
    """Read NAME=value pairs with commas between them."""
    given: dict[str, str] = {}
    for part in text.split(",") if text else ():
        name, _, value = part.partition("=")
        if name not in names or name in given:
            raise TctiError(f"its parameters are not {' or '.join(names)}, each once")
        given[name] = value
    return given


def _path(text: str, most: int) -> str:
    if not text.startswith("/") or "\0" in text or len(text.encode()) > most:
        raise TctiError(f"its path is not an absolute one of at most {most} bytes")
    return text


def _host(text: str) -> str:
    """Return an address; names are not looked up, as that would be work for a process with privileges."""
    try:
        return ADDRESS if text == "localhost" else str(ipaddress.ip_address(text))
    except ValueError:
        pass
    raise TctiError("its host is neither an address in numbers nor localhost")


def _port(text: str) -> int:
    if re.fullmatch("[0-9]{1,5}", text) and 1 <= int(text) <= _LAST_PORT:
        return int(text)
    raise TctiError(f"its port is not from 1 to {_LAST_PORT}")
