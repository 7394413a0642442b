"""Authenticated encryption: AES-GCM, AES-CCM, ChaCha20-Poly1305, with whole and shortened tags."""

from collections.abc import Mapping
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305

from cofferdam_contracts.psa.algorithm import DEFAULT_TAG_LENGTH, Aead, AeadScheme
from cofferdam_contracts.psa.attributes import KeyKind
from cofferdam_contracts.psa.policy import TAG_LENGTHS, tag_length
from cofferdam_providers.pyca.errors import invalid_argument, invalid_signature, not_supported
from cofferdam_providers.pyca.keys import Handle, ReadyAead, SecretKey
from cofferdam_providers.software.gcm import AnyNonceGcm

SCHEMES: Final = frozenset(
    {
        (KeyKind.AES, AeadScheme.GCM),
        (KeyKind.AES, AeadScheme.CCM),
        (KeyKind.CHACHA20, AeadScheme.CHACHA20_POLY1305),
    }
)
"""Supported combinations; the library has no Camellia in these modes."""
_GCM_NONCES: Final = range(8, 129)
_CCM_NONCES: Final = range(7, 14)
_CHACHA20_NONCE: Final = 12


class _Gcm:
    """AES-GCM; by the library's own GCM where that accepts the nonce."""

    def __init__(self, key: bytes, tag: int) -> None:
        self.tag = tag
        self._aes = algorithms.AES(key)
        self._whole = AESGCM(key)
        self._any_nonce = AnyNonceGcm(key)

    def encrypt(self, nonce: bytes, additional_data: bytes, plaintext: bytes) -> bytes:
        if len(nonce) in _GCM_NONCES:
            return self._whole.encrypt(nonce, plaintext, additional_data)[: len(plaintext) + self.tag]
        ciphertext, tag = self._any_nonce.encrypt(nonce, additional_data, plaintext)
        return ciphertext + tag[: self.tag]

    def decrypt(self, nonce: bytes, additional_data: bytes, ciphertext: bytes) -> bytes:
        if len(nonce) not in _GCM_NONCES:
            return self._any_nonce.decrypt(nonce, additional_data, ciphertext[: -self.tag], ciphertext[-self.tag :])
        if self.tag == DEFAULT_TAG_LENGTH:
            return self._whole.decrypt(nonce, ciphertext, additional_data)
        mode = modes.GCM(nonce, ciphertext[-self.tag :], min_tag_length=self.tag)
        decryptor = Cipher(self._aes, mode).decryptor()
        decryptor.authenticate_additional_data(additional_data)
        plaintext = decryptor.update(ciphertext[: -self.tag])
        return plaintext + decryptor.finalize()


class _Ccm:
    """AES-CCM."""

    def __init__(self, key: bytes, tag: int) -> None:
        self.tag = tag
        self._ccm = AESCCM(key, tag)

    def encrypt(self, nonce: bytes, additional_data: bytes, plaintext: bytes) -> bytes:
        self._check(nonce, len(plaintext))
        return self._ccm.encrypt(nonce, plaintext, additional_data)

    def decrypt(self, nonce: bytes, additional_data: bytes, ciphertext: bytes) -> bytes:
        self._check(nonce, len(ciphertext) - self.tag)
        return self._ccm.decrypt(nonce, ciphertext, additional_data)

    @staticmethod
    def _check(nonce: bytes, length: int) -> None:
        # NIST SP 800-38C: nonce and length of the text share 15 bytes.
        if len(nonce) not in _CCM_NONCES or length >> (8 * (15 - len(nonce))):
            raise invalid_argument("a nonce that CCM does not have, or a text that is too long for it")


class _ChaCha20Poly1305:
    """ChaCha20-Poly1305 of RFC 8439."""

    def __init__(self, key: bytes, tag: int) -> None:
        self.tag = tag
        self._chacha = ChaCha20Poly1305(key)

    def encrypt(self, nonce: bytes, additional_data: bytes, plaintext: bytes) -> bytes:
        self._check(nonce)
        return self._chacha.encrypt(nonce, plaintext, additional_data)

    def decrypt(self, nonce: bytes, additional_data: bytes, ciphertext: bytes) -> bytes:
        self._check(nonce)
        return self._chacha.decrypt(nonce, ciphertext, additional_data)

    @staticmethod
    def _check(nonce: bytes) -> None:
        if len(nonce) != _CHACHA20_NONCE:
            raise invalid_argument(f"a nonce of {len(nonce)} bytes where ChaCha20-Poly1305 has 12")


_Maker: TypeAlias = type[_Gcm] | type[_Ccm] | type[_ChaCha20Poly1305]
_MAKERS: Final[Mapping[AeadScheme, _Maker]] = {
    AeadScheme.GCM: _Gcm,
    AeadScheme.CCM: _Ccm,
    AeadScheme.CHACHA20_POLY1305: _ChaCha20Poly1305,
}


def encrypt(key: Handle, algorithm: Aead, nonce: bytes, additional_data: bytes, plaintext: bytes) -> bytes:
    """Return ciphertext and tag.

    Raises:
        ServiceError: Nonce, tag length or key do not fit the scheme.
    """
    return _aead(key, algorithm).encrypt(nonce, additional_data, plaintext)


def decrypt(key: Handle, algorithm: Aead, nonce: bytes, additional_data: bytes, ciphertext: bytes) -> bytes:
    """Return the plaintext.

    Raises:
        ServiceError: The tag does not match (`PSA_ERROR_INVALID_SIGNATURE`); nonce, tag length or key do not fit the
            scheme, or the ciphertext is shorter than a tag (`PSA_ERROR_INVALID_ARGUMENT`).
    """
    aead = _aead(key, algorithm)
    if len(ciphertext) < aead.tag:
        raise invalid_argument("a ciphertext shorter than its tag")
    try:
        return aead.decrypt(nonce, additional_data, ciphertext)
    except InvalidTag as error:
        raise invalid_signature("the tag is wrong") from error


def _aead(key: Handle, algorithm: Aead) -> ReadyAead:
    if not isinstance(key, SecretKey):
        raise invalid_argument("a key that is not symmetric")
    ready = key.ready.get(algorithm)
    if ready is None:
        ready = key.ready[algorithm] = _set_up(key, algorithm)
    return ready


def _set_up(key: SecretKey, algorithm: Aead) -> ReadyAead:
    scheme = algorithm.scheme
    if (key.kind, scheme) not in SCHEMES:
        raise not_supported(f"{scheme.name} with {key.kind.name}")
    tag = tag_length(algorithm)
    if tag not in TAG_LENGTHS[scheme]:
        raise invalid_argument(f"a tag of {tag} bytes with {scheme.name}")
    return _MAKERS[scheme](key.material, tag)
