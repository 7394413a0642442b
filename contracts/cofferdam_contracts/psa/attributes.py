"""PSA key attributes as values."""

import enum
from typing import Final

from msgspec import Struct

from cofferdam_contracts.psa.algorithm import Algorithm


@enum.unique
class KeyKind(enum.IntEnum):
    """Key types (oneof members of psa_key_attributes.KeyType)."""

    RAW_DATA = 1
    HMAC = 2
    DERIVE = 3
    AES = 4
    DES = 5
    CAMELLIA = 6
    ARC4 = 7
    CHACHA20 = 8
    RSA_PUBLIC_KEY = 9
    RSA_KEY_PAIR = 10
    ECC_KEY_PAIR = 11
    ECC_PUBLIC_KEY = 12
    DH_KEY_PAIR = 13
    DH_PUBLIC_KEY = 14


@enum.unique
class EccFamily(enum.IntEnum):
    """Elliptic curve families (psa_key_attributes.KeyType.EccFamily)."""

    SECP_K1 = 1
    SECP_R1 = 2
    SECP_R2 = 3
    SECT_K1 = 4
    SECT_R1 = 5
    SECT_R2 = 6
    BRAINPOOL_P_R1 = 7
    FRP = 8
    MONTGOMERY = 9


@enum.unique
class DhFamily(enum.IntEnum):
    """Finite-field groups (psa_key_attributes.KeyType.DhFamily); the only member has the number 0."""

    RFC7919 = 0


class Usage(enum.IntFlag):
    """Usage flags; bit n is field n + 1 of psa_key_attributes.UsageFlags."""

    NONE = 0
    EXPORT = 1 << 0
    COPY = 1 << 1
    CACHE = 1 << 2
    ENCRYPT = 1 << 3
    DECRYPT = 1 << 4
    SIGN_MESSAGE = 1 << 5
    VERIFY_MESSAGE = 1 << 6
    SIGN_HASH = 1 << 7
    VERIFY_HASH = 1 << 8
    DERIVE = 1 << 9

    def widened(self) -> "Usage":
        """Return the flags plus those that they imply: a flag for hashes implies the one for messages."""
        flags = self
        if flags & Usage.SIGN_HASH:
            flags |= Usage.SIGN_MESSAGE
        if flags & Usage.VERIFY_HASH:
            flags |= Usage.VERIFY_MESSAGE
        return flags


USAGE_COUNT: Final = 10
"""Number of usage flags."""

PUBLIC_KINDS: Final = frozenset({KeyKind.RSA_PUBLIC_KEY, KeyKind.ECC_PUBLIC_KEY, KeyKind.DH_PUBLIC_KEY})
ECC_KINDS: Final = frozenset({KeyKind.ECC_KEY_PAIR, KeyKind.ECC_PUBLIC_KEY})
RSA_KINDS: Final = frozenset({KeyKind.RSA_KEY_PAIR, KeyKind.RSA_PUBLIC_KEY})
DH_KINDS: Final = frozenset({KeyKind.DH_KEY_PAIR, KeyKind.DH_PUBLIC_KEY})


class KeyType(Struct, frozen=True):
    """A key type; `family` is set exactly for the elliptic-curve and Diffie-Hellman kinds."""

    kind: KeyKind
    family: EccFamily | DhFamily | None = None


class KeyAttributes(Struct, frozen=True):
    """Type, size and permitted uses of a key; the lifetime is always persistent."""

    type: KeyType
    bits: int
    usage: Usage
    algorithm: Algorithm
