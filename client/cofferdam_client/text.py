"""Names of things for people, and what to do about an error."""

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
    Status.PROVIDER_NOT_REGISTERED: "the service has no such provider; list-providers shows which it has",
    Status.PROVIDER_DOES_NOT_EXIST: "there is no provider of that number; list-providers shows which there are",
    Status.RESPONSE_TOO_LARGE: "ask for less at once",
    Status.AUTHENTICATION_ERROR: "the service does not believe who this is; run as the user that owns the key",
    Status.AUTHENTICATOR_NOT_REGISTERED: "list-authenticators shows how the service wants to be told who this is",
    Status.KEY_INFO_MANAGER_ERROR: "the key store of the service failed; its log says why",
    Status.NOT_AUTHENTICATED: "list-authenticators shows how the service wants to be told who this is",
    Status.BODY_SIZE_EXCEEDS_LIMIT: "send less at once, or raise body_len_limit in the service's configuration",
    Status.ADMIN_OPERATION: "only an administrator may do that; the configuration of the service names them",
    Status.DEPRECATED_PRIMITIVE: "choose a stronger kind of key, or allow deprecated ones in the configuration",
    Status.PSA_ERROR_GENERIC_ERROR: "the provider failed; the log of the service says why",
    Status.PSA_ERROR_NOT_PERMITTED: "the key may not be used for that; list-keys shows what it is for",
    Status.PSA_ERROR_NOT_SUPPORTED: "the provider cannot do that; list-opcodes shows what it can, -p takes another",
    Status.PSA_ERROR_INVALID_ARGUMENT: "the provider does not accept a value that was given",
    Status.PSA_ERROR_ALREADY_EXISTS: "a key of that name is there already; choose another name, or delete-key it first",
    Status.PSA_ERROR_DOES_NOT_EXIST: "there is no key of that name; list-keys shows which there are, -p takes another "
    "provider",
    Status.PSA_ERROR_INSUFFICIENT_MEMORY: "the service is short of memory, or busy; try again",
    Status.PSA_ERROR_INSUFFICIENT_STORAGE: "the provider has no room for more keys; delete-key makes some",
    Status.PSA_ERROR_COMMUNICATION_FAILURE: "the provider cannot be reached; the log of the service says why",
    Status.PSA_ERROR_INVALID_SIGNATURE: "the signature does not belong to this key and these data",
    Status.PSA_ERROR_INVALID_PADDING: "the data were not encrypted for this key, or not by the algorithm of the key",
}
"""What to do about a status; the others say all that can be said."""
_OTHER_ADVICE: Final = "the log of the service may say why"


def printable(text: str) -> str:
    """Return a text without anything that a terminal would obey; names come from whoever made the key."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def explain(status: int) -> str:
    """Return the name of a status, its number, and what to do about it."""
    if not isinstance(status, Status):
        return f"status {status}: this version of the program does not know it"
    return f"{status.name} ({status.value}): {ADVICE.get(status, _OTHER_ADVICE)}"


def provider_name(number: int) -> str:
    """Return what a provider is called."""
    return PROVIDER_NAMES.get(number, f"provider {number}")


def opcode_name(number: int) -> str:
    """Return what the Parsec documentation calls an operation."""
    try:
        return "".join(word.capitalize() for word in Opcode(number).name.split("_"))
    except ValueError:
        return "unknown"


def describe(attributes: KeyAttributes) -> str:
    """Return the kind of a key, its size and what it is used with."""
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
