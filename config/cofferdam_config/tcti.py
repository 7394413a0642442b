"""How to reach a TPM, in the form of Parsec: a kind of TCTI (TPM Command Transmission Interface) and its parameters.

Texts of errors quote nothing of the value.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from cofferdam_config.kinds import MAX_PATH, MAX_SOCKET_PATH, Kind, NotAllowedError, converted
from cofferdam_contracts.settings import TctiSettings

DEVICE: Final = "/dev/tpmrm0"
"""The default device: unlike `/dev/tpm0`, the default of tss2, it has the kernel's resource manager in front."""
ADDRESS: Final = "127.0.0.1"
PORT: Final = 2321
BUS_NAME: Final = "com.intel.tss2.Tabrmd"
_BUS_TYPES: Final = ("system", "session")
_LAST_PORT: Final = 65534
"""The power switch of a simulator is at the next port."""
_BUS_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z_][A-Za-z0-9_-]*)+")
_MAX_BUS_NAME: Final = 255


def parse(text: str) -> TctiSettings:
    """Parse a TCTI.

    Raises:
        NotAllowedError: It is of no known kind, or its parameters cannot be used.
    """
    kind, _, rest = text.partition(":")
    if kind not in _KINDS:
        raise NotAllowedError(f"it does not begin with {', '.join(_KINDS)}")
    unused = dict.fromkeys(("path", "host", "port", "bus_name", "bus_type"))
    return TctiSettings(kind=kind, **{**unused, **_KINDS[kind](rest)})


def _device(path: str) -> Mapping[str, Any]:
    return {"path": _path(path, MAX_PATH) if path else DEVICE}


def _simulator(text: str) -> Mapping[str, Any]:
    return _parameters(text, host=(_host, ADDRESS), port=(_port, str(PORT)))


def _swtpm(text: str) -> Mapping[str, Any]:
    if text.startswith("path="):
        return _parameters(text, path=(lambda path: _path(path, MAX_SOCKET_PATH), ""))
    return _simulator(text)


def _tabrmd(text: str) -> Mapping[str, Any]:
    return _parameters(text, bus_name=(_bus_name, BUS_NAME), bus_type=(_bus_type, _BUS_TYPES[0]))


_KINDS: Final[Mapping[str, Callable[[str], Mapping[str, Any]]]] = {
    "device": _device,
    "mssim": _simulator,
    "swtpm": _swtpm,
    "tabrmd": _tabrmd,
}


def _parameters(text: str, **known: tuple[Callable[[str], object], str]) -> dict[str, object]:
    """Parse NAME=value pairs with commas between them; a known name has what converts its value, and a default."""
    given: dict[str, str] = {}
    for part in text.split(",") if text else ():
        name, _, value = part.partition("=")
        if name not in known or name in given:
            raise NotAllowedError(f"its parameters are not {' or '.join(known)}, each once")
        given[name] = value
    return {name: convert(given.get(name, default)) for name, (convert, default) in known.items()}


def _path(text: str, most: int) -> str:
    if not text.startswith("/") or "\0" in text or len(text.encode()) > most:
        raise NotAllowedError(f"its path is not an absolute path of at most {most} bytes")
    return text


def _host(text: str) -> str:
    """Return an address; names are not looked up, as that would be work for a process with privileges."""
    try:
        return ADDRESS if text == "localhost" else str(ipaddress.ip_address(text))
    except ValueError:
        pass
    raise NotAllowedError("its host is neither an IP address nor localhost")


def _port(text: str) -> int:
    if re.fullmatch("[0-9]{1,5}", text) and 1 <= int(text) <= _LAST_PORT:
        return int(text)
    raise NotAllowedError(f"its port is not from 1 to {_LAST_PORT}")


def _bus_name(text: str) -> str:
    if len(text) > _MAX_BUS_NAME or not _BUS_NAME.fullmatch(text):
        raise NotAllowedError("its bus_name is not a D-Bus name")
    return text


def _bus_type(text: str) -> str:
    if text not in _BUS_TYPES:
        raise NotAllowedError("its bus_type is neither system nor session")
    return text


TCTI: Final[Kind[TctiSettings]] = converted(
    "a string `device:PATH`, `mssim:host=ADDRESS,port=NUMBER`, `swtpm:host=ADDRESS,port=NUMBER`, "
    "`swtpm:path=SOCKET` or `tabrmd:bus_name=NAME,bus_type=TYPE`; parameters may be left out",
    parse,
)
