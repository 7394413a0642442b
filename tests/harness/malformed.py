"""Malformed requests, and the response that each has to get.

`cases` yields first everything that can be listed: every header field with the values at its edges, every truncation,
every kind of broken body for every operation. Then it combines them at random, for as long as one likes. What a
request has to be answered with is worked out by `expected`, a second reading of the order of checks; only what becomes
of a whole body is the case's own word. Every request is followed by the end of the client's stream.

Nothing here changes a key: operations that do are sent without authentication, which is looked at after their body.
Source: docs/reference/parsec-protocol.md, "Order of checks" and "Bodies".
"""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from tests.harness import wire
from tests.harness.wire import HEADER, Caller, Request, Response, blob, number

BODY_LIMIT: Final = 1 << 20
CRYPTO_OPCODES: Final = frozenset({*range(0x02, 0x08), *range(0x0A, 0x0E), *range(0x0F, 0x1A), 0x1E, 0x1F, 0x20})
CORE_OPCODES: Final = frozenset({0x01, 0x08, 0x09, 0x0E, 0x1A, 0x1B, 0x1C})
ADMIN_OPCODES: Final = frozenset({0x1B, 0x1C})
ANONYMOUS_OPCODES: Final = frozenset({0x01, 0x08, 0x09, 0x0E, 0x0D, 0x0F, 0x10})
ANY: Final = frozenset({0, 5, 6, 7, 10, 16, 19, 22, 1133, 1134, 1135, 1138, 1140, 1149, 1150})
"""Statuses that a randomly changed body may cause: every client error, but no internal error."""
_OF_BODY: Final = frozenset({6, 7, 16})
_LENGTHS: Final = (slice(4, 6), slice(22, 26), slice(26, 28))

_DIGEST: Final = bytes(range(32))
KEYS: Final = {"fuzz-ecc": wire.P256_SIGN, "fuzz-rsa": wire.RSA_CRYPT, "fuzz-aes": wire.AES_256_GCM}
"""Keys that the requests name, with their attributes; the test has to generate them first."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The expected response."""

    statuses: frozenset[int]
    echo: tuple[int, int, int] | None
    """Provider, session and opcode of the request; None for the fallback header, which says nothing of it."""

    def complaint(self, response: Response) -> str | None:
        """Return what is wrong with a response, None if nothing is."""
        if response.status not in self.statuses:
            return f"status {response.status} in place of {sorted(self.statuses)}"
        header = (response.provider, response.session, response.opcode)
        if header != (self.echo or (wire.CORE, 0, wire.PING)):
            return f"header {header} in place of {self.echo or 'the fallback'}"
        return None


@dataclass(frozen=True, slots=True)
class Case:
    """Bytes to send over one connection, and the responses to them."""

    name: str
    data: bytes = field(repr=False)
    expected: tuple[Expected, ...]

    def complaint(self, answer: bytes, *, reset: bool) -> str | None:
        """Return what is wrong with the responses, None if nothing is."""
        try:
            responses = wire.split_responses(answer)
        except wire.BrokenResponseError as error:
            return f"no response: {error}"
        if len(responses) != len(self.expected):
            return f"{len(responses)} responses in place of {len(self.expected)}"
        found = [wanted.complaint(response) for wanted, response in zip(self.expected, responses, strict=True)]
        found.append("the connection was reset" if reset else None)
        return "; ".join(text for text in found if text) or None


@dataclass(frozen=True, slots=True)
class Base:
    """A valid request and its response."""

    name: str
    request: Request
    statuses: frozenset[int] = frozenset({0})


def expected(data: bytes, uid: int, whole: frozenset[int]) -> Expected:
    """Return what bytes that the stream ends after have to be answered with.

    Args:
        data: What is sent.
        uid: Of the client.
        whole: The statuses that an authenticated request can have from the look at its body on.
    """
    if (status := _framing(data)) is not None:
        return Expected(frozenset({status}), None)
    provider, session, content_type, accept_type, auth_type, body_len, auth_len, opcode = _fields(data)
    fallbacks = (
        (content_type != 0, 2),
        (accept_type != 0, 3),
        (auth_type > 4, 12),
        (opcode not in CORE_OPCODES | CRYPTO_OPCODES, 9),
        (provider > 5, 6),
    )
    if (status := next((status for fails, status in fallbacks if fails), None)) is not None:
        return Expected(frozenset({status}), None)
    echo = (provider, session, opcode)
    proof = data[HEADER.size + body_len :][:auth_len]
    checks = (
        (auth_type in {1, 2, 4}, 13),
        (auth_type == wire.UNIX_PEER and proof != wire.unix_auth(uid), 11),
        (provider not in {wire.CORE, wire.SOFTWARE}, 5),
        ((opcode in CORE_OPCODES) != (provider == wire.CORE), 1134),
        (opcode in ADMIN_OPCODES and not auth_type, 19),
        (opcode in ADMIN_OPCODES, 21),
    )
    if (status := next((status for fails, status in checks if fails), None)) is not None:
        return Expected(frozenset({status}), echo)
    if not auth_type and opcode not in ANONYMOUS_OPCODES:
        # The identity is missed after the body was read, and before anything else.
        whole = frozenset(status if status in _OF_BODY else 19 for status in whole)
    return Expected(whole, echo)


def _framing(data: bytes) -> int | None:
    """Return the status if the stream ends within the request or its fixed part is refused."""
    header_size, body_len, auth_len = (int.from_bytes(data[part], "little") for part in _LENGTHS)
    checks = (
        (len(data) < 4, 15),
        (data[:4] != wire.MAGIC.to_bytes(4, "little"), 17),
        (len(data) < 6 or len(data) < 6 + header_size, 15),
        (header_size != wire.HEADER_SIZE, 17),
        (data[6:8] != b"\x01\x00", 4),
        (data[34:36] != b"\x00\x00", 17),
        (body_len > BODY_LIMIT, 20),
        (len(data) < HEADER.size + body_len + auth_len, 15),
    )
    return next((status for fails, status in checks if fails), None)


def _fields(data: bytes) -> tuple[int, int, int, int, int, int, int, int]:
    (_, _, _, _, _, provider, session, content_type, accept_type, auth_type, body_len, auth_len, opcode, *_) = (
        HEADER.unpack_from(data)
    )
    return provider, session, content_type, accept_type, auth_type, body_len, auth_len, opcode


def bases(caller: Caller) -> list[Base]:
    """Return valid requests that change nothing, with and without body, authentication and key."""
    name = blob(1, b"fuzz-rsa") + blob(2, wire.RSA_PKCS1_CRYPT)
    return [
        Base("ping", Request()),
        Base("list opcodes", Request(opcode=wire.LIST_OPCODES, body=number(1, wire.SOFTWARE))),
        Base("list keys", caller.request(wire.LIST_KEYS, provider=wire.CORE)),
        Base("list clients", caller.request(wire.LIST_CLIENTS, provider=wire.CORE)),
        Base("random", caller.random(16)),
        Base("hash", caller.request(wire.HASH_COMPUTE, number(1, wire.SHA_256) + blob(2, b"input"))),
        Base("sign", caller.sign("fuzz-ecc", wire.ECDSA_SHA_256, _DIGEST)),
        Base("verify", caller.verify("fuzz-ecc", wire.ECDSA_SHA_256, _DIGEST, bytes(64)), frozenset({1149})),
        Base("export", caller.request(wire.EXPORT_PUBLIC_KEY, blob(1, b"fuzz-rsa"))),
        Base("encrypt", caller.request(wire.ASYMMETRIC_ENCRYPT, name + blob(3, b"text"))),
        Base("decrypt", caller.request(wire.ASYMMETRIC_DECRYPT, name + blob(3, bytes(255))), frozenset({1135})),
        Base("seal", caller.encrypt_aead("fuzz-aes", bytes(12), b"text")),
        Base("can do", caller.request(wire.CAN_DO_CRYPTO, number(1, 2) + blob(2, wire.P256_SIGN))),
        Base("generate", _anonymous(caller.generate("fuzz-new", wire.P256_SIGN))),
        Base("destroy", _anonymous(caller.destroy("fuzz-ecc"))),
        Base("no such key", caller.sign("fuzz-none", wire.ECDSA_SHA_256, _DIGEST), frozenset({1140})),
    ]


def _anonymous(request: Request) -> Request:
    return request.but(auth_type=wire.NO_AUTH, auth=b"")


# Every field of the header: the values at its edges, and how many bits it has.
FIELDS: Final[dict[str, tuple[tuple[int, ...], int]]] = {
    "magic": ((0, 1, 0xFFFFFFFF, 0x10A7C05E), 32),
    "header_size": ((0, 1, 29, 31, 36, 0xFFFF), 16),
    "version_major": ((0, 2, 0xFF), 8),
    "version_minor": ((1, 0xFF), 8),
    "flags": ((0, 1, 0x7FFF, 0x8000, 0xFFFF), 16),
    "provider": ((0, 1, 2, 5, 6, 0xFF), 8),
    "session": ((0, 1, (1 << 64) - 1), 64),
    "content_type": ((1, 0xFF), 8),
    "accept_type": ((1, 0xFF), 8),
    "auth_type": ((0, 1, 2, 3, 4, 5, 0xFF), 8),
    "body_len": ((0, 1, BODY_LIMIT, BODY_LIMIT + 1, 0xFFFFFFFF), 32),
    "auth_len": ((0, 1, 3, 5, 0xFFFF), 16),
    "opcode": ((0, 0x1D, 0x21, 0xFF, 0x100, 0xFFFFFFFF), 32),
    "status": ((0, 1, 0xFFFF), 16),
    "reserved1": ((0, 1, 0xFF), 8),
    "reserved2": ((0, 1, 0xFF), 8),
}

BROKEN_BODIES: Final = {
    "a number that does not end": b"\x80",
    "a number of eleven bytes": b"\x08" + b"\xff" * 10 + b"\x01",
    "field number 0": b"\x00\x00",
    "wire type 6": b"\xae\x06\x00",
    "wire type 7": b"\xaf\x06\x00",
    "a length beyond the end": b"\xa2\x06\x05\x00",
    "a length of 2 to the power of 63": b"\xa2\x06" + b"\xff" * 8 + b"\x7f",
    "a fixed number cut short": b"\xa5\x06\x00\x00",
    "a group that does not end": b"\xa3\x06",
    "the end of a group that never began": b"\xa4\x06",
    "a group that ends as another": b"\xa3\x06\xac\x06",
    "groups too deep": b"\xa3\x06" * 200 + b"\xa4\x06" * 200,
}
"""Invalid ends of a protobuf message; field 100 is unknown to every operation."""

_NAMED: Final = frozenset({*range(0x02, 0x08), 0x0A, 0x0B, 0x0C, 0x11, 0x12, *range(0x14, 0x1A)})
_INCOMPLETE: Final = {
    0x02: (b"", blob(1, b"n"), blob(2, b""), blob(2, blob(1, b"") + number(2, 256))),
    0x04: (
        b"",
        blob(1, b"n"),
        blob(2, b""),
        blob(2, blob(4, b"")),
        blob(2, blob(4, blob(1, b""))),
    ),
    0x05: (b"", blob(2, blob(4, blob(1, number(2, 99))))),
    0x06: (b"", blob(3, b"data")),
    0x0A: (b"", blob(2, b""), blob(2, blob(2, b""))),
    0x0B: (b"", blob(2, blob(2, number(1, 99)))),
    0x0F: (b"", number(1, 0), number(1, 99)),
    0x10: (b"", number(1, 77)),
    0x11: (b"", blob(2, b""), blob(2, number(1, 0)), blob(2, number(1, 4))),
    0x12: (b"", blob(2, blob(2, b""))),
    0x13: (b"", number(1, 3)),
    0x14: (b"", number(2, 9)),
    0x16: (b"", blob(2, b""), blob(2, blob(1, b"")), blob(2, blob(1, blob(1, number(1, 99))))),
    0x17: (b"", blob(2, blob(2, number(2, 8)))),
    0x20: (b"", number(1, 5) + blob(2, wire.P256_SIGN), number(1, 1)),
}
"""Bodies that parse but lack a required field, by operation; the status is 16."""


def _case(name: str, data: bytes, uid: int, whole: frozenset[int]) -> Case:
    return Case(name, data, (expected(data, uid, whole),))


def listed(uid: int) -> Iterator[Case]:
    """Yield the enumerable cases."""
    caller = Caller(uid)
    for base in bases(caller):
        yield from _single_fields(base, uid)
        data = base.request.to_bytes()
        for length in range(len(data)):
            yield _case(f"{base.name}, cut after {length}", data[:length], uid, base.statuses)
        for lie in (-4, -1, 1, 4):
            yield from _lies(base, lie, uid)
    for opcode in sorted(CORE_OPCODES | CRYPTO_OPCODES):
        provider = wire.CORE if opcode in CORE_OPCODES else wire.SOFTWARE
        for name, body in _broken_bodies(opcode):
            request = Request(opcode=opcode, provider=provider, body=body)
            yield _case(f"operation {opcode}, {name}", request.to_bytes(), uid, frozenset({7}))
        for body in _INCOMPLETE.get(opcode, ()):
            request = Request(opcode=opcode, provider=provider, body=body)
            yield _case(f"operation {opcode}, incomplete {body.hex()}", request.to_bytes(), uid, frozenset({16}))


def _broken_bodies(opcode: int) -> Iterator[tuple[str, bytes]]:
    yield from BROKEN_BODIES.items()
    if opcode in _NAMED:
        yield "a name that is not UTF-8", blob(1, b"\xff\xfe")
        yield "a number for a name", number(1, 5)


def _single_fields(base: Base, uid: int) -> Iterator[Case]:
    for name, (values, _) in FIELDS.items():
        # Another length makes another body of the same bytes; what that comes to is not known here.
        statuses = ANY if name in {"body_len", "auth_len"} else base.statuses
        for value in values:
            data = base.request.but(**{name: value}).to_bytes()
            if not _is_pipelined(data):
                yield _case(f"{base.name}, {name} {value:#x}", data, uid, statuses)


def _lies(base: Base, lie: int, uid: int) -> Iterator[Case]:
    for name, length in (("body_len", len(base.request.body)), ("auth_len", len(base.request.auth))):
        if length + lie >= 0:
            data = base.request.but(**{name: length + lie}).to_bytes()
            yield _case(f"{base.name}, {name} off by {lie}", data, uid, ANY)


def _is_pipelined(data: bytes) -> bool:
    """Tell whether a kept connection has more than one request: then there is more than one response."""
    if _framing(data) is not None:
        return False
    _, _, _, _, _, body_len, auth_len, _ = _fields(data)
    flags = int.from_bytes(data[8:10], "little")
    return bool(flags & wire.KEEP_ALIVE) and len(data) > HEADER.size + body_len + auth_len


class Generator:
    """An infinite sequence of random cases, determined by the seed."""

    def __init__(self, seed: int, uid: int) -> None:
        """Generate for a client of a uid."""
        self._random = random.Random(seed)
        self._uid = uid
        self._bases = bases(Caller(uid))
        self._kinds = (self._fields, self._cut, self._broken, self._mutated, self._noise, self._followed, self._kept)

    def __iter__(self) -> Iterator[Case]:
        while True:
            yield self._random.choice(self._kinds)()

    def _base(self) -> Base:
        return self._random.choice(self._bases)

    def _changed(self, base: Base) -> Request:
        """Change up to four fields of the header, keeping the operation unless it becomes an unknown one."""
        changes: dict[str, int] = {}
        for name in self._random.sample(sorted(FIELDS), self._random.randint(1, 4)):
            values, bits = FIELDS[name]
            changes[name] = self._random.choice((*values, self._random.getrandbits(bits)))
        if changes.get("opcode", 0) in CORE_OPCODES | CRYPTO_OPCODES:
            del changes["opcode"]
        return base.request.but(**changes)

    def _fields(self) -> Case:
        base = self._base()
        data = self._changed(base).to_bytes()
        if _is_pipelined(data):
            data = base.request.to_bytes()
        return _case(f"{base.name}, changed fields", data, self._uid, base.statuses | ANY)

    def _cut(self) -> Case:
        data = self._base().request.to_bytes()
        return _case("cut", data[: self._random.randrange(len(data))], self._uid, ANY)

    def _broken(self) -> Case:
        base = self._base()
        name = self._random.choice(sorted(BROKEN_BODIES))
        request = base.request.but(body=base.request.body + BROKEN_BODIES[name])
        return _case(f"{base.name}, {name}", request.to_bytes(), self._uid, frozenset({7}))

    def _mutated(self) -> Case:
        base = self._base()
        body = bytearray(base.request.body)
        for _ in range(self._random.randint(1, 4)):
            self._mutate(body)
        data = base.request.but(body=bytes(body)).to_bytes()
        return _case(f"{base.name}, mutated body {body.hex()}", data, self._uid, ANY)

    def _mutate(self, body: bytearray) -> None:
        where = self._random.randint(0, len(body))
        match self._random.randrange(5):
            case 0 if where < len(body):
                body[where] ^= 1 << self._random.randrange(8)
            case 1 if where < len(body):
                del body[where : where + self._random.randint(1, 8)]
            case 2:
                body[where:where] = self._random.randbytes(self._random.randint(1, 8))
            case 3:
                body[where:where] = body[: self._random.randint(0, len(body))]
            case _:
                body[where:where] = self._random.choice(list(BROKEN_BODIES.values()))

    def _noise(self) -> Case:
        data = self._random.randbytes(self._random.choice((1, 4, 36, 100, 5000)))
        if self._random.random() < 0.5:
            data = Request().to_bytes()[: self._random.choice((4, 6, 8))] + data
        return _case("noise", data, self._uid, ANY)

    def _followed(self) -> Case:
        base = self._base()
        data = base.request.to_bytes()
        tail = self._random.choice((data, self._random.randbytes(self._random.choice((1, 36, 70_000)))))
        return _case(f"{base.name}, followed by {len(tail)} bytes", data + tail, self._uid, base.statuses)

    def _kept(self) -> Case:
        base, other = self._base(), self._base()
        first = base.request.but(flags=wire.KEEP_ALIVE).to_bytes()
        second = self._changed(other).but(flags=0).to_bytes()
        wanted = (expected(first, self._uid, base.statuses), expected(second, self._uid, other.statuses | ANY))
        # A connection is closed after a refusal that has the fallback header.
        return Case(f"{base.name}, then {other.name} changed", first + second, wanted)


def cases(seed: int, uid: int | None = None) -> Iterator[Case]:
    """Yield the enumerable cases, then random ones without end."""
    client = os.geteuid() if uid is None else uid
    yield from listed(client)
    yield from Generator(seed, client)
