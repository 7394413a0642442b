"""The messages of the Parsec operations, as `parsec.proto` defines them; a test compares every field.

Fields have their numbers by their order. What is written `UINT32` here is an enumeration there where a name of one
stands beside it.
"""

from typing import Final

from cofferdam_contracts.registry import Opcode
from cofferdam_contracts.wire.protobuf import BOOL, BYTES, STRING, UINT32, UINT64, Message, listing, oneof

EMPTY: Final = Message()

# Algorithms.

HASH: Final = UINT32
CIPHER: Final = UINT32
RAW_AGREEMENT: Final = UINT32
_AEAD_SCHEME: Final = UINT32
_WITH_HASH: Final = Message(hash_alg=HASH)

FULL_MAC: Final = oneof(hmac=_WITH_HASH, cbc_mac=EMPTY, cmac=EMPTY)
MAC: Final = oneof(full_length=FULL_MAC, truncated=Message(mac_alg=FULL_MAC, mac_length=UINT32))
AEAD: Final = oneof(
    aead_with_default_length_tag=_AEAD_SCHEME,
    aead_with_shortened_tag=Message(aead_alg=_AEAD_SCHEME, tag_length=UINT32),
)
_WITH_SIGN_HASH: Final = Message(hash_alg=oneof(any=EMPTY, specific=HASH))
SIGNATURE: Final = oneof(
    rsa_pkcs1v15_sign=_WITH_SIGN_HASH,
    rsa_pkcs1v15_sign_raw=EMPTY,
    rsa_pss=_WITH_SIGN_HASH,
    ecdsa=_WITH_SIGN_HASH,
    ecdsa_any=EMPTY,
    deterministic_ecdsa=_WITH_SIGN_HASH,
)
ENCRYPTION: Final = oneof(rsa_pkcs1v15_crypt=EMPTY, rsa_oaep=_WITH_HASH)
_DERIVATION: Final = oneof(hkdf=_WITH_HASH, tls12_prf=_WITH_HASH, tls12_psk_to_ms=_WITH_HASH)
_AGREEMENT: Final = oneof(raw=RAW_AGREEMENT, with_key_derivation=Message(ka_alg=RAW_AGREEMENT, kdf_alg=_DERIVATION))
ALGORITHM: Final = oneof(
    none=EMPTY,
    hash=HASH,
    mac=MAC,
    cipher=CIPHER,
    aead=AEAD,
    asymmetric_signature=SIGNATURE,
    asymmetric_encryption=ENCRYPTION,
    key_agreement=_AGREEMENT,
    key_derivation=_DERIVATION,
)

# Keys.

_CURVE: Final = Message(curve_family=UINT32)
_GROUP: Final = Message(group_family=UINT32)
KEY_TYPE: Final = oneof(
    raw_data=EMPTY,
    hmac=EMPTY,
    derive=EMPTY,
    aes=EMPTY,
    des=EMPTY,
    camellia=EMPTY,
    arc4=EMPTY,
    chacha20=EMPTY,
    rsa_public_key=EMPTY,
    rsa_key_pair=EMPTY,
    ecc_key_pair=_CURVE,
    ecc_public_key=_CURVE,
    dh_key_pair=_GROUP,
    dh_public_key=_GROUP,
)
USAGE_FLAGS: Final = Message(
    export=BOOL,
    copy=BOOL,
    cache=BOOL,
    encrypt=BOOL,
    decrypt=BOOL,
    sign_message=BOOL,
    verify_message=BOOL,
    sign_hash=BOOL,
    verify_hash=BOOL,
    derive=BOOL,
)
KEY_ATTRIBUTES: Final = Message(
    key_type=KEY_TYPE,
    key_bits=UINT32,
    key_policy=Message(key_usage_flags=USAGE_FLAGS, key_algorithm=ALGORITHM),
)

# Entries of listings.

PROVIDER_INFO: Final = Message(
    uuid=STRING,
    description=STRING,
    vendor=STRING,
    version_maj=UINT32,
    version_min=UINT32,
    version_rev=UINT32,
    id=UINT32,
)
AUTHENTICATOR_INFO: Final = Message(
    description=STRING, version_maj=UINT32, version_min=UINT32, version_rev=UINT32, id=UINT32
)
KEY_INFO: Final = Message(provider_id=UINT32, name=STRING, attributes=KEY_ATTRIBUTES)

# Operations.

_KEY: Final = Message(key_name=STRING)

OPERATIONS: Final = {
    Opcode.PING: EMPTY,
    Opcode.PSA_GENERATE_KEY: Message(key_name=STRING, attributes=KEY_ATTRIBUTES),
    Opcode.PSA_DESTROY_KEY: _KEY,
    Opcode.PSA_SIGN_HASH: Message(key_name=STRING, alg=SIGNATURE, hash=BYTES),
    Opcode.PSA_VERIFY_HASH: Message(key_name=STRING, alg=SIGNATURE, hash=BYTES, signature=BYTES),
    Opcode.PSA_IMPORT_KEY: Message(key_name=STRING, attributes=KEY_ATTRIBUTES, data=BYTES),
    Opcode.PSA_EXPORT_PUBLIC_KEY: _KEY,
    Opcode.LIST_PROVIDERS: EMPTY,
    Opcode.LIST_OPCODES: Message(provider_id=UINT32),
    Opcode.PSA_ASYMMETRIC_ENCRYPT: Message(key_name=STRING, alg=ENCRYPTION, plaintext=BYTES, salt=BYTES),
    Opcode.PSA_ASYMMETRIC_DECRYPT: Message(key_name=STRING, alg=ENCRYPTION, ciphertext=BYTES, salt=BYTES),
    Opcode.PSA_EXPORT_KEY: _KEY,
    Opcode.PSA_GENERATE_RANDOM: Message(size=UINT64),
    Opcode.LIST_AUTHENTICATORS: EMPTY,
    Opcode.PSA_HASH_COMPUTE: Message(alg=HASH, input=BYTES),
    Opcode.PSA_HASH_COMPARE: Message(alg=HASH, input=BYTES, hash=BYTES),
    Opcode.PSA_AEAD_ENCRYPT: Message(key_name=STRING, alg=AEAD, nonce=BYTES, additional_data=BYTES, plaintext=BYTES),
    Opcode.PSA_AEAD_DECRYPT: Message(key_name=STRING, alg=AEAD, nonce=BYTES, additional_data=BYTES, ciphertext=BYTES),
    Opcode.PSA_RAW_KEY_AGREEMENT: Message(alg=RAW_AGREEMENT, private_key_name=STRING, peer_key=BYTES),
    Opcode.PSA_CIPHER_ENCRYPT: Message(key_name=STRING, alg=CIPHER, plaintext=BYTES),
    Opcode.PSA_CIPHER_DECRYPT: Message(key_name=STRING, alg=CIPHER, ciphertext=BYTES),
    Opcode.PSA_MAC_COMPUTE: Message(key_name=STRING, alg=MAC, input=BYTES),
    Opcode.PSA_MAC_VERIFY: Message(key_name=STRING, alg=MAC, input=BYTES, mac=BYTES),
    Opcode.PSA_SIGN_MESSAGE: Message(key_name=STRING, alg=SIGNATURE, message=BYTES),
    Opcode.PSA_VERIFY_MESSAGE: Message(key_name=STRING, alg=SIGNATURE, message=BYTES, signature=BYTES),
    Opcode.LIST_KEYS: EMPTY,
    Opcode.LIST_CLIENTS: EMPTY,
    Opcode.DELETE_CLIENT: Message(client=STRING),
    Opcode.ATTEST_KEY: Message(
        attested_key_name=STRING,
        parameters=oneof(activate_credential=Message(credential_blob=BYTES, secret=BYTES)),
        attesting_key_name=STRING,
    ),
    Opcode.PREPARE_KEY_ATTESTATION: Message(
        parameters=oneof(activate_credential=Message(attested_key_name=STRING, attesting_key_name=STRING))
    ),
    Opcode.CAN_DO_CRYPTO: Message(check_type=UINT32, attributes=KEY_ATTRIBUTES),
}
"""The bodies of requests."""

RESULTS: Final = {
    Opcode.PING: Message(wire_protocol_version_maj=UINT32, wire_protocol_version_min=UINT32),
    Opcode.PSA_GENERATE_KEY: EMPTY,
    Opcode.PSA_DESTROY_KEY: EMPTY,
    Opcode.PSA_SIGN_HASH: Message(signature=BYTES),
    Opcode.PSA_VERIFY_HASH: EMPTY,
    Opcode.PSA_IMPORT_KEY: EMPTY,
    Opcode.PSA_EXPORT_PUBLIC_KEY: Message(data=BYTES),
    Opcode.LIST_PROVIDERS: listing(providers=PROVIDER_INFO),
    Opcode.LIST_OPCODES: listing(opcodes=UINT32),
    Opcode.PSA_ASYMMETRIC_ENCRYPT: Message(ciphertext=BYTES),
    Opcode.PSA_ASYMMETRIC_DECRYPT: Message(plaintext=BYTES),
    Opcode.PSA_EXPORT_KEY: Message(data=BYTES),
    Opcode.PSA_GENERATE_RANDOM: Message(random_bytes=BYTES),
    Opcode.LIST_AUTHENTICATORS: listing(authenticators=AUTHENTICATOR_INFO),
    Opcode.PSA_HASH_COMPUTE: Message(hash=BYTES),
    Opcode.PSA_HASH_COMPARE: EMPTY,
    Opcode.PSA_AEAD_ENCRYPT: Message(ciphertext=BYTES),
    Opcode.PSA_AEAD_DECRYPT: Message(plaintext=BYTES),
    Opcode.PSA_RAW_KEY_AGREEMENT: Message(shared_secret=BYTES),
    Opcode.PSA_CIPHER_ENCRYPT: Message(ciphertext=BYTES),
    Opcode.PSA_CIPHER_DECRYPT: Message(plaintext=BYTES),
    Opcode.PSA_MAC_COMPUTE: Message(mac=BYTES),
    Opcode.PSA_MAC_VERIFY: EMPTY,
    Opcode.PSA_SIGN_MESSAGE: Message(signature=BYTES),
    Opcode.PSA_VERIFY_MESSAGE: EMPTY,
    Opcode.LIST_KEYS: listing(keys=KEY_INFO),
    Opcode.LIST_CLIENTS: listing(clients=STRING),
    Opcode.DELETE_CLIENT: EMPTY,
    Opcode.ATTEST_KEY: Message(output=oneof(activate_credential=Message(credential=BYTES))),
    Opcode.PREPARE_KEY_ATTESTATION: Message(
        output=oneof(activate_credential=Message(name=BYTES, public=BYTES, attesting_key_pub=BYTES))
    ),
    Opcode.CAN_DO_CRYPTO: EMPTY,
}
"""The bodies of successful responses."""
