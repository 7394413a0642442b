"""Signatures of digests.

A TPM chooses the salt length of RSA-PSS itself, and accepts signatures with any. TPMs of the present specification
choose as `pss_salt_length` says, older ones the longest that fits. So signatures of this scheme are verified here, by
the one rule that all providers have, and one made by the TPM is returned only if it obeys that rule.

Source: TCG part 2, 11.3 (TPMT_SIGNATURE); part 3, 20.1 and 20.2.
"""

from typing import Final

from cofferdam_contracts.psa.algorithm import AsymmetricSignature, SignatureScheme
from cofferdam_contracts.status import ServiceError
from cofferdam_providers.pyca import asym_sign as in_memory
from cofferdam_providers.pyca.errors import invalid_signature, not_supported
from cofferdam_providers.tpm import public
from cofferdam_providers.tpm.codes import Algorithm, Command, Handle
from cofferdam_providers.tpm.device import TpmDevice
from cofferdam_providers.tpm.errors import Code, CommandFailedError, MalformedAnswerError, TpmError
from cofferdam_providers.tpm.keys import TpmKey, require_pair
from cofferdam_providers.tpm.marshal import U16, U32, sized

_HASHCHECK: Final = 0x8024
_KEYS_SCHEME: Final = U16.pack(Algorithm.NULL)
_NO_TICKET: Final = U16.pack(_HASHCHECK) + U32.pack(Handle.NULL) + sized(b"")
"""TPMT_TK_HASHCHECK of a digest that the TPM did not compute: only restricted keys require one that it did."""
_NOT_GOOD: Final = frozenset({Code.SIGNATURE, Code.SIZE, Code.VALUE, Code.ECC_POINT, Code.NO_RESULT})
"""Codes of TPMs for an invalid signature; digest and key were checked before."""


def sign_hash(device: TpmDevice, key: TpmKey, algorithm: AsymmetricSignature, digest: bytes) -> bytes:
    """Return the signature of a digest in the format of PsaSignHash.

    Raises:
        ServiceError: The TPM refuses, or salts RSA-PSS differently (`PSA_ERROR_NOT_SUPPORTED`).
    """
    require_pair(key)
    public.scheme_of(algorithm)
    parameters = sized(digest) + _KEYS_SCHEME + _NO_TICKET
    reader = device.execute_with(Command.SIGN, key, parameters)
    reader.u16()
    reader.u16()
    if isinstance(key.part, public.RsaPart):
        signature = reader.sized()
        if algorithm.scheme is SignatureScheme.RSA_PSS:
            _check_salt(key, algorithm, digest, signature)
        return signature
    r, s = reader.sized(), reader.sized()
    if max(len(r), len(s)) > key.size:
        raise MalformedAnswerError("a signature that is too long")
    return r.rjust(key.size, b"\0") + s.rjust(key.size, b"\0")


def verify_hash(
    device: TpmDevice, key: TpmKey, algorithm: AsymmetricSignature, digest: bytes, signature: bytes
) -> None:
    """Reject an invalid signature.

    Raises:
        ServiceError: `PSA_ERROR_INVALID_SIGNATURE`, or the TPM refuses.
    """
    scheme, hashed = public.scheme_of(algorithm)
    if algorithm.scheme is SignatureScheme.RSA_PSS:
        in_memory.verify_hash(key.in_memory, algorithm, digest, signature)
        return
    values = _values(key, signature)
    parameters = sized(digest) + U16.pack(scheme) + U16.pack(hashed) + values
    try:
        device.execute_with(Command.VERIFY_SIGNATURE, key, parameters, authorized=False)
    except TpmError as error:
        if error.code in _NOT_GOOD or isinstance(error, CommandFailedError):
            raise invalid_signature("the signature is invalid") from error
        raise


def _check_salt(key: TpmKey, algorithm: AsymmetricSignature, digest: bytes, signature: bytes) -> None:
    try:
        in_memory.verify_hash(key.in_memory, algorithm, digest, signature)
    except ServiceError as error:
        raise not_supported("RSA-PSS in a TPM that makes its salts longer or shorter than the digest") from error


def _values(key: TpmKey, signature: bytes) -> bytes:
    """Return a signature's values in the TPM's form; a signature of another length cannot be valid."""
    if isinstance(key.part, public.RsaPart):
        if len(signature) != key.size:
            raise invalid_signature(f"a signature of {len(signature)} bytes")
        return sized(signature)
    if len(signature) != 2 * key.size:
        raise invalid_signature(f"a signature of {len(signature)} bytes")
    return sized(signature[: key.size]) + sized(signature[key.size :])
