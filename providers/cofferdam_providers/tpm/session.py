"""Sessions: the authorisation of commands, and their protection on the way to the chip.

An HMAC session that is salted with a key of the TPM authenticates every command and response, and encrypts the first
parameter where that is a sized buffer: digests, plaintexts, random bytes, the authorisation values of new keys. An
eavesdropper on the bus learns none of these, and changes are detected. The TSS has such sessions as well, but makes a
new library context of OpenSSL for every hash in them, which costs more than the TPM (ADR 0020).

Source: TCG part 1, 17 (authorisations), 19 and 21 (sessions, parameter encryption), 11.4.10 (KDFa).
"""

import hmac
import os
from hashlib import sha256
from typing import Final

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode
from msgspec import Struct

from cofferdam_providers.tpm.codes import CONTINUE, DECRYPT, ENCRYPT, EXPONENT, Handle
from cofferdam_providers.tpm.errors import MalformedAnswerError
from cofferdam_providers.tpm.marshal import U32, Reader, sized

NONCE_BYTES: Final = 32
"""Length of nonces, salts and HMACs: sessions hash with SHA-256."""
_IV_BYTES: Final = 16
_HMAC_HASH: Final = "sha256"
_SHA256: Final = SHA256()


def kdfa(key: bytes, label: bytes, context: bytes, bits: int) -> bytes:
    """Return `bits` bits of KDFa with SHA-256 (part 1, 11.4.10.2): NIST SP 800-108 in counter mode."""
    derivation = KBKDFHMAC(
        _SHA256, Mode.CounterMode, bits // 8, U32.size, U32.size, CounterLocation.BeforeFixed, label, context, None
    )
    return derivation.derive(key)


def encrypt_salt(modulus: bytes, salt: bytes) -> bytes:
    """Encrypt the salt of a session for an RSA key of the TPM whose nameAlg is SHA-256 (part 1, B.10.2 and 19.6.8)."""
    try:
        public = RSAPublicNumbers(EXPONENT, int.from_bytes(modulus, "big")).public_key()
    except ValueError as error:
        raise MalformedAnswerError("an invalid storage root key") from error
    return public.encrypt(salt, OAEP(MGF1(_SHA256), _SHA256, b"SECRET\0"))


class Step(Struct, frozen=True):
    """The parts of a command that a session authenticates."""

    code: bytes
    names: bytes
    """The concatenated Names of its handles."""
    hides_parameter: bool
    hides_answer: bool


class Authorization:
    """One entry of a command's authorisation area; this base class protects nothing."""

    def hide(self, step: Step, parameters: bytes) -> bytes:
        """Return the parameters as they are sent; called before any entry is made."""
        del step
        return parameters

    def entry(self, step: Step, parameters: bytes) -> bytes:
        """Return the entry for a command with these parameters, as they are sent."""
        raise NotImplementedError

    def check(self, step: Step, reader: Reader, parameters: bytes) -> None:
        """Read and check the entry of the response.

        Raises:
            MalformedAnswerError: It does not belong to this response.
        """
        del step, parameters
        reader.sized()
        reader.u8()
        reader.sized()

    def reveal(self, step: Step, parameters: bytes) -> bytes:
        """Return the parameters of the response in plain text; called after all entries were checked."""
        del step
        return parameters


class Password(Authorization):
    """An authorisation value that is sent in plain text, without a session."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def entry(self, step: Step, parameters: bytes) -> bytes:
        """Return the entry with the value (part 1, 19.4)."""
        del step, parameters
        return U32.pack(Handle.PASSWORD) + sized(b"") + bytes((CONTINUE,)) + sized(self._value)


class PolicyAuthorization(Authorization):
    """The entry of a policy session, unsalted and unbound, that needs no authorisation value: it has no HMAC."""

    def __init__(self, handle: int) -> None:
        self.handle = handle

    def entry(self, step: Step, parameters: bytes) -> bytes:
        """Return the entry (part 1, 19.6.4: no key, no HMAC)."""
        del step, parameters
        return U32.pack(self.handle) + sized(os.urandom(NONCE_BYTES)) + bytes(1) + sized(b"")


class HmacSession:
    """A session of the TPM."""

    def __init__(self, handle: int, nonce_caller: bytes, nonce_tpm: bytes, salt: bytes, key_bits: int) -> None:
        """Take a session that was just started; `salt` is empty for none, `key_bits` is the length of its AES key."""
        self.handle = handle
        self.nonce_tpm = nonce_tpm
        self.key = kdfa(salt, b"ATH", nonce_tpm + nonce_caller, NONCE_BYTES * 8) if salt else b""
        self.key_bits = key_bits

    def authorize(self, value: bytes = b"") -> "HmacAuthorization":
        """Return the entry of one command, for an object with this authorisation value."""
        return HmacAuthorization(self, value)


class HmacAuthorization(Authorization):
    """The entry of an HMAC session in one command."""

    __slots__ = ("_attributes", "_key", "_nonce", "_session")

    def __init__(self, session: HmacSession, value: bytes) -> None:
        """Authorise with a value; the TPM ignores its trailing zeros (part 1, 19.6.5)."""
        self._session = session
        self._key = session.key + value.rstrip(b"\0")
        self._nonce = os.urandom(NONCE_BYTES)
        self._attributes = CONTINUE

    def hide(self, step: Step, parameters: bytes) -> bytes:
        """Encrypt the first parameter, and note which first parameters are encrypted."""
        if step.hides_answer:
            self._attributes |= ENCRYPT
        if not step.hides_parameter:
            return parameters
        self._attributes |= DECRYPT
        return self._crypt(parameters, self._nonce, self._session.nonce_tpm, encrypt=True)

    def entry(self, step: Step, parameters: bytes) -> bytes:
        """Return session, nonce, attributes and HMAC (part 1, 19.6.2)."""
        attributes = bytes((self._attributes,))
        digest = sha256(step.code + step.names + parameters).digest()
        mac = hmac.digest(self._key, digest + self._nonce + self._session.nonce_tpm + attributes, _HMAC_HASH)
        return U32.pack(self._session.handle) + sized(self._nonce) + attributes + sized(mac)

    def check(self, step: Step, reader: Reader, parameters: bytes) -> None:
        """Check the HMAC of the response, and take its nonce for the next command (part 1, 19.6.3)."""
        nonce, attributes, mac = reader.sized(), reader.take(1), reader.sized()
        digest = sha256(bytes(4) + step.code + parameters).digest()
        expected = hmac.digest(self._key, digest + nonce + self._nonce + attributes, _HMAC_HASH)
        if not hmac.compare_digest(mac, expected):
            raise MalformedAnswerError("an answer whose HMAC is wrong")
        if not attributes[0] & CONTINUE:
            raise MalformedAnswerError("a session that the TPM ended")
        self._session.nonce_tpm = nonce

    def reveal(self, step: Step, parameters: bytes) -> bytes:
        """Decrypt the first parameter of the response."""
        if not step.hides_answer:
            return parameters
        return self._crypt(parameters, self._session.nonce_tpm, self._nonce, encrypt=False)

    def _crypt(self, parameters: bytes, newer: bytes, older: bytes, *, encrypt: bool) -> bytes:
        """Encrypt or decrypt the content of the sized buffer at the beginning of the parameters (part 1, 21.3)."""
        reader = Reader(parameters)
        content = reader.sized()
        bits = self._session.key_bits
        secret = kdfa(self._key, b"CFB", newer + older, bits + _IV_BYTES * 8)
        cipher = Cipher(AES(secret[: bits // 8]), CFB(secret[bits // 8 :]))
        context = cipher.encryptor() if encrypt else cipher.decryptor()
        return sized(context.update(content) + context.finalize()) + reader.rest()
