"""Signatures of digests.

Source: TCG part 2, 11.3 (TPMT_SIGNATURE); part 3, 20.1 and 20.2.
"""

from typing import Final

from cofferdam_contracts.psa.algorithm import AsymmetricSignature
from cofferdam_providers.pyca.errors import invalid_signature
from cofferdam_providers.tpm import public
from cofferdam_providers.tpm.codes import Algorithm, Command, Handle
from cofferdam_providers.tpm.device import Device
from cofferdam_providers.tpm.errors import Code, MalformedAnswerError, TpmError
from cofferdam_providers.tpm.keys import TpmKey, require_pair
from cofferdam_providers.tpm.marshal import U16, U32, Reader, sized

_HASHCHECK: Final = 0x8024
_KEYS_SCHEME: Final = U16.pack(Algorithm.NULL)
_NO_TICKET: Final = U16.pack(_HASHCHECK) + U32.pack(Handle.NULL) + sized(b"")
"""TPMT_TK_HASHCHECK of a digest that the TPM did not make: only restricted keys want one that it did."""
_NOT_GOOD: Final = frozenset({Code.SIGNATURE, Code.SIZE, Code.VALUE, Code.ECC_POINT})
"""Answers of TPMs to a signature that is not good; digest and key were looked at before."""


def sign_hash(device: Device, key: TpmKey, algorithm: AsymmetricSignature, digest: bytes) -> bytes:
    """Return the signature of a digest in the format of PsaSignHash.

    Raises:
        ServiceError: The TPM refuses.
    """
    require_pair(key)
    public.scheme_of(algorithm)
    parameters = sized(digest) + _KEYS_SCHEME + _NO_TICKET
    reader = Reader(device.do(lambda: device.run(Command.SIGN, key, parameters)))
    reader.u16()
    reader.u16()
    if isinstance(key.part, public.RsaPart):
        return reader.sized()
    r, s = reader.sized(), reader.sized()
    if max(len(r), len(s)) > key.size:
        raise MalformedAnswerError("a signature that is too long")
    return r.rjust(key.size, b"\0") + s.rjust(key.size, b"\0")


def verify_hash(device: Device, key: TpmKey, algorithm: AsymmetricSignature, digest: bytes, signature: bytes) -> None:
    """Refuse a signature that is not good.

    Raises:
        ServiceError: `PSA_ERROR_INVALID_SIGNATURE`, or the TPM refuses.
    """
    scheme, hashed = public.scheme_of(algorithm)
    values = _values(key, signature)
    parameters = sized(digest) + U16.pack(scheme) + U16.pack(hashed) + values
    try:
        device.do(lambda: device.run(Command.VERIFY_SIGNATURE, key, parameters, authorized=False))
    except TpmError as error:
        if error.code in _NOT_GOOD:
            raise invalid_signature("the signature is not good") from error
        raise


def _values(key: TpmKey, signature: bytes) -> bytes:
    """Return the values of a signature as the TPM takes them; it cannot be good when it is longer or shorter."""
    if isinstance(key.part, public.RsaPart):
        if len(signature) != key.size:
            raise invalid_signature(f"a signature of {len(signature)} bytes")
        return sized(signature)
    if len(signature) != 2 * key.size:
        raise invalid_signature(f"a signature of {len(signature)} bytes")
    return sized(signature[: key.size]) + sized(signature[key.size :])
