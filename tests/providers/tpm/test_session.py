"""The computations of sessions, compared with their definition; the tests with a TPM show that it agrees."""

import hashlib
import hmac
import struct

import pytest
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from hypothesis import given
from hypothesis import strategies as st

from cofferdam_providers.tpm.errors import MalformedAnswerError
from cofferdam_providers.tpm.marshal import Reader, sized
from cofferdam_providers.tpm.session import HmacSession, Password, Step, kdfa

SECRET = b"a secret of the operation"
STEP = Step(struct.pack(">I", 0x15D), b"name", hides_parameter=True, hides_answer=True)


def defined(key: bytes, label: bytes, context: bytes, bits: int) -> bytes:
    """Compute KDFa word for word (TCG part 1, 11.4.10.2)."""
    derived = b""
    for counter in range(1, bits // 256 + 2):
        block = struct.pack(">I", counter) + label + b"\0" + context + struct.pack(">I", bits)
        derived += hmac.new(key, block, hashlib.sha256).digest()
    return derived[: bits // 8]


@given(st.binary(max_size=100), st.binary(max_size=64), st.sampled_from([128, 256, 384, 512]))
def test_keys_are_derived_as_is_defined(key: bytes, context: bytes, bits: int) -> None:
    for label in (b"ATH", b"CFB"):
        assert kdfa(key, label, context, bits) == defined(key, label, context, bits)


def answer(session: HmacSession, sent: bytes, value: bytes, parameters: bytes) -> tuple[bytes, bytes]:
    """Make the entry and the parameters of a TPM's response to a command whose entry was `sent`."""
    reader = Reader(sent)
    assert reader.u32() == session.handle
    caller, attributes = reader.sized(), reader.take(1)
    nonce = bytes(range(32))
    key = session.key + value
    derived = defined(key, b"CFB", nonce + caller, 256 + 128)
    hidden = sized(Cipher(AES(derived[:32]), CFB(derived[32:])).encryptor().update(parameters))
    digest = hashlib.sha256(bytes(4) + STEP.code + hidden).digest()
    mac = hmac.new(key, digest + nonce + caller + attributes, hashlib.sha256).digest()
    return sized(nonce) + attributes + sized(mac), hidden


def test_an_answer_is_checked_and_revealed() -> None:
    session = HmacSession(0x02000000, bytes(32), b"t" * 32, b"s" * 32, 256)
    authorization = session.authorize(b"auth\0\0")
    hidden = authorization.hide(STEP, sized(SECRET) + b"rest")
    assert SECRET not in hidden
    assert hidden.endswith(b"rest")
    entry, parameters = answer(session, authorization.entry(STEP, hidden), b"auth", SECRET)
    authorization.check(STEP, Reader(entry), parameters)
    assert authorization.reveal(STEP, parameters) == sized(SECRET)
    assert session.nonce_tpm == bytes(range(32))


@pytest.mark.parametrize("where", ["entry", "parameters"])
def test_an_answer_that_was_changed_is_refused_wherever_it_was(where: str) -> None:
    session = HmacSession(0x02000000, bytes(32), b"t" * 32, b"s" * 32, 256)
    authorization = session.authorize(b"auth")
    entry, parameters = answer(session, authorization.entry(STEP, b""), b"auth", SECRET)
    for at in range(len(entry if where == "entry" else parameters)):
        changed = {"entry": bytearray(entry), "parameters": bytearray(parameters)}
        changed[where][at] ^= 0x10
        with pytest.raises(MalformedAnswerError):
            authorization.check(STEP, Reader(bytes(changed["entry"])), bytes(changed["parameters"]))
    assert session.nonce_tpm == b"t" * 32


def test_a_password_is_sent_as_it_is() -> None:
    assert Password(b"auth").entry(STEP, b"") == bytes.fromhex("40000009 0000 01 0004") + b"auth"
