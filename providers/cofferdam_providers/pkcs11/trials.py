"""How a token treats parameters, compared with known answers: a module may accept one and use something else.

SoftHSM 2.6.1 accepts a nonce of 129 bytes for AES-GCM and uses twelve of them, so that two nonces have one key stream.
No return code shows that. So for each parameter of a mechanism a few lengths are tried, with a key whose value is
known.
"""

import enum
from collections.abc import Callable, Mapping
from typing import Final

from cryptography.hazmat.decrepit.ciphers.modes import CFB, OFB
from cryptography.hazmat.primitives import cmac, hmac
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.modes import CBC, CTR, ECB
from cryptography.hazmat.primitives.padding import PKCS7
from msgspec import Struct
from pkcs11 import Mechanism as Number

from cofferdam_contracts.psa.algorithm import HASH_LENGTH, AeadScheme, CipherMode, Hash
from cofferdam_contracts.psa.policy import TAG_LENGTHS
from cofferdam_providers.pkcs11 import mechanisms
from cofferdam_providers.pkcs11.codes import Return
from cofferdam_providers.pkcs11.cryptoki import Cryptoki, CryptokiError
from cofferdam_providers.pyca.hashes import PRIMITIVES

KEY: Final = bytes(range(32))
MAC_KEY: Final = bytes(range(64))
"""As long as the longest digest, since tokens require that."""
TEXT: Final = b"twenty bytes of text"
MORE: Final = b"additional data"
NONCES: Final[Mapping[int, bytes]] = {
    1: bytes.fromhex("caff592d3a5b6405f722de19d3c652b66adbc9342cc7142dea352e35bd87afb19a280edb"),
    12: bytes.fromhex("3375b375b19ce279f435f2f891861e4df7b3ff40433b8fae9029c75d86325a709fc92278"),
    128: bytes.fromhex("eea1854a4558ec3f7d33446c98f28fcaf9956fa42c2e08e6777c47ba46c8956ceedd2c0b"),
    129: bytes.fromhex("0618c04a65203f31312878a6317aa53f1c6db89bcb5c2e2a94c87892026926f4e2c6dab1"),
    256: bytes.fromhex("4ddcb7d37e51b9168160c52be3628b50424f11b7c5c84a1d8ce9f81eef9339cb049c32db"),
}
"""AES-256-GCM of the text, by the length of the nonce 00 01 02 …; PKCS#11 v2.40 has no longer ones."""
USUAL_NONCE: Final = 12
ADDITIONAL: Final = (0, 256, 65_537)
"""Lengths of additional data that are tried; longer ones are trusted if the last one is right."""
LABELS: Final = (5, 300)
UNBOUNDED: Final = 1 << 32
MODES: Final[Mapping[CipherMode, Callable[[bytes], CTR | CFB | OFB | ECB | CBC]]] = {
    CipherMode.CTR: CTR,
    CipherMode.CFB: CFB,
    CipherMode.OFB: OFB,
    CipherMode.ECB_NO_PADDING: lambda _iv: ECB(),  # noqa: S305  one of the mechanisms
    CipherMode.CBC_NO_PADDING: CBC,
    CipherMode.CBC_PKCS7: CBC,
}
_ROOM: Final = 1024
_IV: Final = bytes(7) + b"\1" + b"\xff" * 8
"""As a counter it overflows from its second half into the first."""
_BLOCKS: Final = bytes(range(48))
_NO_SUCH_PARAMETERS: Final = frozenset(
    {
        *(Return.ARGUMENTS_BAD, Return.MECHANISM_PARAM_INVALID, Return.MECHANISM_INVALID),
        *(Return.FUNCTION_NOT_SUPPORTED, Return.KEY_FUNCTION_NOT_PERMITTED),
    }
)
"""Codes of a token that does not support a hash, a label or a length."""
_BAD_SIGNATURE: Final = frozenset({Return.SIGNATURE_INVALID, Return.SIGNATURE_LEN_RANGE})


@enum.unique
class Outcome(enum.Enum):
    """The outcome of a trial."""

    RIGHT = enum.auto()
    WRONG = enum.auto()
    REFUSED = enum.auto()
    """The token says that it does not support that."""
    UNKNOWN = enum.auto()
    """It failed for another reason, and the token's list is trusted."""


Outcomes = Mapping[int, Outcome]
"""Outcomes by length in bytes."""


class Gcm(Struct, frozen=True):
    """Lengths in bytes with which AES-GCM of the token may be used; without trials, the usual nonce only."""

    nonces: range = range(USUAL_NONCE, USUAL_NONCE + 1)
    additional: range = range(UNBOUNDED)
    tags: frozenset[int] = TAG_LENGTHS[AeadScheme.GCM]


def try_out(call: Callable[[], bytes], is_right: Callable[[bytes], bool]) -> Outcome:
    """Compare the result of a call of the module."""
    try:
        answer = call()
    except CryptokiError as error:
        if error.code in _BAD_SIGNATURE:
            return Outcome.WRONG
        return Outcome.REFUSED if error.code in _NO_SUCH_PARAMETERS else Outcome.UNKNOWN
    return Outcome.RIGHT if is_right(answer) else Outcome.WRONG


def nonces(cryptoki: Cryptoki, key: int) -> Outcomes:
    """Try nonces of AES-GCM with an object that has the value `KEY`."""
    return {length: _gcm(cryptoki, key, bytes(range(length)), MORE, answer) for length, answer in NONCES.items()}


def additional(cryptoki: Cryptoki, key: int) -> Outcomes:
    """Try additional data of AES-GCM with an object that has the value `KEY`."""
    nonce, sealer = bytes(range(USUAL_NONCE)), AESGCM(KEY)
    return {
        length: _gcm(cryptoki, key, nonce, bytes(length), sealer.encrypt(nonce, TEXT, bytes(length)))
        for length in ADDITIONAL
    }


def tags(cryptoki: Cryptoki, key: int) -> Outcomes:
    """Try tags of AES-GCM with an object that has the value `KEY`."""
    nonce, whole = bytes(range(USUAL_NONCE)), NONCES[USUAL_NONCE]
    return {
        length: _gcm(cryptoki, key, nonce, MORE, whole[: len(TEXT) + length])
        for length in sorted(TAG_LENGTHS[AeadScheme.GCM])
    }


def gcm_of(nonce: Outcomes, more: Outcomes, tag: Outcomes) -> Gcm:
    """Return the lengths that may be used after these outcomes."""
    last = _right_around(ADDITIONAL[0], more).stop
    return Gcm(
        nonces=_right_around(USUAL_NONCE, nonce),
        additional=range(UNBOUNDED if last > ADDITIONAL[-1] else last),
        tags=frozenset(length for length, outcome in tag.items() if outcome is Outcome.RIGHT),
    )


def cipher(cryptoki: Cryptoki, key: int, mode: CipherMode) -> Outcome:
    """Encrypt in a mode with an object that has the value `KEY`."""
    iv = b"" if mode is CipherMode.ECB_NO_PADDING else _IV
    text = _BLOCKS
    if mode is CipherMode.CBC_PKCS7:
        padder = PKCS7(algorithms.AES.block_size).padder()
        text = padder.update(text) + padder.finalize()
    encryptor = Cipher(algorithms.AES(KEY), MODES[mode](iv)).encryptor()
    expected = encryptor.update(text) + encryptor.finalize()
    how = mechanisms.cipher(mode, iv)
    return try_out(lambda: cryptoki.encrypt(key, how, _BLOCKS, _ROOM), expected.__eq__)


def aes_cmac(cryptoki: Cryptoki, key: int) -> Outcome:
    """Compute a MAC with an object that has the value `KEY`."""
    context = cmac.CMAC(algorithms.AES(KEY))
    context.update(TEXT)
    expected = context.finalize()
    return try_out(lambda: cryptoki.sign(key, mechanisms.plain(Number.AES_CMAC), TEXT, _ROOM), expected.__eq__)


def hmac_with(cryptoki: Cryptoki, key: int, number: Number, hash_alg: Hash) -> Outcome:
    """Compute a MAC with an object that has the value `MAC_KEY`."""
    context = hmac.HMAC(MAC_KEY, PRIMITIVES[hash_alg])
    context.update(TEXT)
    expected = context.finalize()
    return try_out(lambda: cryptoki.sign(key, mechanisms.plain(number), TEXT, _ROOM), expected.__eq__)


def salt(cryptoki: Cryptoki, key: int, private: rsa.RSAPrivateKey, hash_alg: Hash, length: int) -> Outcome:
    """Have a signature of RSA-PSS verified that has a salt of `length` bytes."""
    signature = _signed(private, hash_alg, length)
    return try_out(lambda: _verified(cryptoki, key, hash_alg, length, signature), b"".__eq__)


def takes_another_salt(cryptoki: Cryptoki, key: int, private: rsa.RSAPrivateKey, hash_alg: Hash) -> bool:
    """Tell whether a PSS signature is accepted whose salt is a byte shorter than requested."""
    usual = HASH_LENGTH[hash_alg]
    try:
        _verified(cryptoki, key, hash_alg, usual, _signed(private, hash_alg, usual - 1))
    except CryptokiError:
        return False
    return True


def label(cryptoki: Cryptoki, key: int, private: rsa.RSAPrivateKey, hash_alg: Hash, length: int) -> Outcome:
    """Encrypt with RSA-OAEP and a label of `length` bytes."""
    text = bytes(place % 255 + 1 for place in range(length))
    hashed = PRIMITIVES[hash_alg]
    pad = padding.OAEP(padding.MGF1(hashed), hashed, text or None)
    how = mechanisms.oaep(hash_alg, text)

    def is_right(ciphertext: bytes) -> bool:
        try:
            return private.decrypt(ciphertext, pad) == TEXT
        except ValueError:
            return False

    return try_out(lambda: cryptoki.encrypt(key, how, TEXT, private.key_size // 8), is_right)


def _signed(private: rsa.RSAPrivateKey, hash_alg: Hash, length: int) -> bytes:
    hashed = PRIMITIVES[hash_alg]
    pad = padding.PSS(padding.MGF1(hashed), length)
    return private.sign(bytes(HASH_LENGTH[hash_alg]), pad, Prehashed(hashed))


def _verified(cryptoki: Cryptoki, key: int, hash_alg: Hash, length: int, signature: bytes) -> bytes:
    cryptoki.verify(key, mechanisms.pss(hash_alg, length), bytes(HASH_LENGTH[hash_alg]), signature)
    return b""


def _gcm(cryptoki: Cryptoki, key: int, nonce: bytes, more: bytes, expected: bytes) -> Outcome:
    how = mechanisms.gcm(nonce, more, len(expected) - len(TEXT))
    return try_out(lambda: cryptoki.encrypt(key, how, TEXT, _ROOM), expected.__eq__)


def _right_around(usual: int, outcomes: Outcomes) -> range:
    """Return the longest run of right lengths around the usual one."""
    least = most = usual
    for length in sorted((one for one in outcomes if one < usual), reverse=True):
        if outcomes[length] is not Outcome.RIGHT:
            break
        least = length
    for length in sorted(one for one in outcomes if one > usual):
        if outcomes[length] is not Outcome.RIGHT:
            break
        most = length
    return range(least, most + 1)
