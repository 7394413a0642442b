"""Authentication codes of rows, which the key store itself cannot make.

A row says which object of the device is whose key. Whoever can write it (a compromised key store, or a program that
reached the database) could pass one client's key off as another's. So the worker gives each row

    code (32 bytes) = HMAC-SHA256(provider, state of the row, identity, attributes, form and bytes of the key id)
    tag (16 bytes)  = HMAC-SHA256(object of the device), truncated; only for an active row

under keys derived from the provider's key-encryption key (HKDF-Expand, RFC 5869 section 2.3), and uses no row with a
different code. Sealed rows (`Provider.sealed_forms`) are bound in the same way by their encryption and have no code.

A row from the reference service has no code at first and gets one when it is first used. From the first start on, the
set of all codes is authenticated too, so that nobody can have a row adopted again by deleting its code. The tags in
that set tell which objects are taken, so that nobody can have another row adopted for an object that has an owner.
"""

import hmac
import struct
from collections.abc import Iterable, Iterator
from typing import Any, Final

from msgspec import Struct

from cofferdam_contracts.identity import KeyIdentity
from cofferdam_contracts.ipc.limits import MAX_CHECK, MAX_CODE
from cofferdam_contracts.opaque import Opaque
from cofferdam_contracts.psa.encoding import encode_attributes
from cofferdam_contracts.status import ServiceError
from cofferdam_providers.base.provider import Provider, StoredKey

ACTIVE: Final = 0
"""State of a row that is neither being created nor being destroyed; the other states are those of `PendingState`."""
_PURPOSE: Final = b"cofferdam row codes, format 1: "
_CODE: Final = 32
_NUMBERS: Final = struct.Struct("<BQQ")
_SHOWN: Final = 4
"""Bytes of the check value by which operators tell keys apart."""


def key_name(check: bytes) -> str:
    """Return the name of a key-encryption key in messages, from its check value."""
    return check[:_SHOWN].hex()


class RowCodes:
    """Makes and checks the codes of one provider's rows."""

    def __init__(self, kek: bytes, provider: Provider[Any]) -> None:
        self._provider = provider
        self._uuid = provider.description.uuid.encode()
        self._row_key, self._object_key, self._set_key = (
            self._derive(kek, use) for use in (b"rows", b"objects", b"set of codes")
        )
        self.check = self._derive(kek, b"check value")[:MAX_CHECK]
        """Tells whether a key is the one that the rows were made with."""

    def needs_code(self, stored: StoredKey) -> bool:
        """Tell whether a row must have a code, because nothing else binds it."""
        return stored.version not in self._provider.sealed_forms

    def code(self, state: int, identity: KeyIdentity, stored: StoredKey) -> bytes:
        """Return the code of a row in a state, with its tag if it is active; empty when the row needs none."""
        if not self.needs_code(stored):
            return b""
        fields = (
            self._uuid,
            _NUMBERS.pack(state, identity.authenticator, stored.version),
            identity.application.encode(),
            identity.key_name.encode(),
            encode_attributes(stored.attributes),
            stored.key_id,
        )
        text = b"".join(len(field).to_bytes(4, "little") + field for field in fields)
        code = _hmac(self._row_key, text)
        return code + self.tag(stored, code) if state == ACTIVE else code

    def tag(self, stored: StoredKey, code: bytes = b"") -> bytes:
        """Return the tag of a row's object; of its code, where a provider does not distinguish objects."""
        return _hmac(self._object_key, self._provider.object_of(stored) or code)[: MAX_CODE - _CODE]

    def opens(self, identity: KeyIdentity, stored: StoredKey) -> bool:
        """Tell whether a sealed row opens with the provider's key."""
        try:
            self._provider.unseal(identity, stored)
        except ServiceError:
            return False
        return True

    def is_right(self, code: bytes, state: int, identity: KeyIdentity, stored: StoredKey) -> bool:
        """Tell whether a code is that of the row."""
        return hmac.compare_digest(code, self.code(state, identity, stored))

    def held(self, codes: Iterable[bytes]) -> "HeldCodes":
        """Return a set of codes."""
        return HeldCodes(self._set_key).after(added=codes)

    def _derive(self, kek: bytes, use: bytes) -> bytes:
        return _hmac(kek, _PURPOSE + self._uuid + b" " + use + b"\1")


class HeldCodes(Opaque, Struct, frozen=True):
    """The codes of a provider's active rows, reduced to what authenticates them: their number and a keyed sum.

    The sum is over HMACs of the codes, so that it can be updated incrementally and nobody else can find two sets with
    the same sum.
    """

    _key: bytes
    _count: int = 0
    _sum: int = 0

    def after(self, *, added: Iterable[bytes] = (), removed: Iterable[bytes] = ()) -> "HeldCodes":
        """Return the set with codes added and removed; empty codes are ignored."""
        count, total = self._count, self._sum
        for sign, codes in ((1, added), (-1, removed)):
            for code in filter(None, codes):
                count += sign
                total += sign * int.from_bytes(_hmac(self._key, b"code" + code), "big")
        return HeldCodes(self._key, count, total % (1 << 256))

    def seal(self) -> bytes:
        """Return the value that authenticates the set."""
        return _hmac(self._key, b"set" + self._count.to_bytes(8, "big", signed=True) + self._sum.to_bytes(32, "big"))

    def is_sealed_by(self, seal: bytes) -> bool:
        """Tell whether this is the set that was sealed."""
        return hmac.compare_digest(seal, self.seal())


def tag_of(code: bytes) -> bytes:
    """Return the tag that the code of an active row ends with."""
    return code[_CODE:]


def split(codes: bytes) -> Iterator[bytes]:
    """Yield the single codes out of the concatenation that the key store keeps."""
    return (codes[at : at + MAX_CODE] for at in range(0, len(codes), MAX_CODE))


def _hmac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")
