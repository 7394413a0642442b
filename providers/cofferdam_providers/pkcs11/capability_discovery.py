"""What the token can do: its own list of mechanisms, corrected by trials.

A list says that there is OAEP, but not with which hashes; SoftHSM has it with SHA-1 alone. So parameters are tried once
when the token is opened, with objects that live as long as the session. What could not be tried is taken from the list.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct, field
from pkcs11 import Mechanism as Number
from pkcs11 import MechanismFlag

from cofferdam_contracts.psa.algorithm import (
    HASH_LENGTH,
    Aead,
    Algorithm,
    AsymmetricEncryption,
    AsymmetricSignature,
    EncryptionScheme,
    Hash,
    KeyAgreement,
    Mac,
    NoAlgorithm,
    SignatureScheme,
)
from cofferdam_contracts.psa.attributes import ECC_KINDS, PUBLIC_KINDS, RSA_KINDS, KeyAttributes, KeyKind, Usage
from cofferdam_contracts.psa.policy import has_room, is_compatible, mac_is_long_enough, tag_length
from cofferdam_providers.pkcs11 import curves
from cofferdam_providers.pkcs11.mechanisms import DIGEST_INFO, PADDINGS, mechanism_of
from cofferdam_providers.pkcs11.trials import Gcm
from cofferdam_providers.pyca.errors import invalid_argument, not_supported
from cofferdam_providers.pyca.keys import AES_BITS, MAX_SECRET_BITS, check_rsa_size

GENERATORS: Final[Mapping[KeyKind, Number]] = {
    KeyKind.RSA_KEY_PAIR: Number.RSA_PKCS_KEY_PAIR_GEN,
    KeyKind.ECC_KEY_PAIR: Number.EC_KEY_PAIR_GEN,
    KeyKind.AES: Number.AES_KEY_GEN,
    KeyKind.HMAC: Number.GENERIC_SECRET_KEY_GEN,
}
IMPORTABLE: Final = frozenset({*GENERATORS, KeyKind.RSA_PUBLIC_KEY, KeyKind.ECC_PUBLIC_KEY})
_SIGN: Final = Usage.SIGN_HASH | Usage.SIGN_MESSAGE
_VERIFY: Final = Usage.VERIFY_HASH | Usage.VERIFY_MESSAGE
_PRIVATE_USES: Final = ((_SIGN, MechanismFlag.SIGN), (Usage.DECRYPT, MechanismFlag.DECRYPT))
_SECRET_USES: Final = (
    # A MAC is verified by computing it.
    (_SIGN | _VERIFY, MechanismFlag.SIGN),
    (Usage.ENCRYPT, MechanismFlag.ENCRYPT),
    (Usage.DECRYPT, MechanismFlag.DECRYPT),
)


class Offer(Struct, frozen=True, kw_only=True):
    """The token's description of a mechanism (CK_MECHANISM_INFO); sizes in the mechanism's unit, 0 for unknown."""

    least: int
    most: int
    flags: MechanismFlag


class TokenCapabilities(Struct, frozen=True, kw_only=True):
    """What a token can do."""

    offers: Mapping[int, Offer]
    refused: frozenset[tuple[Number, Hash]] = field(default_factory=frozenset)
    """Paddings that are on the list and failed in trials."""
    wrong: frozenset[Number] = field(default_factory=frozenset)
    """Mechanisms that give wrong results."""
    labels: bool = True
    """Whether OAEP accepts a label."""
    exact_salts: bool = True
    """Whether a PSS signature with a salt of another length than requested is rejected."""
    gcm: Gcm = field(default_factory=Gcm)
    """The lengths that AES-GCM may be used with."""
    public_in_software: bool = False
    """Whether operations with public keys are done here instead of in the token."""

    def check_generate(self, attributes: KeyAttributes) -> None:
        """Reject a key that the token cannot generate and use.

        Raises:
            ServiceError: `PSA_ERROR_NOT_SUPPORTED`, or `PSA_ERROR_INVALID_ARGUMENT` for an impossible size.
        """
        kind = attributes.type.kind
        self._check_type(attributes)
        if not attributes.bits:
            raise invalid_argument("a key of 0 bits")
        generator = self.offers.get(GENERATORS[kind]) if kind in GENERATORS else None
        if generator is None:
            raise not_supported(f"the token makes no keys of type {kind.name}")
        _check_range(generator, attributes.bits // 8 if kind is KeyKind.AES else attributes.bits, kind)
        self._check_policy(attributes)

    def check_import(self, attributes: KeyAttributes) -> None:
        """Reject a key that the token could not use; 0 bits means any size. Errors as for `check_generate`."""
        if attributes.type.kind not in IMPORTABLE:
            raise not_supported(f"keys of type {attributes.type.kind.name}")
        self._check_type(attributes)
        self._check_policy(attributes)

    def check_use(self, attributes: KeyAttributes) -> None:
        """Reject a key that could not be used as its policy says. Errors as for `check_generate`."""
        self.check_import(attributes)
        algorithm = attributes.algorithm
        if isinstance(algorithm, Aead) and tag_length(algorithm) not in self.gcm.tags:
            raise not_supported("a tag length that GCM or this token does not have")
        if isinstance(algorithm, Mac) and not mac_is_long_enough(algorithm):
            raise not_supported(f"a MAC of {algorithm.length} bytes")

    def in_software(self, number: Number, flag: MechanismFlag) -> bool:
        """Tell whether an operation with a public key is done here instead of in the token."""
        offer = self.offers.get(number)
        if number == Number.RSA_PKCS_PSS and not self.exact_salts:
            return True
        return self.public_in_software or offer is None or not offer.flags & flag

    def check_gcm(self, nonce: int, additional: int, tag: int) -> None:
        """Reject lengths in bytes with which the token gives wrong results.

        Raises:
            ServiceError: `PSA_ERROR_NOT_SUPPORTED`.
        """
        self.check_mechanism(Number.AES_GCM)
        if nonce not in self.gcm.nonces or additional not in self.gcm.additional or tag not in self.gcm.tags:
            raise not_supported(f"AES-GCM by this token with {nonce}, {additional} and {tag} bytes")

    def check_mechanism(self, number: int) -> None:
        """Reject a mechanism that gives wrong results; errors as for `check_gcm`."""
        if number in self.wrong:
            raise not_supported(f"{Number(number).name} by this token, which gives wrong results")

    def check_parameters(self, algorithm: Algorithm) -> None:
        """Reject parameters that the token does not support, though it has the mechanism."""
        number = mechanism_of(algorithm)
        match algorithm:
            case AsymmetricSignature(SignatureScheme.RSA_PSS, hash_alg) | AsymmetricEncryption(
                EncryptionScheme.RSA_OAEP, hash_alg
            ):
                if isinstance(hash_alg, Hash) and (hash_alg not in PADDINGS or (number, hash_alg) in self.refused):
                    raise not_supported(f"{algorithm.scheme.name} with {hash_alg.name}")
            case AsymmetricSignature(SignatureScheme.RSA_PKCS1V15, Hash() as hash_alg) if hash_alg not in DIGEST_INFO:
                raise not_supported(f"PKCS#1 v1.5 with {hash_alg.name}")
            case _:
                pass

    def _check_type(self, attributes: KeyAttributes) -> None:
        kind, bits = attributes.type.kind, attributes.bits
        if kind in ECC_KINDS:
            if attributes.type.family is not curves.FAMILY:
                raise not_supported("a curve of another family than SECP_R1")
            if bits and bits not in curves.OIDS:
                raise invalid_argument(f"SECP_R1 has no curve of {bits} bits")
        elif kind in RSA_KINDS:
            # A token may offer 16384 bits, which would block it, and everybody else, for hours.
            if bits:
                check_rsa_size(bits)
        elif kind is KeyKind.AES:
            if bits and bits not in AES_BITS:
                raise invalid_argument(f"an AES key of {bits} bits")
        elif kind is KeyKind.HMAC and (bits % 8 or bits > MAX_SECRET_BITS):
            raise invalid_argument(f"an HMAC key of {bits} bits")

    def _check_policy(self, attributes: KeyAttributes) -> None:
        algorithm = attributes.algorithm
        if isinstance(algorithm, NoAlgorithm):
            return
        number = mechanism_of(algorithm)
        if number is None or isinstance(algorithm, KeyAgreement) or not is_compatible(attributes.type, algorithm):
            raise not_supported("the policy's algorithm has no mechanism for such a key")
        if not has_room(attributes):
            raise not_supported(f"a padding that does not fit into {attributes.bits} bits")
        self.check_mechanism(number)
        self.check_parameters(algorithm)
        if attributes.type.kind in PUBLIC_KINDS:
            return
        offer = self.offers.get(number)
        if (
            isinstance(algorithm, Mac)
            and offer is not None
            and 0 < attributes.bits < _least_hmac_bits(algorithm, offer)
        ):
            raise not_supported(f"an HMAC key of {attributes.bits} bits, which is too short for the token")
        wanted = _PRIVATE_USES if attributes.type.kind in RSA_KINDS | ECC_KINDS else _SECRET_USES
        for usage, flag in wanted:
            if attributes.usage & usage and (offer is None or not offer.flags & flag) and _means(algorithm, flag):
                raise not_supported(f"the token does not offer {number!r} for {flag!r}")
        if offer is None:
            raise not_supported(f"the token does not offer {number!r}")


def _least_hmac_bits(algorithm: Mac, offer: Offer) -> int:
    """Return the minimal length of an HMAC key: none, or that of the digest, in bytes or in bits."""
    digest = HASH_LENGTH[algorithm.hash] if algorithm.hash is not None else 0
    return 8 * digest if offer.least in {digest, 8 * digest} else 0


def _means(algorithm: Algorithm, flag: MechanismFlag) -> bool:
    """Tell whether a usage flag concerns the algorithm: a signing key may carry the flag to decrypt."""
    signs = isinstance(algorithm, AsymmetricSignature | Mac)
    return signs == bool(flag & (MechanismFlag.SIGN | MechanismFlag.VERIFY))


def _check_range(offer: Offer, size: int, kind: KeyKind) -> None:
    if kind is KeyKind.HMAC:
        return  # tokens disagree about the unit
    if size < offer.least or (offer.most and size > offer.most):
        raise not_supported(f"the token supports {kind.name} keys of {offer.least} to {offer.most}, not {size}")
