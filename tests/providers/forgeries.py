"""Invalid signatures made with the private key: the ways in which a verification can end besides a wrong number.

ECDSA verifies u1 * G + u2 * Q with u1 = z / s and u2 = r / s (FIPS 186-5, 6.4.2). With Q = d * G this is the point at
infinity, which has no x, for r = -z / d and any s.
"""

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ORDERS = {
    256: 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    384: 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
    521: (1 << 521) - (1 << 264) + 0xFA51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409,
}
"""Of the groups (SEC 2, 2.4.2, 2.5.1, 2.6.1)."""
_GROUPS: dict[int, ec.EllipticCurve] = {256: ec.SECP256R1(), 384: ec.SECP384R1(), 521: ec.SECP521R1()}
_SECRET = 0xC0FFEE


def known_point(bits: int) -> bytes:
    """Return the public key of a published private key."""
    public = ec.derive_private_key(_SECRET, _GROUPS[bits]).public_key()
    return public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def to_infinity(bits: int, digest: bytes) -> bytes:
    """Return a signature by the published key whose verification has no result; the digest fits the order."""
    order = ORDERS[bits]
    return _joined(bits, -int.from_bytes(digest) * pow(_SECRET, -1, order) % order, 7)


def odd_signatures(bits: int, digest: bytes) -> dict[str, bytes]:
    """Return invalid signatures of the right length, by their peculiarity."""
    order, most = ORDERS[bits], (1 << 8 * ((bits + 7) // 8)) - 1
    pairs = {
        **{f"{r}, {s}": (r, s) for r in (0, 1) for s in (0, 1)},
        "r = n": (order, 1),
        "s = n": (1, order),
        "n - 1": (order - 1, order - 1),
        "n + 1": (order + 1, order + 1),
        "largest": (most, most),
    }
    return {"to infinity": to_infinity(bits, digest), **{name: _joined(bits, *pair) for name, pair in pairs.items()}}


def _joined(bits: int, r: int, s: int) -> bytes:
    size = (bits + 7) // 8
    return r.to_bytes(size) + s.to_bytes(size)
