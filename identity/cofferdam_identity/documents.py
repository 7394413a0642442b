"""JSON and base64url as tokens and key sets have them, read in one way only.

Whatever two readers could understand differently is refused: members named twice, numbers that JSON does not have,
encodings other than UTF-8, base64url with padding or with bits left over. Sources: RFC 8259, RFC 7515 section 2.
"""

import base64
import binascii
import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final, NoReturn, TypeAlias

MAX_DEPTH: Final = 16
"""Levels of arrays and objects; claims of identity providers have up to six."""
_MAX_SHOWN: Final = 80
_MARKS: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
"""Strings, so that they are passed over, and brackets. Possessive: the time is linear for any text."""
JsonObject: TypeAlias = dict[str, object]


class DocumentError(ValueError):
    """The text is not what it should be; the message says what was found, and quotes nothing but names of members."""


def load_object(document: bytes) -> JsonObject:
    """Read a JSON object.

    Raises:
        DocumentError: It is none, or can be understood in more than one way.
    """
    try:
        text = document.decode()
        _check_depth(text)
        found: object = _DECODER.decode(text)
    except UnicodeDecodeError:
        raise DocumentError("bytes that are not UTF-8") from None
    except DocumentError:
        raise
    except json.JSONDecodeError as error:
        raise DocumentError(f"no JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except ValueError:
        # Python limits the digits of an integer that it converts (sys.set_int_max_str_digits).
        raise DocumentError("an integer of thousands of digits") from None
    if not isinstance(found, dict):
        raise DocumentError("JSON that is not an object")
    return found


def decode_base64url(text: bytes | str) -> bytes:
    """Decode base64url without padding.

    Raises:
        DocumentError: It has other characters, or another text stands for the same bytes.
    """
    data = text.encode() if isinstance(text, str) else text
    try:
        decoded = base64.urlsafe_b64decode(data + b"=" * (-len(data) % 4))
    except binascii.Error:
        raise DocumentError("no base64url: a wrong length") from None
    if encode_base64url(decoded) != data:
        raise DocumentError("no base64url without padding, or bits left over at its end")
    return decoded


def encode_base64url(data: bytes) -> bytes:
    """Encode bytes as base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def shown(value: object) -> str:
    """Return a value for a log line or an error: in ASCII, on one line, and short."""
    text = ascii(value[:_MAX_SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _check_depth(text: str) -> None:
    # Most texts have few brackets, and need no closer look.
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return
    depth = 0
    for mark in _MARKS.finditer(text):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(mark[0], 0)
        if depth > MAX_DEPTH:
            raise DocumentError(f"arrays or objects more than {MAX_DEPTH} deep")


def _members(pairs: Sequence[tuple[str, object]]) -> JsonObject:
    found = dict(pairs)
    if len(found) != len(pairs):
        # Counted in one pass, since a client chooses how many there are.
        [(twice, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise DocumentError(f"the member {shown(twice)} twice")
    return found


def _no_number(name: str) -> NoReturn:
    raise DocumentError(f"{name}, which is no number of JSON")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_no_number)
