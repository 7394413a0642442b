"""What keys can be used for here: the answers to CanDoCrypto, and the permitted policies of new keys."""

from typing import Final

from cofferdam_contracts.psa.algorithm import (
    Aead,
    AnyHash,
    AsymmetricEncryption,
    AsymmetricSignature,
    Cipher,
    CipherMode,
    EncryptionScheme,
    KeyAgreement,
    Mac,
    SignatureScheme,
)
from cofferdam_contracts.psa.attributes import PUBLIC_KINDS, EccFamily, KeyAttributes, KeyKind
from cofferdam_contracts.psa.policy import (
    TAG_LENGTHS,
    has_room,
    is_compatible,
    mac_is_long_enough,
    mac_length_fits,
    tag_length,
)
from cofferdam_providers.pyca.asym_encryption import OAEP_HASHES
from cofferdam_providers.pyca.asym_sign import (
    DETERMINISTIC_HASHES,
    ECDSA_HASHES,
    PKCS1V15_HASHES,
    PSS_HASHES,
)
from cofferdam_providers.pyca.errors import not_supported
from cofferdam_providers.software.aead import SCHEMES
from cofferdam_providers.software.cipher import MAKERS, XTS_BITS
from cofferdam_providers.software.mac import is_supported

_SIGNATURE_HASHES: Final = {
    SignatureScheme.RSA_PKCS1V15: PKCS1V15_HASHES,
    SignatureScheme.RSA_PSS: PSS_HASHES,
    SignatureScheme.ECDSA: ECDSA_HASHES,
    SignatureScheme.DETERMINISTIC_ECDSA: DETERMINISTIC_HASHES,
}


def check_use(attributes: KeyAttributes) -> None:
    """Reject a key whose policy permits nothing that can be done here; 0 bits means any size."""
    if not _works(attributes) or not _length_exists(attributes):
        raise not_supported("the policy's algorithm with such a key")
    if isinstance(attributes.algorithm, KeyAgreement) and attributes.type.kind in PUBLIC_KINDS:
        raise not_supported("key agreement with a public key as one's own key")


def check_policy(attributes: KeyAttributes) -> None:
    """Reject a new key whose policy permits an algorithm that is not supported here.

    Policies for which the protocol has no operation at all (derivation) and those that do not fit the type are
    accepted, as by the reference: such keys can be stored and exported.
    """
    algorithm = attributes.algorithm
    if not is_compatible(attributes.type, algorithm):
        return
    if isinstance(algorithm, KeyAgreement) and algorithm.derivation is not None:
        return
    operable = AsymmetricSignature | AsymmetricEncryption | Aead | Cipher | Mac | KeyAgreement
    if isinstance(algorithm, operable) and not _works(attributes):
        raise not_supported("the policy's algorithm with such a key")


def _works(attributes: KeyAttributes) -> bool:  # noqa: PLR0911  one return per variant reads best
    """Tell whether the algorithm is supported for keys of this type and size; 0 bits means any size."""
    kind, family = attributes.type.kind, attributes.type.family
    if not has_room(attributes):
        return False
    match attributes.algorithm:
        case AsymmetricSignature(scheme, hash_alg):
            if not is_compatible(attributes.type, attributes.algorithm) or family is EccFamily.MONTGOMERY:
                return False
            return hash_alg is None or isinstance(hash_alg, AnyHash) or hash_alg in _SIGNATURE_HASHES[scheme]
        case AsymmetricEncryption(scheme, hash_alg):
            return scheme is EncryptionScheme.RSA_PKCS1V15 or hash_alg in OAEP_HASHES
        case Aead(scheme):
            return (kind, scheme) in SCHEMES
        case Cipher(mode):
            return (kind, mode) in MAKERS and (mode is not CipherMode.XTS or attributes.bits in (0, XTS_BITS))
        case Mac() as mac:
            return is_supported(kind, mac)
        case KeyAgreement(_, derivation):
            return derivation is None and kind in {KeyKind.ECC_KEY_PAIR, KeyKind.ECC_PUBLIC_KEY}
        case _:
            return False


def _length_exists(attributes: KeyAttributes) -> bool:
    """Tell whether tags or MACs can be as long as the algorithm says."""
    match attributes.algorithm:
        case Aead(scheme) as aead:
            return tag_length(aead) in TAG_LENGTHS[scheme]
        case Mac() as mac:
            return mac_length_fits(attributes.type.kind, mac) and mac_is_long_enough(mac)
        case _:
            return True
