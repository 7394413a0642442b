"""Names of providers, operations, keys and statuses in messages to people, and advice on errors."""

from typing import Final

from cofferdam_contracts.psa.algorithm import (
    Aead,
    Algorithm,
    AnyHash,
    AsymmetricEncryption,
    AsymmetricSignature,
    Cipher,
    Hash,
    HashAlgorithm,
    KeyAgreement,
    KeyDerivation,
    Mac,
    NoAlgorithm,
)
from cofferdam_contracts.psa.attributes import KeyAttributes
from cofferdam_contracts.registry import AuthType, Opcode
from cofferdam_contracts.status import Status

PROVIDER_NAMES: Final = {
    0: "Core provider",
    1: "Mbed Crypto provider",
    2: "PKCS #11 provider",
    3: "TPM provider",
    4: "Trusted Service provider",
    5: "CryptoAuthentication Library provider",
}
AUTHENTICATOR_NAMES: Final = {
    int(AuthType.DIRECT): "Direct authentication",
    int(AuthType.JWT): "JSON Web Tokens authentication",
    int(AuthType.UNIX_PEER_CREDENTIALS): "Unix Peer Credentials authentication",
    int(AuthType.JWT_SVID): "JWT SPIFFE Verifiable Identity Document authentication",
}
ADVICE: Final = {
    Status.PROVIDER_NOT_REGISTERED: "the service has no such provider; list-providers shows those it has",
    Status.PROVIDER_DOES_NOT_EXIST: "no provider has that number; list-providers shows those of the service",
    Status.RESPONSE_TOO_LARGE: "ask for less in one request",
    Status.AUTHENTICATION_ERROR: "the service rejected the identity of the caller; run as the user that owns the key",
    Status.AUTHENTICATOR_NOT_REGISTERED: "list-authenticators shows how the service identifies clients",
    Status.KEY_INFO_MANAGER_ERROR: "the key store of the service failed; the log of the service says why",
    Status.NOT_AUTHENTICATED: "list-authenticators shows how the service identifies clients",
    Status.BODY_SIZE_EXCEEDS_LIMIT: "send less in one request, or raise body_len_limit in the configuration",
    Status.ADMIN_OPERATION: "only administrators may do that; the configuration of the service names them",
    Status.DEPRECATED_PRIMITIVE: "choose a stronger kind of key, or allow deprecated ones in the configuration",
    Status.PSA_ERROR_GENERIC_ERROR: "the provider failed; the log of the service says why",
    Status.PSA_ERROR_NOT_PERMITTED: "the key does not permit this use; list-keys shows its algorithm",
    Status.PSA_ERROR_NOT_SUPPORTED: "the provider does not support this; list-opcodes shows what it supports",
    Status.PSA_ERROR_INVALID_ARGUMENT: "the provider rejected a value in the request",
    Status.PSA_ERROR_ALREADY_EXISTS: "a key of that name exists, or is being made or destroyed; choose another name",
    Status.PSA_ERROR_DOES_NOT_EXIST: "no key has that name; list-keys shows the keys, -p names another provider",
    Status.PSA_ERROR_INSUFFICIENT_MEMORY: "the service is busy or short of memory; try again",
    Status.PSA_ERROR_INSUFFICIENT_STORAGE: "the provider has no room for more keys; delete-key frees some",
    Status.PSA_ERROR_COMMUNICATION_FAILURE: "the provider cannot be reached; the log of the service says why",
    Status.PSA_ERROR_INVALID_SIGNATURE: "the signature does not match this key and this data",
    Status.PSA_ERROR_INVALID_PADDING: "the data was not encrypted for this key with the algorithm of the key",
}
"""What the user can do about a status."""
_OTHER_ADVICE: Final = "the log of the service may say why"


def printable(text: str) -> str:
    """Return a text without control sequences for the terminal; names of keys come from other clients."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def explain(status: int) -> str:
    """Return the name of a status, its number, and advice."""
    if not isinstance(status, Status):
        return f"status {status}: unknown to this version of the program"
    return f"{named(status)}: {ADVICE.get(status, _OTHER_ADVICE)}"


def named(status: Status) -> str:
    """Return the name of a status and its number."""
    return f"{status.name} ({status.value})"


def provider_name(number: int) -> str:
    """Return the name of a provider."""
    return PROVIDER_NAMES.get(number, f"provider {number}")


def opcode_name(number: int) -> str:
    """Return the name of an operation in the Parsec documentation."""
    try:
        return "".join(word.capitalize() for word in Opcode(number).name.split("_"))
    except ValueError:
        return "unknown"


def describe(attributes: KeyAttributes) -> str:
    """Return the kind of a key, its size and its permitted algorithm, as text."""
    family = f" {attributes.type.family.name}" if attributes.type.family is not None else ""
    kind = f"{attributes.type.kind.name}{family}"
    return f"{kind}, {attributes.bits} bits, permitted algorithm: {_algorithm(attributes.algorithm)}"


def _algorithm(algorithm: Algorithm) -> str:  # noqa: PLR0911  one return per variant
    match algorithm:
        case NoAlgorithm():
            return "none"
        case HashAlgorithm(hash_algorithm):
            return hash_algorithm.name
        case Mac(scheme, hash_algorithm, length):
            return _words(scheme.name, hash_algorithm, length)
        case Cipher(mode):
            return mode.name
        case Aead(scheme, length):
            return _words(scheme.name, None, length)
        case AsymmetricSignature(scheme, hash_algorithm):
            return _words(f"{scheme.name} signature", hash_algorithm, None)
        case AsymmetricEncryption(scheme, hash_algorithm):
            return _words(f"{scheme.name} encryption", hash_algorithm, None)
        case KeyDerivation(scheme, hash_algorithm):
            return _words(scheme.name, hash_algorithm, None)
        case KeyAgreement(raw, derivation):
            return raw.name if derivation is None else f"{raw.name}, {_algorithm(derivation)}"


def _words(name: str, hash_algorithm: Hash | AnyHash | None, length: int | None) -> str:
    with_hash = f" with {hash_algorithm.name}" if hash_algorithm is not None else ""
    return f"{name}{with_hash}" + (f", {length} bytes" if length is not None else "")
