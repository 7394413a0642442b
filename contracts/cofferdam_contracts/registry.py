"""Numbers shared by clients, frontends, workers and the key store: operations, providers, authenticators.

Source: docs/reference/parsec-protocol.md, "Operations", "Authentication types" and "Providers".
"""

import enum
from typing import Final, NamedTuple


@enum.unique
class Opcode(enum.IntEnum):
    """Operations of the Parsec protocol; absent numbers are answered with `OPCODE_DOES_NOT_EXIST`."""

    PING = 0x01
    PSA_GENERATE_KEY = 0x02
    PSA_DESTROY_KEY = 0x03
    PSA_SIGN_HASH = 0x04
    PSA_VERIFY_HASH = 0x05
    PSA_IMPORT_KEY = 0x06
    PSA_EXPORT_PUBLIC_KEY = 0x07
    LIST_PROVIDERS = 0x08
    LIST_OPCODES = 0x09
    PSA_ASYMMETRIC_ENCRYPT = 0x0A
    PSA_ASYMMETRIC_DECRYPT = 0x0B
    PSA_EXPORT_KEY = 0x0C
    PSA_GENERATE_RANDOM = 0x0D
    LIST_AUTHENTICATORS = 0x0E
    PSA_HASH_COMPUTE = 0x0F
    PSA_HASH_COMPARE = 0x10
    PSA_AEAD_ENCRYPT = 0x11
    PSA_AEAD_DECRYPT = 0x12
    PSA_RAW_KEY_AGREEMENT = 0x13
    PSA_CIPHER_ENCRYPT = 0x14
    PSA_CIPHER_DECRYPT = 0x15
    PSA_MAC_COMPUTE = 0x16
    PSA_MAC_VERIFY = 0x17
    PSA_SIGN_MESSAGE = 0x18
    PSA_VERIFY_MESSAGE = 0x19
    LIST_KEYS = 0x1A
    LIST_CLIENTS = 0x1B
    DELETE_CLIENT = 0x1C
    ATTEST_KEY = 0x1E
    PREPARE_KEY_ATTESTATION = 0x1F
    CAN_DO_CRYPTO = 0x20


CORE_OPCODES: Final = frozenset(
    {
        Opcode.PING,
        Opcode.LIST_PROVIDERS,
        Opcode.LIST_OPCODES,
        Opcode.LIST_AUTHENTICATORS,
        Opcode.LIST_KEYS,
        Opcode.LIST_CLIENTS,
        Opcode.DELETE_CLIENT,
    }
)
ADMIN_OPCODES: Final = frozenset({Opcode.LIST_CLIENTS, Opcode.DELETE_CLIENT})
ANONYMOUS_OPCODES: Final = frozenset(
    {
        Opcode.PING,
        Opcode.LIST_PROVIDERS,
        Opcode.LIST_OPCODES,
        Opcode.LIST_AUTHENTICATORS,
        Opcode.PSA_GENERATE_RANDOM,
        Opcode.PSA_HASH_COMPUTE,
        Opcode.PSA_HASH_COMPARE,
    }
)
"""Operations that need no authenticated application."""


@enum.unique
class ProviderId(enum.IntEnum):
    """Providers; every number up to 5 is valid on the wire, whether or not such a provider is configured."""

    CORE = 0
    MBED_CRYPTO = 1
    PKCS11 = 2
    TPM = 3
    TRUSTED_SERVICE = 4
    CRYPTO_AUTH_LIB = 5


@enum.unique
class AuthType(enum.IntEnum):
    """Authentication types of a request; also the authenticator numbers of the key store."""

    NO_AUTH = 0
    DIRECT = 1
    JWT = 2
    UNIX_PEER_CREDENTIALS = 3
    JWT_SVID = 4


TOKEN_AUTHENTICATORS: Final = frozenset({AuthType.JWT, AuthType.JWT_SVID})
"""Authenticators whose proof is a token, which the identity process verifies."""
INTERNAL_AUTHENTICATOR: Final = 255
"""Authenticator number of the service's own keys in the key store; these are never listed."""


class ProviderDescription(NamedTuple):
    """How a provider describes itself to clients.

    The frontend answers ListOpcodes without a provider's code in its process, so the two sets of operations are listed
    here; a test compares their union, and `NEVER_LISTED`, with the provider's own table of operations.
    """

    id: ProviderId
    name: str
    uuid: str
    description: str
    vendor: str
    opcodes: frozenset[Opcode]
    """Operations that the reference's provider lists."""
    more_opcodes: frozenset[Opcode] = frozenset()
    """Operations of this provider that the reference's does not list; added with `list_all_opcodes`."""


class AuthenticatorDescription(NamedTuple):
    """How an authenticator describes itself to clients."""

    id: AuthType
    description: str


_EVERY_PROVIDER: Final = frozenset(
    {
        Opcode.PSA_GENERATE_KEY,
        Opcode.PSA_DESTROY_KEY,
        Opcode.PSA_SIGN_HASH,
        Opcode.PSA_VERIFY_HASH,
        Opcode.PSA_IMPORT_KEY,
        Opcode.PSA_EXPORT_PUBLIC_KEY,
        Opcode.PSA_ASYMMETRIC_ENCRYPT,
        Opcode.PSA_ASYMMETRIC_DECRYPT,
        Opcode.PSA_GENERATE_RANDOM,
        Opcode.CAN_DO_CRYPTO,
    }
)
_HASHES: Final = frozenset({Opcode.PSA_HASH_COMPUTE, Opcode.PSA_HASH_COMPARE})
_AEADS: Final = frozenset({Opcode.PSA_AEAD_ENCRYPT, Opcode.PSA_AEAD_DECRYPT})
_CIPHERS: Final = frozenset({Opcode.PSA_CIPHER_ENCRYPT, Opcode.PSA_CIPHER_DECRYPT})
_MESSAGES: Final = frozenset({Opcode.PSA_SIGN_MESSAGE, Opcode.PSA_VERIFY_MESSAGE})
_ATTESTATION: Final = frozenset({Opcode.ATTEST_KEY, Opcode.PREPARE_KEY_ATTESTATION})
NEVER_LISTED: Final = frozenset({Opcode.PSA_MAC_COMPUTE, Opcode.PSA_MAC_VERIFY})
"""Operations that no Parsec release has, so that its client libraries do not know the numbers (docs/adr/0015)."""

PROVIDERS: Final = {
    ProviderId.CORE: ProviderDescription(
        id=ProviderId.CORE,
        name="core-provider",
        uuid="47049873-2a43-4845-9d72-831eab668784",
        description="Software provider that implements only administrative (i.e. no cryptographic) operations",
        vendor="",
        opcodes=CORE_OPCODES - ADMIN_OPCODES,
    ),
    ProviderId.MBED_CRYPTO: ProviderDescription(
        id=ProviderId.MBED_CRYPTO,
        name="mbed-crypto-provider",
        uuid="1c1139dc-ad7c-47dc-ad6b-db6fdb466552",
        description=(
            "User space software provider, based on Mbed Crypto - the reference implementation of the PSA crypto API"
        ),
        vendor="Arm",
        opcodes=_EVERY_PROVIDER | _HASHES | _AEADS | {Opcode.PSA_EXPORT_KEY, Opcode.PSA_RAW_KEY_AGREEMENT},
        more_opcodes=_MESSAGES | _CIPHERS,
    ),
    ProviderId.PKCS11: ProviderDescription(
        id=ProviderId.PKCS11,
        name="pkcs11-provider",
        uuid="30e39502-eba6-4d60-a4af-c518b7f5e38f",
        description="PKCS #11 provider, interfacing with a PKCS #11 library.",
        vendor="OASIS Standard.",
        opcodes=_EVERY_PROVIDER,
        more_opcodes=_MESSAGES | _CIPHERS | _AEADS | {Opcode.PSA_EXPORT_KEY},
    ),
    ProviderId.TPM: ProviderDescription(
        id=ProviderId.TPM,
        name="tpm-provider",
        uuid="1e4954a4-ff21-46d3-ab0c-661eeb667e1d",
        description=(
            "TPM provider, interfacing with a library implementing the TCG TSS 2.0 Enhanced System API specification."
        ),
        vendor="Trusted Computing Group (TCG)",
        opcodes=_EVERY_PROVIDER | _ATTESTATION,
        more_opcodes=_MESSAGES,
    ),
}
"""Descriptions of the providers that this service has, by number."""

AUTHENTICATORS: Final = {
    AuthType.DIRECT: AuthenticatorDescription(
        id=AuthType.DIRECT,
        description=(
            "Directly parses the authentication field as a UTF-8 string and uses that as the application identity. "
            "Should be used for testing only."
        ),
    ),
    AuthType.UNIX_PEER_CREDENTIALS: AuthenticatorDescription(
        id=AuthType.UNIX_PEER_CREDENTIALS,
        description=(
            "Uses Unix peer credentials to authenticate the client. Verifies that the self-declared Unix user "
            "identifier (UID) in the request's authentication header matches that which is found from the peer "
            "credentials."
        ),
    ),
    AuthType.JWT: AuthenticatorDescription(
        id=AuthType.JWT,
        description="Verifies a JSON Web Token of the configured issuer and takes the application identity from it.",
    ),
    AuthType.JWT_SVID: AuthenticatorDescription(
        id=AuthType.JWT_SVID,
        description="Verifies a SPIFFE JWT-SVID and takes its SPIFFE ID as the application identity.",
    ),
}
"""Descriptions of the authenticators that this service has, by number."""
