"""How to reach a TPM, in the form of Parsec: a kind of TCTI (TPM Command Transmission Interface) and its parameters.

Texts of errors quote nothing of the value.
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from cofferdam_config.kinds import MAX_SOCKET_PATH, Kind, NotAllowedError, converted, parse_part, path, pattern
from cofferdam_contracts.settings import TctiSettings

DEVICE: Final = "/dev/tpmrm0"
"""The default device: unlike `/dev/tpm0`, the default of tss2, it has the kernel's resource manager in front."""
ADDRESS: Final = "127.0.0.1"
PORT: Final = "2321"
BUS_NAME: Final = "com.intel.tss2.Tabrmd"
_LAST_PORT: Final = 65534
"""The power switch of a simulator is at the next port."""
_BUS_NAME: Final = pattern(r"(?=.{1,255}\Z)[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z_][A-Za-z0-9_-]*)+", "a D-Bus name")


def parse(text: str) -> TctiSettings:
    """Parse a TCTI.

    Raises:
        NotAllowedError: It is of no known kind, or its parameters cannot be used.
    """
    kind, _, rest = text.partition(":")
    if kind not in _KINDS:
        raise NotAllowedError(f"it does not begin with {', '.join(_KINDS)}")
    known = _SWTPM_SOCKET if text.startswith("swtpm:path=") else _KINDS[kind]
    # The path of a device stands alone, and may have any characters.
    given = {"path": rest or DEVICE} if kind == "device" else _given(rest, known)
    values: dict[str, Any] = dict.fromkeys(("path", "host", "port", "bus_name", "bus_type"))
    for name, (each, default) in known.items():
        values[name] = parse_part(f"its {name}", each, given.get(name, default))
    return TctiSettings(kind=kind, **values)


def _given(text: str, known: "_Parameters") -> dict[str, str]:
    """Parse NAME=value pairs with commas between them."""
    given: dict[str, str] = {}
    for part in text.split(",") if text else ():
        name, _, value = part.partition("=")
        if name not in known or name in given:
            raise NotAllowedError(f"its parameters are not {' or '.join(known)}, each once")
        given[name] = value
    return given


def _host(text: str) -> str:
    """Return an address; names are not looked up, as that would be work for a process with privileges."""
    try:
        return ADDRESS if text == "localhost" else str(ipaddress.ip_address(text))
    except ValueError as error:
        raise NotAllowedError from error


def _port(text: str) -> int:
    if re.fullmatch("[0-9]{1,5}", text) and 1 <= int(text) <= _LAST_PORT:
        return int(text)
    raise NotAllowedError


_Parameters: TypeAlias = Mapping[str, tuple[Kind[object], str]]
"""The kind and the default of each parameter."""
_SIMULATOR: Final[_Parameters] = {
    "host": (converted("an IP address or localhost", _host), ADDRESS),
    "port": (converted(f"a number from 1 to {_LAST_PORT}", _port), PORT),
}
_SWTPM_SOCKET: Final[_Parameters] = {"path": (path(MAX_SOCKET_PATH), "")}
_KINDS: Final[Mapping[str, _Parameters]] = {
    "device": {"path": (path(), DEVICE)},
    "mssim": _SIMULATOR,
    "swtpm": _SIMULATOR,
    "tabrmd": {
        "bus_name": (_BUS_NAME, BUS_NAME),
        "bus_type": (pattern("system|session", "system or session"), "system"),
    },
}
TCTI: Final[Kind[TctiSettings]] = converted(
    "a string `device:PATH`, `mssim:host=ADDRESS,port=NUMBER`, `swtpm:host=ADDRESS,port=NUMBER`, "
    "`swtpm:path=SOCKET` or `tabrmd:bus_name=NAME,bus_type=TYPE`; parameters may be left out",
    parse,
)
