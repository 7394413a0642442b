"""What the reader of the configuration has said before: a reload repeats no warning, and takes no provider down.

Every warning has an identity. Those of the configuration in force are handed to the next reader: what is among them has
been said, and what a provider lacks already is not the doing of the reload.
"""

import binascii
import re
from collections.abc import Iterable
from typing import Final

from cofferdam_config.source import ConfigError
from cofferdam_config.tables import Provider

MOST: Final = 256
"""Identities that are handed on; all of them are one argument of the next reader."""
_FIRST: Final = "-"
"""What a reader is told at the start of the service."""
_LINE: Final = re.compile(r":\d+: ")


def identity(text: str, path: str) -> int:
    """Return the identity of a message about the file at `path`: that of its words, wherever the line stands now."""
    return binascii.crc32(_LINE.sub(": ", text.removeprefix(path), count=1).encode("utf-8", "backslashreplace"))


def served(provider: Provider) -> int:
    """Return what says that the configuration in force has a provider of this type; there is one of each."""
    return binascii.crc32(f"serves {provider.find(Provider.provider_type)}".encode())


def is_served_by(known: frozenset[int] | None, provider: Provider) -> bool:
    """Tell whether the configuration in force has this provider."""
    return known is not None and served(provider) in known


def keeps(database: str) -> int:
    """Return what says that the configuration in force has its key store in this database, which is open then."""
    return binascii.crc32(f"keeps {database}".encode("utf-8", "surrogateescape"))


def hand_on(identities: Iterable[int]) -> str:
    """Return what the next reader is told."""
    return ",".join(map(str, list(dict.fromkeys(identities))[:MOST]))


def take_over(text: str) -> frozenset[int] | None:
    """Return the identities of the configuration in force, None at the start of the service."""
    return None if text == _FIRST else frozenset(int(part) for part in text.split(",") if part)


def unknown(texts: Iterable[str], path: str, known: frozenset[int] | None) -> tuple[str, ...]:
    """Return the messages that were not there before."""
    return tuple(text for text in texts if known is None or identity(text, path) not in known)


def refuse_harm(lacks: tuple[str, ...], path: str, known: frozenset[int] | None) -> None:
    """Refuse to reload what would take a provider down.

    Raises:
        ConfigError: A provider lacks something that it does not lack with the configuration in force.
    """
    if known is not None and (harm := unknown(lacks, path, known)):
        raise ConfigError(harm)
