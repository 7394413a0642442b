"""Public areas: the templates of the reference, bit for bit, and the areas that the TPM made from them.

The TSS writes and reads the structures. Of a key in the reference's form only the public part is stored, so the rest of
its public area follows from the key's attributes. A single wrong bit changes the Name, and the TPM refuses to load the
key.

Source: docs/reference/parsec-behaviour.md, "Templates of the TPM" and "Attestation by the TPM"; TCG part 2, 12; TCG,
"EK Credential Profile", template L-1.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from msgspec import Struct
from tpm2_pytss import TPM2B_PUBLIC, TPMT_PUBLIC, TSS2_Exception

from cofferdam_contracts.identity import Application
from cofferdam_contracts.psa.algorithm import (
    Algorithm as PsaAlgorithm,
)
from cofferdam_contracts.psa.algorithm import (
    AsymmetricEncryption,
    AsymmetricSignature,
    Hash,
    NoAlgorithm,
    SignatureScheme,
)
from cofferdam_contracts.psa.attributes import ECC_KINDS, RSA_KINDS, EccFamily, KeyAttributes, KeyKind, KeyType
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.pyca.der import write_integers
from cofferdam_providers.pyca.errors import invalid_argument, not_supported
from cofferdam_providers.tpm.codes import EXPONENT, Algorithm
from cofferdam_providers.tpm.errors import MalformedAnswerError
from cofferdam_providers.tpm.marshal import U16, U32, sized

RSA_SIZES: Final = (1024, 2048, 3072, 4096)
CURVES: Final[Mapping[int, int]] = {192: 1, 224: 2, 256: 3, 384: 4, 521: 5}
"""TPM_ECC_NIST of each size of the family SecpR1 (TCG part 2, 6.4)."""
HASHES: Final[Mapping[Hash, Algorithm]] = {
    Hash.SHA_1: Algorithm.SHA1,
    Hash.SHA_256: Algorithm.SHA256,
    Hash.SHA_384: Algorithm.SHA384,
    Hash.SHA_512: Algorithm.SHA512,
    Hash.SHA3_256: Algorithm.SHA3_256,
    Hash.SHA3_384: Algorithm.SHA3_384,
    Hash.SHA3_512: Algorithm.SHA3_512,
}
SCHEMES: Final[Mapping[SignatureScheme, Algorithm]] = {
    SignatureScheme.RSA_PKCS1V15: Algorithm.RSASSA,
    SignatureScheme.RSA_PSS: Algorithm.RSAPSS,
    SignatureScheme.ECDSA: Algorithm.ECDSA,
}
_RSA_SCHEMES: Final = frozenset({SignatureScheme.RSA_PKCS1V15, SignatureScheme.RSA_PSS})

_STORAGE: Final = 0x00030072
"""TPMA_OBJECT of a storage parent: fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, restricted, decrypt."""
_SIGNS: Final = 0x00040072
_SIGNS_AND_DECRYPTS: Final = 0x00060072
_PUBLIC_SIGNS: Final = 0x00040040
_PUBLIC_DECRYPTS: Final = 0x00020040
"""TPMA_OBJECT of a key of which only the public part is loaded: nothing that needs the private part."""
_NO_DICTIONARY_ATTACK: Final = 0x00000400
_ENDORSEMENT: Final = 0x000300B2
"""TPMA_OBJECT of the endorsement key: as of a parent, but adminWithPolicy instead of userWithAuth."""
_ENDORSEMENT_POLICY: Final = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")
"""PolicyA: TPM2_PolicySecret of the endorsement hierarchy."""
_STORAGE_BITS: Final = 2048
_NIST_P256: Final = 3


class RsaPart(Struct, frozen=True):
    """The public part of an RSA key."""

    modulus: bytes


class EccPart(Struct, frozen=True):
    """The public part of a key on a curve."""

    x: bytes
    y: bytes


Part = RsaPart | EccPart


def primary(aes_bits: int) -> bytes:
    """Return the template of the reference's storage root key."""
    area = _rsa(_STORAGE, _STORAGE_BITS, b"")
    _storage_cipher(area.parameters.rsaDetail.symmetric, aes_bits)
    return bytes(area.marshal())


def application_parent(aes_bits: int, application: Application) -> bytes:
    """Return the template of one application's storage parent; only `unique` differs."""
    name = U32.pack(application.authenticator) + application.name.encode()
    digest = sha256(b"cofferdam storage parent 1\0" + name).digest()
    area = _area(Algorithm.ECC, _STORAGE | _NO_DICTIONARY_ATTACK)
    details = area.parameters.eccDetail
    _storage_cipher(details.symmetric, aes_bits)
    details.scheme.scheme = Algorithm.NULL
    details.curveID = _NIST_P256
    details.kdf.scheme = Algorithm.NULL
    _fill(area.unique.ecc.x, digest)
    return bytes(area.marshal())


def endorsement_key() -> bytes:
    """Return the default template of an RSA endorsement key."""
    area = _rsa(_ENDORSEMENT, _STORAGE_BITS, bytes(_STORAGE_BITS // 8))
    _storage_cipher(area.parameters.rsaDetail.symmetric, 128)
    _fill(area.authPolicy, _ENDORSEMENT_POLICY)
    return bytes(area.marshal())


def key(attributes: KeyAttributes, part: Part | None = None) -> bytes:
    """Return the template of a new key, or the public area of the key with this public part.

    Raises:
        ServiceError: No such key exists here (`PSA_ERROR_NOT_SUPPORTED`, `PSA_ERROR_INVALID_ARGUMENT`).
    """
    is_rsa = attributes.type.kind in RSA_KINDS
    if part is not None and isinstance(part, RsaPart) is not is_rsa:
        raise ServiceError(Status.PSA_ERROR_DATA_CORRUPT, "a public part of another type than the key")
    area = _of_key(attributes, pair=attributes.type.kind in (KeyKind.RSA_KEY_PAIR, KeyKind.ECC_KEY_PAIR), part=part)
    return bytes(area.marshal())


def name_of(area: bytes) -> bytes:
    """Return the Name of an object with this public area, whose nameAlg is SHA-256 (TCG part 1, 16)."""
    return U16.pack(Algorithm.SHA256) + sha256(area).digest()


def part_of(area: bytes) -> Part:
    """Return the public part of a public area.

    Raises:
        MalformedAnswerError: It is malformed.
    """
    try:
        public, _ = TPM2B_PUBLIC.unmarshal(sized(area))
    except TSS2_Exception as error:
        raise MalformedAnswerError(f"a public area: {error}") from error
    if public.publicArea.type == Algorithm.RSA:
        return RsaPart(bytes(public.publicArea.unique.rsa.buffer))
    if public.publicArea.type == Algorithm.ECC:
        point = public.publicArea.unique.ecc
        return EccPart(bytes(point.x.buffer), bytes(point.y.buffer))
    raise MalformedAnswerError("a public area of a key of another type")


def modulus_of(area: bytes) -> bytes:
    """Return the modulus in the public area of an RSA key.

    Raises:
        MalformedAnswerError: It is malformed.
    """
    part = part_of(area)
    if not isinstance(part, RsaPart):
        raise MalformedAnswerError("a key that is not of type RSA")
    return part.modulus


def exported(part: Part, size: int) -> bytes:
    """Return a public part in the format of PsaExportPublicKey; a coordinate has `size` bytes."""
    if isinstance(part, RsaPart):
        return write_integers(int.from_bytes(part.modulus, "big"), EXPONENT)
    return b"\4" + part.x.rjust(size, b"\0") + part.y.rjust(size, b"\0")


def type_of(part: Part) -> KeyType:
    """Return the key type that is only this public part."""
    if isinstance(part, RsaPart):
        return KeyType(KeyKind.RSA_PUBLIC_KEY)
    return KeyType(KeyKind.ECC_PUBLIC_KEY, EccFamily.SECP_R1)


def hash_of(hash_alg: object) -> Algorithm:
    """Return the TPM's number of a hash.

    Raises:
        ServiceError: `PSA_ERROR_NOT_SUPPORTED` for a hash that no TPM has, and for any hash.
    """
    found = HASHES.get(hash_alg) if isinstance(hash_alg, Hash) else None
    if found is None:
        raise not_supported(f"the hash {getattr(hash_alg, 'name', 'any')} in a TPM")
    return found


def scheme_of(algorithm: PsaAlgorithm) -> tuple[Algorithm, Algorithm]:
    """Return the TPM's signature scheme and hash for an algorithm.

    Raises:
        ServiceError: `PSA_ERROR_NOT_SUPPORTED` for any other algorithm.
    """
    if not isinstance(algorithm, AsymmetricSignature) or algorithm.scheme not in SCHEMES:
        raise not_supported("this signature in a TPM")
    return SCHEMES[algorithm.scheme], hash_of(algorithm.hash)


def _of_key(attributes: KeyAttributes, *, pair: bool, part: Part | None) -> Any:  # noqa: ANN401  the TSS has no types
    if attributes.type.kind in RSA_KINDS:
        return _of_rsa(attributes, pair=pair, modulus=part.modulus if isinstance(part, RsaPart) else b"")
    if attributes.type.kind in ECC_KINDS:
        return _of_curve(attributes, pair=pair, part=part)
    raise not_supported(f"keys of type {attributes.type.kind.name} in a TPM")


def _of_rsa(attributes: KeyAttributes, *, pair: bool, modulus: bytes) -> Any:  # noqa: ANN401
    algorithm, bits = attributes.algorithm, attributes.bits
    if bits not in RSA_SIZES:
        raise not_supported(f"an RSA key of {bits} bits in a TPM; possible are {', '.join(map(str, RSA_SIZES))}")
    if isinstance(algorithm, AsymmetricEncryption):
        if algorithm.hash is not None:
            hash_of(algorithm.hash)
        return _rsa(_SIGNS_AND_DECRYPTS if pair else _PUBLIC_DECRYPTS, bits, modulus)
    if not _is_of(algorithm, _RSA_SCHEMES):
        raise _no_such_policy(algorithm)
    area = _rsa(_SIGNS if pair else _PUBLIC_SIGNS, bits, modulus)
    _signature(area.parameters.rsaDetail.scheme, algorithm)
    return area


def _of_curve(attributes: KeyAttributes, *, pair: bool, part: Part | None) -> Any:  # noqa: ANN401
    if attributes.type.family is not EccFamily.SECP_R1 or attributes.bits not in CURVES:
        raise not_supported(f"this curve of {attributes.bits} bits in a TPM")
    if not _is_of(attributes.algorithm, frozenset(SignatureScheme) - _RSA_SCHEMES):
        raise _no_such_policy(attributes.algorithm)
    area = _area(Algorithm.ECC, _SIGNS if pair else _PUBLIC_SIGNS)
    details = area.parameters.eccDetail
    details.symmetric.algorithm = Algorithm.NULL
    details.curveID = CURVES[attributes.bits]
    details.kdf.scheme = Algorithm.NULL
    _signature(details.scheme, attributes.algorithm)
    if isinstance(part, EccPart):
        _fill(area.unique.ecc.x, part.x)
        _fill(area.unique.ecc.y, part.y)
    return area


def _is_of(algorithm: PsaAlgorithm, schemes: frozenset[SignatureScheme]) -> bool:
    """Tell whether a policy permits one of these signatures, or nothing."""
    return isinstance(algorithm, NoAlgorithm) or (
        isinstance(algorithm, AsymmetricSignature) and algorithm.scheme in schemes
    )


def _no_such_policy(algorithm: PsaAlgorithm) -> Exception:
    if isinstance(algorithm, AsymmetricSignature):
        return not_supported(f"{algorithm.scheme.name} in a TPM, for this type of key")
    return invalid_argument("a policy that permits nothing a TPM can do with such a key")


def _area(kind: Algorithm, attributes: int) -> Any:  # noqa: ANN401
    area = TPMT_PUBLIC()
    area.type = kind
    area.nameAlg = Algorithm.SHA256
    area.objectAttributes = attributes
    return area


def _rsa(attributes: int, bits: int, modulus: bytes) -> Any:  # noqa: ANN401
    area = _area(Algorithm.RSA, attributes)
    details = area.parameters.rsaDetail
    details.symmetric.algorithm = Algorithm.NULL
    details.scheme.scheme = Algorithm.NULL
    details.keyBits = bits
    details.exponent = 0
    _fill(area.unique.rsa, modulus)
    return area


def _storage_cipher(symmetric: Any, bits: int) -> None:  # noqa: ANN401
    symmetric.algorithm = Algorithm.AES
    symmetric.keyBits.aes = bits
    symmetric.mode.aes = Algorithm.CFB


def _signature(scheme: Any, algorithm: PsaAlgorithm) -> None:  # noqa: ANN401
    if isinstance(algorithm, NoAlgorithm):
        # A TPM has no key that can do nothing: without its authorisation value, which only this worker knows, and by
        # the policy in its row, it is one.
        scheme.scheme = Algorithm.NULL
        return
    number, hashed = scheme_of(algorithm)
    scheme.scheme = number
    scheme.details.anySig.hashAlg = hashed


def _fill(buffer: Any, content: bytes) -> None:  # noqa: ANN401
    try:
        buffer.buffer = content
    except IndexError as error:
        raise ServiceError(Status.PSA_ERROR_DATA_CORRUPT, "a public part that is too long for its key") from error
