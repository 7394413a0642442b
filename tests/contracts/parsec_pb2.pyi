from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Algorithm(_message.Message):
    __slots__ = ("none", "hash", "mac", "cipher", "aead", "asymmetric_signature", "asymmetric_encryption", "key_agreement", "key_derivation")
    class Hash(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        HASH_NONE: _ClassVar[Algorithm.Hash]
        MD2: _ClassVar[Algorithm.Hash]
        MD4: _ClassVar[Algorithm.Hash]
        MD5: _ClassVar[Algorithm.Hash]
        RIPEMD160: _ClassVar[Algorithm.Hash]
        SHA_1: _ClassVar[Algorithm.Hash]
        SHA_224: _ClassVar[Algorithm.Hash]
        SHA_256: _ClassVar[Algorithm.Hash]
        SHA_384: _ClassVar[Algorithm.Hash]
        SHA_512: _ClassVar[Algorithm.Hash]
        SHA_512_224: _ClassVar[Algorithm.Hash]
        SHA_512_256: _ClassVar[Algorithm.Hash]
        SHA3_224: _ClassVar[Algorithm.Hash]
        SHA3_256: _ClassVar[Algorithm.Hash]
        SHA3_384: _ClassVar[Algorithm.Hash]
        SHA3_512: _ClassVar[Algorithm.Hash]
    HASH_NONE: Algorithm.Hash
    MD2: Algorithm.Hash
    MD4: Algorithm.Hash
    MD5: Algorithm.Hash
    RIPEMD160: Algorithm.Hash
    SHA_1: Algorithm.Hash
    SHA_224: Algorithm.Hash
    SHA_256: Algorithm.Hash
    SHA_384: Algorithm.Hash
    SHA_512: Algorithm.Hash
    SHA_512_224: Algorithm.Hash
    SHA_512_256: Algorithm.Hash
    SHA3_224: Algorithm.Hash
    SHA3_256: Algorithm.Hash
    SHA3_384: Algorithm.Hash
    SHA3_512: Algorithm.Hash
    class Cipher(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CIPHER_NONE: _ClassVar[Algorithm.Cipher]
        STREAM_CIPHER: _ClassVar[Algorithm.Cipher]
        CTR: _ClassVar[Algorithm.Cipher]
        CFB: _ClassVar[Algorithm.Cipher]
        OFB: _ClassVar[Algorithm.Cipher]
        XTS: _ClassVar[Algorithm.Cipher]
        ECB_NO_PADDING: _ClassVar[Algorithm.Cipher]
        CBC_NO_PADDING: _ClassVar[Algorithm.Cipher]
        CBC_PKCS7: _ClassVar[Algorithm.Cipher]
    CIPHER_NONE: Algorithm.Cipher
    STREAM_CIPHER: Algorithm.Cipher
    CTR: Algorithm.Cipher
    CFB: Algorithm.Cipher
    OFB: Algorithm.Cipher
    XTS: Algorithm.Cipher
    ECB_NO_PADDING: Algorithm.Cipher
    CBC_NO_PADDING: Algorithm.Cipher
    CBC_PKCS7: Algorithm.Cipher
    class NoAlgorithm(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    class Mac(_message.Message):
        __slots__ = ("full_length", "truncated")
        class FullLength(_message.Message):
            __slots__ = ("hmac", "cbc_mac", "cmac")
            class Hmac(_message.Message):
                __slots__ = ("hash_alg",)
                HASH_ALG_FIELD_NUMBER: _ClassVar[int]
                hash_alg: Algorithm.Hash
                def __init__(self, hash_alg: _Optional[_Union[Algorithm.Hash, str]] = ...) -> None: ...
            class CbcMac(_message.Message):
                __slots__ = ()
                def __init__(self) -> None: ...
            class Cmac(_message.Message):
                __slots__ = ()
                def __init__(self) -> None: ...
            HMAC_FIELD_NUMBER: _ClassVar[int]
            CBC_MAC_FIELD_NUMBER: _ClassVar[int]
            CMAC_FIELD_NUMBER: _ClassVar[int]
            hmac: Algorithm.Mac.FullLength.Hmac
            cbc_mac: Algorithm.Mac.FullLength.CbcMac
            cmac: Algorithm.Mac.FullLength.Cmac
            def __init__(self, hmac: _Optional[_Union[Algorithm.Mac.FullLength.Hmac, _Mapping]] = ..., cbc_mac: _Optional[_Union[Algorithm.Mac.FullLength.CbcMac, _Mapping]] = ..., cmac: _Optional[_Union[Algorithm.Mac.FullLength.Cmac, _Mapping]] = ...) -> None: ...
        class Truncated(_message.Message):
            __slots__ = ("mac_alg", "mac_length")
            MAC_ALG_FIELD_NUMBER: _ClassVar[int]
            MAC_LENGTH_FIELD_NUMBER: _ClassVar[int]
            mac_alg: Algorithm.Mac.FullLength
            mac_length: int
            def __init__(self, mac_alg: _Optional[_Union[Algorithm.Mac.FullLength, _Mapping]] = ..., mac_length: _Optional[int] = ...) -> None: ...
        FULL_LENGTH_FIELD_NUMBER: _ClassVar[int]
        TRUNCATED_FIELD_NUMBER: _ClassVar[int]
        full_length: Algorithm.Mac.FullLength
        truncated: Algorithm.Mac.Truncated
        def __init__(self, full_length: _Optional[_Union[Algorithm.Mac.FullLength, _Mapping]] = ..., truncated: _Optional[_Union[Algorithm.Mac.Truncated, _Mapping]] = ...) -> None: ...
    class Aead(_message.Message):
        __slots__ = ("aead_with_default_length_tag", "aead_with_shortened_tag")
        class AeadWithDefaultLengthTag(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
            __slots__ = ()
            AEAD_WITH_DEFAULT_LENGTH_TAG_NONE: _ClassVar[Algorithm.Aead.AeadWithDefaultLengthTag]
            CCM: _ClassVar[Algorithm.Aead.AeadWithDefaultLengthTag]
            GCM: _ClassVar[Algorithm.Aead.AeadWithDefaultLengthTag]
            CHACHA20_POLY1305: _ClassVar[Algorithm.Aead.AeadWithDefaultLengthTag]
        AEAD_WITH_DEFAULT_LENGTH_TAG_NONE: Algorithm.Aead.AeadWithDefaultLengthTag
        CCM: Algorithm.Aead.AeadWithDefaultLengthTag
        GCM: Algorithm.Aead.AeadWithDefaultLengthTag
        CHACHA20_POLY1305: Algorithm.Aead.AeadWithDefaultLengthTag
        class AeadWithShortenedTag(_message.Message):
            __slots__ = ("aead_alg", "tag_length")
            AEAD_ALG_FIELD_NUMBER: _ClassVar[int]
            TAG_LENGTH_FIELD_NUMBER: _ClassVar[int]
            aead_alg: Algorithm.Aead.AeadWithDefaultLengthTag
            tag_length: int
            def __init__(self, aead_alg: _Optional[_Union[Algorithm.Aead.AeadWithDefaultLengthTag, str]] = ..., tag_length: _Optional[int] = ...) -> None: ...
        AEAD_WITH_DEFAULT_LENGTH_TAG_FIELD_NUMBER: _ClassVar[int]
        AEAD_WITH_SHORTENED_TAG_FIELD_NUMBER: _ClassVar[int]
        aead_with_default_length_tag: Algorithm.Aead.AeadWithDefaultLengthTag
        aead_with_shortened_tag: Algorithm.Aead.AeadWithShortenedTag
        def __init__(self, aead_with_default_length_tag: _Optional[_Union[Algorithm.Aead.AeadWithDefaultLengthTag, str]] = ..., aead_with_shortened_tag: _Optional[_Union[Algorithm.Aead.AeadWithShortenedTag, _Mapping]] = ...) -> None: ...
    class AsymmetricSignature(_message.Message):
        __slots__ = ("rsa_pkcs1v15_sign", "rsa_pkcs1v15_sign_raw", "rsa_pss", "ecdsa", "ecdsa_any", "deterministic_ecdsa")
        class SignHash(_message.Message):
            __slots__ = ("any", "specific")
            class Any(_message.Message):
                __slots__ = ()
                def __init__(self) -> None: ...
            ANY_FIELD_NUMBER: _ClassVar[int]
            SPECIFIC_FIELD_NUMBER: _ClassVar[int]
            any: Algorithm.AsymmetricSignature.SignHash.Any
            specific: Algorithm.Hash
            def __init__(self, any: _Optional[_Union[Algorithm.AsymmetricSignature.SignHash.Any, _Mapping]] = ..., specific: _Optional[_Union[Algorithm.Hash, str]] = ...) -> None: ...
        class RsaPkcs1v15Sign(_message.Message):
            __slots__ = ("hash_alg",)
            HASH_ALG_FIELD_NUMBER: _ClassVar[int]
            hash_alg: Algorithm.AsymmetricSignature.SignHash
            def __init__(self, hash_alg: _Optional[_Union[Algorithm.AsymmetricSignature.SignHash, _Mapping]] = ...) -> None: ...
        class RsaPkcs1v15SignRaw(_message.Message):
            __slots__ = ()
            def __init__(self) -> None: ...
        class RsaPss(_message.Message):
            __slots__ = ("hash_alg",)
            HASH_ALG_FIELD_NUMBER: _ClassVar[int]
            hash_alg: Algorithm.AsymmetricSignature.SignHash
            def __init__(self, hash_alg: _Optional[_Union[Algorithm.AsymmetricSignature.SignHash, _Mapping]] = ...) -> None: ...
        class Ecdsa(_message.Message):
            __slots__ = ("hash_alg",)
            HASH_ALG_FIELD_NUMBER: _ClassVar[int]
            hash_alg: Algorithm.AsymmetricSignature.SignHash
            def __init__(self, hash_alg: _Optional[_Union[Algorithm.AsymmetricSignature.SignHash, _Mapping]] = ...) -> None: ...
        class EcdsaAny(_message.Message):
            __slots__ = ()
            def __init__(self) -> None: ...
        class DeterministicEcdsa(_message.Message):
            __slots__ = ("hash_alg",)
            HASH_ALG_FIELD_NUMBER: _ClassVar[int]
            hash_alg: Algorithm.AsymmetricSignature.SignHash
            def __init__(self, hash_alg: _Optional[_Union[Algorithm.AsymmetricSignature.SignHash, _Mapping]] = ...) -> None: ...
        RSA_PKCS1V15_SIGN_FIELD_NUMBER: _ClassVar[int]
        RSA_PKCS1V15_SIGN_RAW_FIELD_NUMBER: _ClassVar[int]
        RSA_PSS_FIELD_NUMBER: _ClassVar[int]
        ECDSA_FIELD_NUMBER: _ClassVar[int]
        ECDSA_ANY_FIELD_NUMBER: _ClassVar[int]
        DETERMINISTIC_ECDSA_FIELD_NUMBER: _ClassVar[int]
        rsa_pkcs1v15_sign: Algorithm.AsymmetricSignature.RsaPkcs1v15Sign
        rsa_pkcs1v15_sign_raw: Algorithm.AsymmetricSignature.RsaPkcs1v15SignRaw
        rsa_pss: Algorithm.AsymmetricSignature.RsaPss
        ecdsa: Algorithm.AsymmetricSignature.Ecdsa
        ecdsa_any: Algorithm.AsymmetricSignature.EcdsaAny
        deterministic_ecdsa: Algorithm.AsymmetricSignature.DeterministicEcdsa
        def __init__(self, rsa_pkcs1v15_sign: _Optional[_Union[Algorithm.AsymmetricSignature.RsaPkcs1v15Sign, _Mapping]] = ..., rsa_pkcs1v15_sign_raw: _Optional[_Union[Algorithm.AsymmetricSignature.RsaPkcs1v15SignRaw, _Mapping]] = ..., rsa_pss: _Optional[_Union[Algorithm.AsymmetricSignature.RsaPss, _Mapping]] = ..., ecdsa: _Optional[_Union[Algorithm.AsymmetricSignature.Ecdsa, _Mapping]] = ..., ecdsa_any: _Optional[_Union[Algorithm.AsymmetricSignature.EcdsaAny, _Mapping]] = ..., deterministic_ecdsa: _Optional[_Union[Algorithm.AsymmetricSignature.DeterministicEcdsa, _Mapping]] = ...) -> None: ...
    class AsymmetricEncryption(_message.Message):
        __slots__ = ("rsa_pkcs1v15_crypt", "rsa_oaep")
        class RsaPkcs1v15Crypt(_message.Message):
            __slots__ = ()
            def __init__(self) -> None: ...
        class RsaOaep(_message.Message):
            __slots__ = ("hash_alg",)
            HASH_ALG_FIELD_NUMBER: _ClassVar[int]
            hash_alg: Algorithm.Hash
            def __init__(self, hash_alg: _Optional[_Union[Algorithm.Hash, str]] = ...) -> None: ...
        RSA_PKCS1V15_CRYPT_FIELD_NUMBER: _ClassVar[int]
        RSA_OAEP_FIELD_NUMBER: _ClassVar[int]
        rsa_pkcs1v15_crypt: Algorithm.AsymmetricEncryption.RsaPkcs1v15Crypt
        rsa_oaep: Algorithm.AsymmetricEncryption.RsaOaep
        def __init__(self, rsa_pkcs1v15_crypt: _Optional[_Union[Algorithm.AsymmetricEncryption.RsaPkcs1v15Crypt, _Mapping]] = ..., rsa_oaep: _Optional[_Union[Algorithm.AsymmetricEncryption.RsaOaep, _Mapping]] = ...) -> None: ...
    class KeyAgreement(_message.Message):
        __slots__ = ("raw", "with_key_derivation")
        class Raw(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
            __slots__ = ()
            RAW_NONE: _ClassVar[Algorithm.KeyAgreement.Raw]
            FFDH: _ClassVar[Algorithm.KeyAgreement.Raw]
            ECDH: _ClassVar[Algorithm.KeyAgreement.Raw]
        RAW_NONE: Algorithm.KeyAgreement.Raw
        FFDH: Algorithm.KeyAgreement.Raw
        ECDH: Algorithm.KeyAgreement.Raw
        class WithKeyDerivation(_message.Message):
            __slots__ = ("ka_alg", "kdf_alg")
            KA_ALG_FIELD_NUMBER: _ClassVar[int]
            KDF_ALG_FIELD_NUMBER: _ClassVar[int]
            ka_alg: Algorithm.KeyAgreement.Raw
            kdf_alg: Algorithm.KeyDerivation
            def __init__(self, ka_alg: _Optional[_Union[Algorithm.KeyAgreement.Raw, str]] = ..., kdf_alg: _Optional[_Union[Algorithm.KeyDerivation, _Mapping]] = ...) -> None: ...
        RAW_FIELD_NUMBER: _ClassVar[int]
        WITH_KEY_DERIVATION_FIELD_NUMBER: _ClassVar[int]
        raw: Algorithm.KeyAgreement.Raw
        with_key_derivation: Algorithm.KeyAgreement.WithKeyDerivation
        def __init__(self, raw: _Optional[_Union[Algorithm.KeyAgreement.Raw, str]] = ..., with_key_derivation: _Optional[_Union[Algorithm.KeyAgreement.WithKeyDerivation, _Mapping]] = ...) -> None: ...
    class KeyDerivation(_message.Message):
        __slots__ = ("hkdf", "tls12_prf", "tls12_psk_to_ms")
        class Hkdf(_message.Message):
            __slots__ = ("hash_alg",)
            HASH_ALG_FIELD_NUMBER: _ClassVar[int]
            hash_alg: Algorithm.Hash
            def __init__(self, hash_alg: _Optional[_Union[Algorithm.Hash, str]] = ...) -> None: ...
        class Tls12Prf(_message.Message):
            __slots__ = ("hash_alg",)
            HASH_ALG_FIELD_NUMBER: _ClassVar[int]
            hash_alg: Algorithm.Hash
            def __init__(self, hash_alg: _Optional[_Union[Algorithm.Hash, str]] = ...) -> None: ...
        class Tls12PskToMs(_message.Message):
            __slots__ = ("hash_alg",)
            HASH_ALG_FIELD_NUMBER: _ClassVar[int]
            hash_alg: Algorithm.Hash
            def __init__(self, hash_alg: _Optional[_Union[Algorithm.Hash, str]] = ...) -> None: ...
        HKDF_FIELD_NUMBER: _ClassVar[int]
        TLS12_PRF_FIELD_NUMBER: _ClassVar[int]
        TLS12_PSK_TO_MS_FIELD_NUMBER: _ClassVar[int]
        hkdf: Algorithm.KeyDerivation.Hkdf
        tls12_prf: Algorithm.KeyDerivation.Tls12Prf
        tls12_psk_to_ms: Algorithm.KeyDerivation.Tls12PskToMs
        def __init__(self, hkdf: _Optional[_Union[Algorithm.KeyDerivation.Hkdf, _Mapping]] = ..., tls12_prf: _Optional[_Union[Algorithm.KeyDerivation.Tls12Prf, _Mapping]] = ..., tls12_psk_to_ms: _Optional[_Union[Algorithm.KeyDerivation.Tls12PskToMs, _Mapping]] = ...) -> None: ...
    NONE_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    MAC_FIELD_NUMBER: _ClassVar[int]
    CIPHER_FIELD_NUMBER: _ClassVar[int]
    AEAD_FIELD_NUMBER: _ClassVar[int]
    ASYMMETRIC_SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    ASYMMETRIC_ENCRYPTION_FIELD_NUMBER: _ClassVar[int]
    KEY_AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    KEY_DERIVATION_FIELD_NUMBER: _ClassVar[int]
    none: Algorithm.NoAlgorithm
    hash: Algorithm.Hash
    mac: Algorithm.Mac
    cipher: Algorithm.Cipher
    aead: Algorithm.Aead
    asymmetric_signature: Algorithm.AsymmetricSignature
    asymmetric_encryption: Algorithm.AsymmetricEncryption
    key_agreement: Algorithm.KeyAgreement
    key_derivation: Algorithm.KeyDerivation
    def __init__(self, none: _Optional[_Union[Algorithm.NoAlgorithm, _Mapping]] = ..., hash: _Optional[_Union[Algorithm.Hash, str]] = ..., mac: _Optional[_Union[Algorithm.Mac, _Mapping]] = ..., cipher: _Optional[_Union[Algorithm.Cipher, str]] = ..., aead: _Optional[_Union[Algorithm.Aead, _Mapping]] = ..., asymmetric_signature: _Optional[_Union[Algorithm.AsymmetricSignature, _Mapping]] = ..., asymmetric_encryption: _Optional[_Union[Algorithm.AsymmetricEncryption, _Mapping]] = ..., key_agreement: _Optional[_Union[Algorithm.KeyAgreement, _Mapping]] = ..., key_derivation: _Optional[_Union[Algorithm.KeyDerivation, _Mapping]] = ...) -> None: ...

class KeyAttributes(_message.Message):
    __slots__ = ("key_type", "key_bits", "key_policy")
    KEY_TYPE_FIELD_NUMBER: _ClassVar[int]
    KEY_BITS_FIELD_NUMBER: _ClassVar[int]
    KEY_POLICY_FIELD_NUMBER: _ClassVar[int]
    key_type: KeyType
    key_bits: int
    key_policy: KeyPolicy
    def __init__(self, key_type: _Optional[_Union[KeyType, _Mapping]] = ..., key_bits: _Optional[int] = ..., key_policy: _Optional[_Union[KeyPolicy, _Mapping]] = ...) -> None: ...

class KeyType(_message.Message):
    __slots__ = ("raw_data", "hmac", "derive", "aes", "des", "camellia", "arc4", "chacha20", "rsa_public_key", "rsa_key_pair", "ecc_key_pair", "ecc_public_key", "dh_key_pair", "dh_public_key")
    class EccFamily(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ECC_FAMILY_NONE: _ClassVar[KeyType.EccFamily]
        SECP_K1: _ClassVar[KeyType.EccFamily]
        SECP_R1: _ClassVar[KeyType.EccFamily]
        SECP_R2: _ClassVar[KeyType.EccFamily]
        SECT_K1: _ClassVar[KeyType.EccFamily]
        SECT_R1: _ClassVar[KeyType.EccFamily]
        SECT_R2: _ClassVar[KeyType.EccFamily]
        BRAINPOOL_P_R1: _ClassVar[KeyType.EccFamily]
        FRP: _ClassVar[KeyType.EccFamily]
        MONTGOMERY: _ClassVar[KeyType.EccFamily]
    ECC_FAMILY_NONE: KeyType.EccFamily
    SECP_K1: KeyType.EccFamily
    SECP_R1: KeyType.EccFamily
    SECP_R2: KeyType.EccFamily
    SECT_K1: KeyType.EccFamily
    SECT_R1: KeyType.EccFamily
    SECT_R2: KeyType.EccFamily
    BRAINPOOL_P_R1: KeyType.EccFamily
    FRP: KeyType.EccFamily
    MONTGOMERY: KeyType.EccFamily
    class DhFamily(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        RFC7919: _ClassVar[KeyType.DhFamily]
    RFC7919: KeyType.DhFamily
    class RawData(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    class Hmac(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    class Derive(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    class Aes(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    class Des(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    class Camellia(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    class Arc4(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    class Chacha20(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    class RsaPublicKey(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    class RsaKeyPair(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    class EccKeyPair(_message.Message):
        __slots__ = ("curve_family",)
        CURVE_FAMILY_FIELD_NUMBER: _ClassVar[int]
        curve_family: KeyType.EccFamily
        def __init__(self, curve_family: _Optional[_Union[KeyType.EccFamily, str]] = ...) -> None: ...
    class EccPublicKey(_message.Message):
        __slots__ = ("curve_family",)
        CURVE_FAMILY_FIELD_NUMBER: _ClassVar[int]
        curve_family: KeyType.EccFamily
        def __init__(self, curve_family: _Optional[_Union[KeyType.EccFamily, str]] = ...) -> None: ...
    class DhKeyPair(_message.Message):
        __slots__ = ("group_family",)
        GROUP_FAMILY_FIELD_NUMBER: _ClassVar[int]
        group_family: KeyType.DhFamily
        def __init__(self, group_family: _Optional[_Union[KeyType.DhFamily, str]] = ...) -> None: ...
    class DhPublicKey(_message.Message):
        __slots__ = ("group_family",)
        GROUP_FAMILY_FIELD_NUMBER: _ClassVar[int]
        group_family: KeyType.DhFamily
        def __init__(self, group_family: _Optional[_Union[KeyType.DhFamily, str]] = ...) -> None: ...
    RAW_DATA_FIELD_NUMBER: _ClassVar[int]
    HMAC_FIELD_NUMBER: _ClassVar[int]
    DERIVE_FIELD_NUMBER: _ClassVar[int]
    AES_FIELD_NUMBER: _ClassVar[int]
    DES_FIELD_NUMBER: _ClassVar[int]
    CAMELLIA_FIELD_NUMBER: _ClassVar[int]
    ARC4_FIELD_NUMBER: _ClassVar[int]
    CHACHA20_FIELD_NUMBER: _ClassVar[int]
    RSA_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    RSA_KEY_PAIR_FIELD_NUMBER: _ClassVar[int]
    ECC_KEY_PAIR_FIELD_NUMBER: _ClassVar[int]
    ECC_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    DH_KEY_PAIR_FIELD_NUMBER: _ClassVar[int]
    DH_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    raw_data: KeyType.RawData
    hmac: KeyType.Hmac
    derive: KeyType.Derive
    aes: KeyType.Aes
    des: KeyType.Des
    camellia: KeyType.Camellia
    arc4: KeyType.Arc4
    chacha20: KeyType.Chacha20
    rsa_public_key: KeyType.RsaPublicKey
    rsa_key_pair: KeyType.RsaKeyPair
    ecc_key_pair: KeyType.EccKeyPair
    ecc_public_key: KeyType.EccPublicKey
    dh_key_pair: KeyType.DhKeyPair
    dh_public_key: KeyType.DhPublicKey
    def __init__(self, raw_data: _Optional[_Union[KeyType.RawData, _Mapping]] = ..., hmac: _Optional[_Union[KeyType.Hmac, _Mapping]] = ..., derive: _Optional[_Union[KeyType.Derive, _Mapping]] = ..., aes: _Optional[_Union[KeyType.Aes, _Mapping]] = ..., des: _Optional[_Union[KeyType.Des, _Mapping]] = ..., camellia: _Optional[_Union[KeyType.Camellia, _Mapping]] = ..., arc4: _Optional[_Union[KeyType.Arc4, _Mapping]] = ..., chacha20: _Optional[_Union[KeyType.Chacha20, _Mapping]] = ..., rsa_public_key: _Optional[_Union[KeyType.RsaPublicKey, _Mapping]] = ..., rsa_key_pair: _Optional[_Union[KeyType.RsaKeyPair, _Mapping]] = ..., ecc_key_pair: _Optional[_Union[KeyType.EccKeyPair, _Mapping]] = ..., ecc_public_key: _Optional[_Union[KeyType.EccPublicKey, _Mapping]] = ..., dh_key_pair: _Optional[_Union[KeyType.DhKeyPair, _Mapping]] = ..., dh_public_key: _Optional[_Union[KeyType.DhPublicKey, _Mapping]] = ...) -> None: ...

class KeyPolicy(_message.Message):
    __slots__ = ("key_usage_flags", "key_algorithm")
    KEY_USAGE_FLAGS_FIELD_NUMBER: _ClassVar[int]
    KEY_ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    key_usage_flags: UsageFlags
    key_algorithm: Algorithm
    def __init__(self, key_usage_flags: _Optional[_Union[UsageFlags, _Mapping]] = ..., key_algorithm: _Optional[_Union[Algorithm, _Mapping]] = ...) -> None: ...

class UsageFlags(_message.Message):
    __slots__ = ("export", "copy", "cache", "encrypt", "decrypt", "sign_message", "verify_message", "sign_hash", "verify_hash", "derive")
    EXPORT_FIELD_NUMBER: _ClassVar[int]
    COPY_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    ENCRYPT_FIELD_NUMBER: _ClassVar[int]
    DECRYPT_FIELD_NUMBER: _ClassVar[int]
    SIGN_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    VERIFY_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SIGN_HASH_FIELD_NUMBER: _ClassVar[int]
    VERIFY_HASH_FIELD_NUMBER: _ClassVar[int]
    DERIVE_FIELD_NUMBER: _ClassVar[int]
    export: bool
    copy: bool
    cache: bool
    encrypt: bool
    decrypt: bool
    sign_message: bool
    verify_message: bool
    sign_hash: bool
    verify_hash: bool
    derive: bool
    def __init__(self, export: _Optional[bool] = ..., copy: _Optional[bool] = ..., cache: _Optional[bool] = ..., encrypt: _Optional[bool] = ..., decrypt: _Optional[bool] = ..., sign_message: _Optional[bool] = ..., verify_message: _Optional[bool] = ..., sign_hash: _Optional[bool] = ..., verify_hash: _Optional[bool] = ..., derive: _Optional[bool] = ...) -> None: ...

class PingOperation(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PingResult(_message.Message):
    __slots__ = ("wire_protocol_version_maj", "wire_protocol_version_min")
    WIRE_PROTOCOL_VERSION_MAJ_FIELD_NUMBER: _ClassVar[int]
    WIRE_PROTOCOL_VERSION_MIN_FIELD_NUMBER: _ClassVar[int]
    wire_protocol_version_maj: int
    wire_protocol_version_min: int
    def __init__(self, wire_protocol_version_maj: _Optional[int] = ..., wire_protocol_version_min: _Optional[int] = ...) -> None: ...

class PsaGenerateKeyOperation(_message.Message):
    __slots__ = ("key_name", "attributes")
    KEY_NAME_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    key_name: str
    attributes: KeyAttributes
    def __init__(self, key_name: _Optional[str] = ..., attributes: _Optional[_Union[KeyAttributes, _Mapping]] = ...) -> None: ...

class PsaGenerateKeyResult(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PsaDestroyKeyOperation(_message.Message):
    __slots__ = ("key_name",)
    KEY_NAME_FIELD_NUMBER: _ClassVar[int]
    key_name: str
    def __init__(self, key_name: _Optional[str] = ...) -> None: ...

class PsaDestroyKeyResult(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PsaSignHashOperation(_message.Message):
    __slots__ = ("key_name", "alg", "hash")
    KEY_NAME_FIELD_NUMBER: _ClassVar[int]
    ALG_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    key_name: str
    alg: Algorithm.AsymmetricSignature
    hash: bytes
    def __init__(self, key_name: _Optional[str] = ..., alg: _Optional[_Union[Algorithm.AsymmetricSignature, _Mapping]] = ..., hash: _Optional[bytes] = ...) -> None: ...

class PsaSignHashResult(_message.Message):
    __slots__ = ("signature",)
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    signature: bytes
    def __init__(self, signature: _Optional[bytes] = ...) -> None: ...

class PsaVerifyHashOperation(_message.Message):
    __slots__ = ("key_name", "alg", "hash", "signature")
    KEY_NAME_FIELD_NUMBER: _ClassVar[int]
    ALG_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    key_name: str
    alg: Algorithm.AsymmetricSignature
    hash: bytes
    signature: bytes
    def __init__(self, key_name: _Optional[str] = ..., alg: _Optional[_Union[Algorithm.AsymmetricSignature, _Mapping]] = ..., hash: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class PsaVerifyHashResult(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PsaImportKeyOperation(_message.Message):
    __slots__ = ("key_name", "attributes", "data")
    KEY_NAME_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    key_name: str
    attributes: KeyAttributes
    data: bytes
    def __init__(self, key_name: _Optional[str] = ..., attributes: _Optional[_Union[KeyAttributes, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class PsaImportKeyResult(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PsaExportPublicKeyOperation(_message.Message):
    __slots__ = ("key_name",)
    KEY_NAME_FIELD_NUMBER: _ClassVar[int]
    key_name: str
    def __init__(self, key_name: _Optional[str] = ...) -> None: ...

class PsaExportPublicKeyResult(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class ProviderInfo(_message.Message):
    __slots__ = ("uuid", "description", "vendor", "version_maj", "version_min", "version_rev", "id")
    UUID_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    VENDOR_FIELD_NUMBER: _ClassVar[int]
    VERSION_MAJ_FIELD_NUMBER: _ClassVar[int]
    VERSION_MIN_FIELD_NUMBER: _ClassVar[int]
    VERSION_REV_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    uuid: str
    description: str
    vendor: str
    version_maj: int
    version_min: int
    version_rev: int
    id: int
    def __init__(self, uuid: _Optional[str] = ..., description: _Optional[str] = ..., vendor: _Optional[str] = ..., version_maj: _Optional[int] = ..., version_min: _Optional[int] = ..., version_rev: _Optional[int] = ..., id: _Optional[int] = ...) -> None: ...

class ListProvidersOperation(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListProvidersResult(_message.Message):
    __slots__ = ("providers",)
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    providers: _containers.RepeatedCompositeFieldContainer[ProviderInfo]
    def __init__(self, providers: _Optional[_Iterable[_Union[ProviderInfo, _Mapping]]] = ...) -> None: ...

class ListOpcodesOperation(_message.Message):
    __slots__ = ("provider_id",)
    PROVIDER_ID_FIELD_NUMBER: _ClassVar[int]
    provider_id: int
    def __init__(self, provider_id: _Optional[int] = ...) -> None: ...

class ListOpcodesResult(_message.Message):
    __slots__ = ("opcodes",)
    OPCODES_FIELD_NUMBER: _ClassVar[int]
    opcodes: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, opcodes: _Optional[_Iterable[int]] = ...) -> None: ...

class PsaAsymmetricEncryptOperation(_message.Message):
    __slots__ = ("key_name", "alg", "plaintext", "salt")
    KEY_NAME_FIELD_NUMBER: _ClassVar[int]
    ALG_FIELD_NUMBER: _ClassVar[int]
    PLAINTEXT_FIELD_NUMBER: _ClassVar[int]
    SALT_FIELD_NUMBER: _ClassVar[int]
    key_name: str
    alg: Algorithm.AsymmetricEncryption
    plaintext: bytes
    salt: bytes
    def __init__(self, key_name: _Optional[str] = ..., alg: _Optional[_Union[Algorithm.AsymmetricEncryption, _Mapping]] = ..., plaintext: _Optional[bytes] = ..., salt: _Optional[bytes] = ...) -> None: ...

class PsaAsymmetricEncryptResult(_message.Message):
    __slots__ = ("ciphertext",)
    CIPHERTEXT_FIELD_NUMBER: _ClassVar[int]
    ciphertext: bytes
    def __init__(self, ciphertext: _Optional[bytes] = ...) -> None: ...

class PsaAsymmetricDecryptOperation(_message.Message):
    __slots__ = ("key_name", "alg", "ciphertext", "salt")
    KEY_NAME_FIELD_NUMBER: _ClassVar[int]
    ALG_FIELD_NUMBER: _ClassVar[int]
    CIPHERTEXT_FIELD_NUMBER: _ClassVar[int]
    SALT_FIELD_NUMBER: _ClassVar[int]
    key_name: str
    alg: Algorithm.AsymmetricEncryption
    ciphertext: bytes
    salt: bytes
    def __init__(self, key_name: _Optional[str] = ..., alg: _Optional[_Union[Algorithm.AsymmetricEncryption, _Mapping]] = ..., ciphertext: _Optional[bytes] = ..., salt: _Optional[bytes] = ...) -> None: ...

class PsaAsymmetricDecryptResult(_message.Message):
    __slots__ = ("plaintext",)
    PLAINTEXT_FIELD_NUMBER: _ClassVar[int]
    plaintext: bytes
    def __init__(self, plaintext: _Optional[bytes] = ...) -> None: ...

class PsaExportKeyOperation(_message.Message):
    __slots__ = ("key_name",)
    KEY_NAME_FIELD_NUMBER: _ClassVar[int]
    key_name: str
    def __init__(self, key_name: _Optional[str] = ...) -> None: ...

class PsaExportKeyResult(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class PsaGenerateRandomOperation(_message.Message):
    __slots__ = ("size",)
    SIZE_FIELD_NUMBER: _ClassVar[int]
    size: int
    def __init__(self, size: _Optional[int] = ...) -> None: ...

class PsaGenerateRandomResult(_message.Message):
    __slots__ = ("random_bytes",)
    RANDOM_BYTES_FIELD_NUMBER: _ClassVar[int]
    random_bytes: bytes
    def __init__(self, random_bytes: _Optional[bytes] = ...) -> None: ...

class AuthenticatorInfo(_message.Message):
    __slots__ = ("description", "version_maj", "version_min", "version_rev", "id")
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    VERSION_MAJ_FIELD_NUMBER: _ClassVar[int]
    VERSION_MIN_FIELD_NUMBER: _ClassVar[int]
    VERSION_REV_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    description: str
    version_maj: int
    version_min: int
    version_rev: int
    id: int
    def __init__(self, description: _Optional[str] = ..., version_maj: _Optional[int] = ..., version_min: _Optional[int] = ..., version_rev: _Optional[int] = ..., id: _Optional[int] = ...) -> None: ...

class ListAuthenticatorsOperation(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListAuthenticatorsResult(_message.Message):
    __slots__ = ("authenticators",)
    AUTHENTICATORS_FIELD_NUMBER: _ClassVar[int]
    authenticators: _containers.RepeatedCompositeFieldContainer[AuthenticatorInfo]
    def __init__(self, authenticators: _Optional[_Iterable[_Union[AuthenticatorInfo, _Mapping]]] = ...) -> None: ...

class PsaHashComputeOperation(_message.Message):
    __slots__ = ("alg", "input")
    ALG_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    alg: Algorithm.Hash
    input: bytes
    def __init__(self, alg: _Optional[_Union[Algorithm.Hash, str]] = ..., input: _Optional[bytes] = ...) -> None: ...

class PsaHashComputeResult(_message.Message):
    __slots__ = ("hash",)
    HASH_FIELD_NUMBER: _ClassVar[int]
    hash: bytes
    def __init__(self, hash: _Optional[bytes] = ...) -> None: ...

class PsaHashCompareOperation(_message.Message):
    __slots__ = ("alg", "input", "hash")
    ALG_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    alg: Algorithm.Hash
    input: bytes
    hash: bytes
    def __init__(self, alg: _Optional[_Union[Algorithm.Hash, str]] = ..., input: _Optional[bytes] = ..., hash: _Optional[bytes] = ...) -> None: ...

class PsaHashCompareResult(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PsaAeadEncryptOperation(_message.Message):
    __slots__ = ("key_name", "alg", "nonce", "additional_data", "plaintext")
    KEY_NAME_FIELD_NUMBER: _ClassVar[int]
    ALG_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    ADDITIONAL_DATA_FIELD_NUMBER: _ClassVar[int]
    PLAINTEXT_FIELD_NUMBER: _ClassVar[int]
    key_name: str
    alg: Algorithm.Aead
    nonce: bytes
    additional_data: bytes
    plaintext: bytes
    def __init__(self, key_name: _Optional[str] = ..., alg: _Optional[_Union[Algorithm.Aead, _Mapping]] = ..., nonce: _Optional[bytes] = ..., additional_data: _Optional[bytes] = ..., plaintext: _Optional[bytes] = ...) -> None: ...

class PsaAeadEncryptResult(_message.Message):
    __slots__ = ("ciphertext",)
    CIPHERTEXT_FIELD_NUMBER: _ClassVar[int]
    ciphertext: bytes
    def __init__(self, ciphertext: _Optional[bytes] = ...) -> None: ...

class PsaAeadDecryptOperation(_message.Message):
    __slots__ = ("key_name", "alg", "nonce", "additional_data", "ciphertext")
    KEY_NAME_FIELD_NUMBER: _ClassVar[int]
    ALG_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    ADDITIONAL_DATA_FIELD_NUMBER: _ClassVar[int]
    CIPHERTEXT_FIELD_NUMBER: _ClassVar[int]
    key_name: str
    alg: Algorithm.Aead
    nonce: bytes
    additional_data: bytes
    ciphertext: bytes
    def __init__(self, key_name: _Optional[str] = ..., alg: _Optional[_Union[Algorithm.Aead, _Mapping]] = ..., nonce: _Optional[bytes] = ..., additional_data: _Optional[bytes] = ..., ciphertext: _Optional[bytes] = ...) -> None: ...

class PsaAeadDecryptResult(_message.Message):
    __slots__ = ("plaintext",)
    PLAINTEXT_FIELD_NUMBER: _ClassVar[int]
    plaintext: bytes
    def __init__(self, plaintext: _Optional[bytes] = ...) -> None: ...

class PsaRawKeyAgreementOperation(_message.Message):
    __slots__ = ("alg", "private_key_name", "peer_key")
    ALG_FIELD_NUMBER: _ClassVar[int]
    PRIVATE_KEY_NAME_FIELD_NUMBER: _ClassVar[int]
    PEER_KEY_FIELD_NUMBER: _ClassVar[int]
    alg: Algorithm.KeyAgreement.Raw
    private_key_name: str
    peer_key: bytes
    def __init__(self, alg: _Optional[_Union[Algorithm.KeyAgreement.Raw, str]] = ..., private_key_name: _Optional[str] = ..., peer_key: _Optional[bytes] = ...) -> None: ...

class PsaRawKeyAgreementResult(_message.Message):
    __slots__ = ("shared_secret",)
    SHARED_SECRET_FIELD_NUMBER: _ClassVar[int]
    shared_secret: bytes
    def __init__(self, shared_secret: _Optional[bytes] = ...) -> None: ...

class PsaCipherEncryptOperation(_message.Message):
    __slots__ = ("key_name", "alg", "plaintext")
    KEY_NAME_FIELD_NUMBER: _ClassVar[int]
    ALG_FIELD_NUMBER: _ClassVar[int]
    PLAINTEXT_FIELD_NUMBER: _ClassVar[int]
    key_name: str
    alg: Algorithm.Cipher
    plaintext: bytes
    def __init__(self, key_name: _Optional[str] = ..., alg: _Optional[_Union[Algorithm.Cipher, str]] = ..., plaintext: _Optional[bytes] = ...) -> None: ...

class PsaCipherEncryptResult(_message.Message):
    __slots__ = ("ciphertext",)
    CIPHERTEXT_FIELD_NUMBER: _ClassVar[int]
    ciphertext: bytes
    def __init__(self, ciphertext: _Optional[bytes] = ...) -> None: ...

class PsaCipherDecryptOperation(_message.Message):
    __slots__ = ("key_name", "alg", "ciphertext")
    KEY_NAME_FIELD_NUMBER: _ClassVar[int]
    ALG_FIELD_NUMBER: _ClassVar[int]
    CIPHERTEXT_FIELD_NUMBER: _ClassVar[int]
    key_name: str
    alg: Algorithm.Cipher
    ciphertext: bytes
    def __init__(self, key_name: _Optional[str] = ..., alg: _Optional[_Union[Algorithm.Cipher, str]] = ..., ciphertext: _Optional[bytes] = ...) -> None: ...

class PsaCipherDecryptResult(_message.Message):
    __slots__ = ("plaintext",)
    PLAINTEXT_FIELD_NUMBER: _ClassVar[int]
    plaintext: bytes
    def __init__(self, plaintext: _Optional[bytes] = ...) -> None: ...

class PsaMacComputeOperation(_message.Message):
    __slots__ = ("key_name", "alg", "input")
    KEY_NAME_FIELD_NUMBER: _ClassVar[int]
    ALG_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    key_name: str
    alg: Algorithm.Mac
    input: bytes
    def __init__(self, key_name: _Optional[str] = ..., alg: _Optional[_Union[Algorithm.Mac, _Mapping]] = ..., input: _Optional[bytes] = ...) -> None: ...

class PsaMacComputeResult(_message.Message):
    __slots__ = ("mac",)
    MAC_FIELD_NUMBER: _ClassVar[int]
    mac: bytes
    def __init__(self, mac: _Optional[bytes] = ...) -> None: ...

class PsaMacVerifyOperation(_message.Message):
    __slots__ = ("key_name", "alg", "input", "mac")
    KEY_NAME_FIELD_NUMBER: _ClassVar[int]
    ALG_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    MAC_FIELD_NUMBER: _ClassVar[int]
    key_name: str
    alg: Algorithm.Mac
    input: bytes
    mac: bytes
    def __init__(self, key_name: _Optional[str] = ..., alg: _Optional[_Union[Algorithm.Mac, _Mapping]] = ..., input: _Optional[bytes] = ..., mac: _Optional[bytes] = ...) -> None: ...

class PsaMacVerifyResult(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PsaSignMessageOperation(_message.Message):
    __slots__ = ("key_name", "alg", "message")
    KEY_NAME_FIELD_NUMBER: _ClassVar[int]
    ALG_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    key_name: str
    alg: Algorithm.AsymmetricSignature
    message: bytes
    def __init__(self, key_name: _Optional[str] = ..., alg: _Optional[_Union[Algorithm.AsymmetricSignature, _Mapping]] = ..., message: _Optional[bytes] = ...) -> None: ...

class PsaSignMessageResult(_message.Message):
    __slots__ = ("signature",)
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    signature: bytes
    def __init__(self, signature: _Optional[bytes] = ...) -> None: ...

class PsaVerifyMessageOperation(_message.Message):
    __slots__ = ("key_name", "alg", "message", "signature")
    KEY_NAME_FIELD_NUMBER: _ClassVar[int]
    ALG_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    key_name: str
    alg: Algorithm.AsymmetricSignature
    message: bytes
    signature: bytes
    def __init__(self, key_name: _Optional[str] = ..., alg: _Optional[_Union[Algorithm.AsymmetricSignature, _Mapping]] = ..., message: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class PsaVerifyMessageResult(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class KeyInfo(_message.Message):
    __slots__ = ("provider_id", "name", "attributes")
    PROVIDER_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    provider_id: int
    name: str
    attributes: KeyAttributes
    def __init__(self, provider_id: _Optional[int] = ..., name: _Optional[str] = ..., attributes: _Optional[_Union[KeyAttributes, _Mapping]] = ...) -> None: ...

class ListKeysOperation(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListKeysResult(_message.Message):
    __slots__ = ("keys",)
    KEYS_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[KeyInfo]
    def __init__(self, keys: _Optional[_Iterable[_Union[KeyInfo, _Mapping]]] = ...) -> None: ...

class ListClientsOperation(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListClientsResult(_message.Message):
    __slots__ = ("clients",)
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    clients: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, clients: _Optional[_Iterable[str]] = ...) -> None: ...

class DeleteClientOperation(_message.Message):
    __slots__ = ("client",)
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    client: str
    def __init__(self, client: _Optional[str] = ...) -> None: ...

class DeleteClientResult(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AttestationMechanismParams(_message.Message):
    __slots__ = ("activate_credential",)
    class ActivateCredential(_message.Message):
        __slots__ = ("credential_blob", "secret")
        CREDENTIAL_BLOB_FIELD_NUMBER: _ClassVar[int]
        SECRET_FIELD_NUMBER: _ClassVar[int]
        credential_blob: bytes
        secret: bytes
        def __init__(self, credential_blob: _Optional[bytes] = ..., secret: _Optional[bytes] = ...) -> None: ...
    ACTIVATE_CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    activate_credential: AttestationMechanismParams.ActivateCredential
    def __init__(self, activate_credential: _Optional[_Union[AttestationMechanismParams.ActivateCredential, _Mapping]] = ...) -> None: ...

class AttestKeyOperation(_message.Message):
    __slots__ = ("attested_key_name", "parameters", "attesting_key_name")
    ATTESTED_KEY_NAME_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    ATTESTING_KEY_NAME_FIELD_NUMBER: _ClassVar[int]
    attested_key_name: str
    parameters: AttestationMechanismParams
    attesting_key_name: str
    def __init__(self, attested_key_name: _Optional[str] = ..., parameters: _Optional[_Union[AttestationMechanismParams, _Mapping]] = ..., attesting_key_name: _Optional[str] = ...) -> None: ...

class AttestationOutput(_message.Message):
    __slots__ = ("activate_credential",)
    class ActivateCredential(_message.Message):
        __slots__ = ("credential",)
        CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
        credential: bytes
        def __init__(self, credential: _Optional[bytes] = ...) -> None: ...
    ACTIVATE_CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    activate_credential: AttestationOutput.ActivateCredential
    def __init__(self, activate_credential: _Optional[_Union[AttestationOutput.ActivateCredential, _Mapping]] = ...) -> None: ...

class AttestKeyResult(_message.Message):
    __slots__ = ("output",)
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    output: AttestationOutput
    def __init__(self, output: _Optional[_Union[AttestationOutput, _Mapping]] = ...) -> None: ...

class PrepareKeyAttestationParams(_message.Message):
    __slots__ = ("activate_credential",)
    class ActivateCredential(_message.Message):
        __slots__ = ("attested_key_name", "attesting_key_name")
        ATTESTED_KEY_NAME_FIELD_NUMBER: _ClassVar[int]
        ATTESTING_KEY_NAME_FIELD_NUMBER: _ClassVar[int]
        attested_key_name: str
        attesting_key_name: str
        def __init__(self, attested_key_name: _Optional[str] = ..., attesting_key_name: _Optional[str] = ...) -> None: ...
    ACTIVATE_CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    activate_credential: PrepareKeyAttestationParams.ActivateCredential
    def __init__(self, activate_credential: _Optional[_Union[PrepareKeyAttestationParams.ActivateCredential, _Mapping]] = ...) -> None: ...

class PrepareKeyAttestationOperation(_message.Message):
    __slots__ = ("parameters",)
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    parameters: PrepareKeyAttestationParams
    def __init__(self, parameters: _Optional[_Union[PrepareKeyAttestationParams, _Mapping]] = ...) -> None: ...

class PrepareKeyAttestationOutput(_message.Message):
    __slots__ = ("activate_credential",)
    class ActivateCredential(_message.Message):
        __slots__ = ("name", "public", "attesting_key_pub")
        NAME_FIELD_NUMBER: _ClassVar[int]
        PUBLIC_FIELD_NUMBER: _ClassVar[int]
        ATTESTING_KEY_PUB_FIELD_NUMBER: _ClassVar[int]
        name: bytes
        public: bytes
        attesting_key_pub: bytes
        def __init__(self, name: _Optional[bytes] = ..., public: _Optional[bytes] = ..., attesting_key_pub: _Optional[bytes] = ...) -> None: ...
    ACTIVATE_CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    activate_credential: PrepareKeyAttestationOutput.ActivateCredential
    def __init__(self, activate_credential: _Optional[_Union[PrepareKeyAttestationOutput.ActivateCredential, _Mapping]] = ...) -> None: ...

class PrepareKeyAttestationResult(_message.Message):
    __slots__ = ("output",)
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    output: PrepareKeyAttestationOutput
    def __init__(self, output: _Optional[_Union[PrepareKeyAttestationOutput, _Mapping]] = ...) -> None: ...

class CanDoCryptoOperation(_message.Message):
    __slots__ = ("check_type", "attributes")
    class CheckType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CHECKTYPE_NONE: _ClassVar[CanDoCryptoOperation.CheckType]
        USE: _ClassVar[CanDoCryptoOperation.CheckType]
        GENERATE: _ClassVar[CanDoCryptoOperation.CheckType]
        IMPORT: _ClassVar[CanDoCryptoOperation.CheckType]
        DERIVE: _ClassVar[CanDoCryptoOperation.CheckType]
    CHECKTYPE_NONE: CanDoCryptoOperation.CheckType
    USE: CanDoCryptoOperation.CheckType
    GENERATE: CanDoCryptoOperation.CheckType
    IMPORT: CanDoCryptoOperation.CheckType
    DERIVE: CanDoCryptoOperation.CheckType
    CHECK_TYPE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    check_type: CanDoCryptoOperation.CheckType
    attributes: KeyAttributes
    def __init__(self, check_type: _Optional[_Union[CanDoCryptoOperation.CheckType, str]] = ..., attributes: _Optional[_Union[KeyAttributes, _Mapping]] = ...) -> None: ...

class CanDoCryptoResult(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
