"""From the bytes of a configuration file to its tree of values and the lines they stand on."""

import re
import tomllib
from typing import Final

from cofferdam_config.errors import ConfigError
from cofferdam_config.positions import Lines

MAX_DOCUMENT: Final = 256 * 1024
"""Bytes of the largest document."""
_MAX_REASON: Final = 200
_PLACE: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)\Z")


def parse(document: bytes, file: str) -> tuple[dict[str, object], Lines]:
    """Parse a document.

    Raises:
        ConfigError: It is no TOML, or larger than any configuration.
    """
    if len(document) > MAX_DOCUMENT:
        raise ConfigError([f"{file}:1: found {len(document)} bytes, allowed: at most {MAX_DOCUMENT}"])
    parsed = _parse(document.removeprefix(b"\xef\xbb\xbf"), file)
    # Raised out here, because the exceptions of the parsers hold the document and with it the secrets in it.
    if isinstance(parsed, str):
        raise ConfigError([parsed])
    return parsed


def _parse(document: bytes, file: str) -> tuple[dict[str, object], Lines] | str:
    """Return the tree and its lines, or the text of the problem."""
    try:
        text = document.decode()
    except UnicodeDecodeError as error:
        before = document[: error.start].decode()
        line, column = before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1
        return f"{file}:{line}:{column}: found bytes that are not UTF-8, allowed: TOML in UTF-8"
    try:
        return tomllib.loads(text), Lines(text)
    except tomllib.TOMLDecodeError as error:
        return _syntax_problem(str(error), text, file)
    except RecursionError:
        return f"{file}:1: found arrays or tables nested too deeply"
    except ValueError:
        # Python limits the digits of an integer it converts (sys.set_int_max_str_digits).
        return f"{file}:1: found an integer of thousands of digits, allowed: 64 bits"


def _syntax_problem(message: str, text: str, file: str) -> str:
    """Return the parser's message with the place in front."""
    place = _PLACE.search(message)
    # Some reasons name a key, and a key can be of any length.
    reason = _PLACE.sub("", message)[:_MAX_REASON]
    if place and place[1]:
        return f"{file}:{place[1]}:{place[2]}: not TOML: {reason}"
    last = text.rstrip("\n").count("\n") + 1
    return f"{file}:{last}: not TOML: {reason} (at the end of the document)"
