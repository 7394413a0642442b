"""A token that does everything with pyca/cryptography, and has one flaw: it silently changes a parameter.

It has the part of the session's interface that `probe` uses.
"""

import ctypes
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.decrepit.ciphers.modes import CFB, OFB
from cryptography.hazmat.primitives import cmac, hashes, hmac
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.modes import CBC, CTR, ECB
from cryptography.hazmat.primitives.padding import PKCS7
from pkcs11 import Attribute, MechanismFlag, ObjectClass
from pkcs11 import Mechanism as Number

from cofferdam_providers.pkcs11.capability_discovery import Offer
from cofferdam_providers.pkcs11.codes import Return
from cofferdam_providers.pkcs11.cryptoki import (
    CryptokiError,
    CtrParameters,
    GcmParameters,
    Mechanism,
    OaepParameters,
    PssParameters,
    Template,
)
from cofferdam_providers.pkcs11.mechanisms import PADDINGS
from cofferdam_providers.pyca.hashes import PRIMITIVES
from cofferdam_providers.software.gcm import AnyNonceGcm

HMACS: Final = {Number.SHA256_HMAC: hashes.SHA256(), Number.SHA512_HMAC: hashes.SHA512()}
ALL: Final = (
    *(Number.AES_GCM, Number.AES_CTR, Number.AES_CFB128, Number.AES_OFB, Number.AES_ECB, Number.AES_CBC),
    *(Number.AES_CBC_PAD, Number.AES_CMAC, Number.RSA_PKCS_PSS, Number.RSA_PKCS_OAEP, *HMACS),
)
FLAGS: Final = MechanismFlag.SIGN | MechanismFlag.VERIFY | MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT
OFFERS: Final = {int(number): Offer(least=0, most=0, flags=FLAGS) for number in ALL}
_HASHES: Final = {int(padding.hash): PRIMITIVES[hash_alg] for hash_alg, padding in PADDINGS.items()}


def _behind(parameters: ctypes.Structure, name: str, length: int) -> bytes:
    """Return the content behind a pointer in a structure; ctypes would end it at its first NUL."""
    pointer = ctypes.c_void_p.from_buffer(parameters, getattr(type(parameters), name).offset)
    return ctypes.string_at(pointer, length) if pointer.value else b""


def _same(value: Any) -> Any:  # noqa: ANN401  a parameter of any kind
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaws:
    """How the token uses each parameter; by default correctly."""

    nonce: Callable[[bytes], bytes] = _same
    additional: Callable[[bytes], bytes] = _same
    tag: Callable[[int], int] = _same
    counter: Callable[[bytes], bytes] = _same
    iv: Callable[[bytes], bytes] = _same
    label: Callable[[bytes], bytes] = _same
    salt: Callable[[int], int] = _same
    mac: Callable[[bytes], bytes] = _same
    refuses: frozenset[ObjectClass] = frozenset()
    """Classes of which it takes no objects."""


class Flawed:
    """A session of that token."""

    def __init__(self, flaws: Flaws) -> None:
        self._flaws = flaws
        self._objects: dict[int, Template] = {}
        self._handles = itertools.count(1)
        self.calls = 0

    def create(self, template: Template) -> int:
        self.calls += 1
        if template[Attribute.CLASS] in self._flaws.refuses:
            raise CryptokiError("CreateObject", Return.TEMPLATE_INCONSISTENT)
        handle = next(self._handles)
        self._objects[handle] = template
        return handle

    def destroy(self, handle: int) -> None:
        self.calls += 1
        del self._objects[handle]

    def random(self, size: int) -> bytes:
        self.calls += 1
        return bytes(size)

    def encrypt(self, key: int, how: Mechanism, data: bytes, size: int) -> bytes:
        self.calls += 1
        if how.mechanism == Number.RSA_PKCS_OAEP:
            return self._oaep(key, OaepParameters.from_address(how.pParameter), data)
        value = self._value(key)
        if how.mechanism == Number.AES_GCM:
            return self._gcm(value, GcmParameters.from_address(how.pParameter), data)
        if how.mechanism == Number.AES_CBC_PAD:
            padder = PKCS7(128).padder()
            data = padder.update(data) + padder.finalize()
        mode: Any
        if how.mechanism == Number.AES_CTR:
            mode = CTR(self._flaws.counter(bytes(CtrParameters.from_address(how.pParameter).cb)))
        elif how.mechanism == Number.AES_ECB:
            mode = ECB()  # noqa: S305  one of the mechanisms
        else:
            kind = {Number.AES_CFB128: CFB, Number.AES_OFB: OFB}.get(how.mechanism, CBC)
            mode = kind(self._flaws.iv(ctypes.string_at(how.pParameter, how.ulParameterLen)))
        encryptor = Cipher(algorithms.AES(value), mode).encryptor()
        return encryptor.update(data) + encryptor.finalize()

    def sign(self, key: int, how: Mechanism, data: bytes, size: int) -> bytes:
        self.calls += 1
        value = self._value(key)
        context: Any
        if how.mechanism == Number.AES_CMAC:
            context = cmac.CMAC(algorithms.AES(value))
        else:
            context = hmac.HMAC(value, HMACS[how.mechanism])
        context.update(data)
        return self._flaws.mac(context.finalize())

    def verify(self, key: int, how: Mechanism, data: bytes, signature: bytes) -> None:
        self.calls += 1
        parameters = PssParameters.from_address(how.pParameter)
        hashed = _HASHES[parameters.hashAlg]
        pad = padding.PSS(padding.MGF1(hashed), self._flaws.salt(parameters.sLen))
        try:
            self._public(key).verify(signature, data, pad, Prehashed(hashed))
        except Exception as error:
            raise CryptokiError("Verify", Return.SIGNATURE_INVALID) from error

    def _gcm(self, value: bytes, parameters: GcmParameters, data: bytes) -> bytes:
        flaws = self._flaws
        nonce = flaws.nonce(_behind(parameters, "pIv", parameters.ulIvLen))
        more = _behind(parameters, "pAAD", parameters.ulAADLen)
        ciphertext, tag = AnyNonceGcm(value).encrypt(nonce, flaws.additional(more), data)
        return ciphertext + tag[: flaws.tag(parameters.ulTagBits // 8)]

    def _oaep(self, key: int, parameters: OaepParameters, data: bytes) -> bytes:
        hashed = _HASHES[parameters.hashAlg]
        label = _behind(parameters, "pSourceData", parameters.ulSourceDataLen)
        pad = padding.OAEP(padding.MGF1(hashed), hashed, self._flaws.label(label) or None)
        try:
            return self._public(key).encrypt(data, pad)
        except ValueError as error:
            raise CryptokiError("Encrypt", Return.DATA_LEN_RANGE) from error

    def _public(self, key: int) -> rsa.RSAPublicKey:
        template = self._objects[key]
        modulus, exponent = template[Attribute.MODULUS], template[Attribute.PUBLIC_EXPONENT]
        assert isinstance(modulus, bytes)
        assert isinstance(exponent, bytes)
        return rsa.RSAPublicNumbers(int.from_bytes(exponent), int.from_bytes(modulus)).public_key()

    def _value(self, key: int) -> bytes:
        value = self._objects[key][Attribute.VALUE]
        assert isinstance(value, bytes)
        return value
