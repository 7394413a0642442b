"""What operations with symmetric keys have to do with any provider, see `general`."""

import enum
import hmac as stdlib_hmac
import os
from typing import Any, Final

from cryptography.hazmat.decrepit.ciphers.modes import CFB, OFB
from cryptography.hazmat.primitives import cmac as pyca_cmac
from cryptography.hazmat.primitives.ciphers import Cipher as PycaCipher
from cryptography.hazmat.primitives.ciphers import algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305
from tests.harness.answers import refused
from tests.harness.operations.general import HASHES, flipped, with_

from cofferdam_client import (
    AES_CCM,
    AES_GCM,
    CHACHA20_POLY1305,
    CMAC,
    CheckType,
    Cipher,
    CipherMode,
    Client,
    Hash,
    KeyAttributes,
    Status,
    Usage,
    aes_cmac_key,
    aes_gcm_key,
    chacha20_poly1305_key,
    hmac_key,
    hmac_with,
    truncated,
)

_MODES: Final[dict[CipherMode, type[modes.CBC | CFB | modes.CTR | OFB]]] = {
    CipherMode.CBC_NO_PADDING: modes.CBC,
    CipherMode.CBC_PKCS7: modes.CBC,
    CipherMode.CFB: CFB,
    CipherMode.CTR: modes.CTR,
    CipherMode.OFB: OFB,
}


class Origin(enum.Enum):
    """How a symmetric key gets into the provider."""

    EXPORTED = enum.auto()
    """It is generated, and another implementation gets it by export."""
    IMPORTED = enum.auto()
    KEPT = enum.auto()
    """It is generated and never seen, so that the provider is compared with itself alone."""


def gcm(client: Client, bits: int, origin: Origin) -> None:
    """Encrypt with AES-GCM."""
    key = _symmetric(client, aes_gcm_key(bits, exportable=origin is Origin.EXPORTED), origin)
    _aead(client, AES_GCM, AESGCM(key))


def ccm(client: Client, bits: int) -> None:
    """Encrypt with AES-CCM."""
    _aead(client, AES_CCM, AESCCM(_symmetric(client, with_(aes_gcm_key(bits), algorithm=AES_CCM), Origin.IMPORTED)))


def chacha20_poly1305(client: Client) -> None:
    """Encrypt with ChaCha20-Poly1305."""
    key = _symmetric(client, chacha20_poly1305_key(exportable=True), Origin.EXPORTED)
    _aead(client, CHACHA20_POLY1305, ChaCha20Poly1305(key))


def _symmetric(client: Client, attributes: KeyAttributes, origin: Origin) -> bytes:
    """Make the key "k" and return it; nothing for one that is kept."""
    if origin is Origin.IMPORTED:
        key = os.urandom(attributes.bits // 8)
        client.import_key("k", attributes, key)
        return key
    client.generate_key("k", attributes)
    return client.export_key("k") if origin is Origin.EXPORTED else b""


def _aead(client: Client, algorithm: Any, theirs: AESGCM | AESCCM | ChaCha20Poly1305) -> None:  # noqa: ANN401
    nonce, large = os.urandom(12), os.urandom(200_000)
    sealed = client.aead_encrypt("k", nonce, b"plain", algorithm, b"more")
    assert theirs.decrypt(nonce, sealed, b"more") == b"plain"
    assert client.aead_decrypt("k", nonce, sealed, algorithm, b"more") == b"plain"
    assert client.aead_decrypt("k", nonce, theirs.encrypt(nonce, b"theirs", b""), algorithm) == b"theirs"
    assert theirs.decrypt(nonce, client.aead_encrypt("k", nonce, large, algorithm), b"") == large
    assert client.aead_decrypt("k", nonce, theirs.encrypt(nonce, large, b""), algorithm) == large
    for data, additional in ((sealed, b"other"), (flipped(sealed), b"more")):
        with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
            client.aead_decrypt("k", nonce, data, algorithm, additional)
    with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
        client.aead_decrypt("k", nonce, sealed[:15], algorithm)


def cipher(client: Client, mode: CipherMode, origin: Origin) -> None:
    """Encrypt with AES in a mode without authentication."""
    algorithm = Cipher(mode)
    attributes = with_(aes_gcm_key(exportable=origin is Origin.EXPORTED), algorithm=algorithm)
    key = _symmetric(client, attributes, origin)
    whole = b"sixteen bytes, twice as much now"
    sealed = client.cipher_encrypt("k", whole, algorithm)
    assert client.cipher_decrypt("k", sealed, algorithm) == whole
    if key:
        decryptor = PycaCipher(algorithms.AES(key), _MODES[mode](sealed[:16])).decryptor()
        assert (decryptor.update(sealed[16:]) + decryptor.finalize())[: len(whole)] == whole
    assert sealed != client.cipher_encrypt("k", whole, algorithm)
    if mode is not CipherMode.CBC_NO_PADDING:
        text = b"sixteen bytes or more"
        assert client.cipher_decrypt("k", client.cipher_encrypt("k", text, algorithm), algorithm) == text
    if mode is CipherMode.CBC_PKCS7:
        with refused(Status.PSA_ERROR_INVALID_PADDING):
            # The last block is nothing but padding, of which this changes one bit.
            client.cipher_decrypt("k", flipped(sealed, -17), algorithm)
    if mode in {CipherMode.CBC_PKCS7, CipherMode.CBC_NO_PADDING}:
        with refused(Status.PSA_ERROR_INVALID_ARGUMENT):
            client.cipher_decrypt("k", sealed[:-1], algorithm)


def ecb(client: Client) -> None:
    """Encrypt one block, without anything before it."""
    algorithm = Cipher(CipherMode.ECB_NO_PADDING)
    key = _symmetric(client, with_(aes_gcm_key(exportable=True), algorithm=algorithm), Origin.EXPORTED)
    sealed = client.cipher_encrypt("k", bytes(16), algorithm)
    assert sealed == PycaCipher(algorithms.AES(key), modes.ECB()).encryptor().update(bytes(16))  # noqa: S305
    assert client.cipher_decrypt("k", sealed, algorithm) == bytes(16)


def hmac(client: Client, hash_: Hash, origin: Origin, length: int | None = None) -> None:
    """Authenticate with a hash; the key allows one length alone."""
    whole = hmac_with(hash_)
    algorithm = whole if length is None else truncated(whole, length)
    size = HASHES[hash_].digest_size
    attributes = hmac_key(hash_, bits=size * 8, exportable=origin is Origin.EXPORTED)
    key = _symmetric(client, with_(attributes, algorithm=algorithm), origin)
    mac = client.mac_compute("k", b"a message", algorithm)
    if key:
        assert mac == stdlib_hmac.digest(key, b"a message", hash_.name.replace("_", "").lower())[:length]
    _only_this_mac_verifies(client, mac, algorithm)
    with refused(Status.PSA_ERROR_NOT_PERMITTED):
        client.mac_compute("k", b"a message", truncated(whole, size if length is None else length - 1))


def _only_this_mac_verifies(client: Client, mac: bytes, algorithm: Any) -> None:  # noqa: ANN401
    client.mac_verify("k", b"a message", mac, algorithm)
    wrong = [(b"a message", other) for other in (bytes(len(mac)), mac[:-1], b"")]
    for text, other in ((b"another", mac), *wrong):
        with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
            client.mac_verify("k", text, other, algorithm)


def cmac(client: Client, bits: int, length: int | None = None) -> None:
    """Authenticate with AES."""
    algorithm = CMAC if length is None else truncated(CMAC, length)
    other = pyca_cmac.CMAC(
        algorithms.AES(_symmetric(client, with_(aes_cmac_key(bits), algorithm=algorithm), Origin.IMPORTED))
    )
    other.update(b"a message")
    mac = client.mac_compute("k", b"a message", algorithm)
    assert mac == other.finalize()[:length]
    _only_this_mac_verifies(client, mac, algorithm)


def mac_that_nobody_makes(client: Client, length: int, *, status: Status) -> None:
    """Generate a key whose policy allows a length of MAC that nobody makes."""
    algorithm = truncated(CMAC, length)
    attributes = with_(aes_cmac_key(), algorithm=algorithm)
    assert not client.can_do_crypto(CheckType.USE, attributes)
    client.generate_key("k", attributes)
    with refused(status):
        client.mac_compute("k", b"a message", algorithm)
    with refused(status):
        client.mac_verify("k", b"a message", bytes(length), algorithm)


def mac_verification(client: Client) -> None:
    """Verify with a key that may do no more."""
    key = _symmetric(client, with_(hmac_key(), usage=Usage.VERIFY_MESSAGE), Origin.IMPORTED)
    client.mac_verify("k", b"a message", stdlib_hmac.digest(key, b"a message", "sha256"), hmac_with())
    with refused(Status.PSA_ERROR_NOT_PERMITTED):
        client.mac_compute("k", b"a message", hmac_with())
