"""Published inputs and outputs for the self-test. Every key here is public and protects nothing."""

from typing import Final

from cofferdam_contracts.psa.algorithm import AeadScheme, CipherMode, Hash
from cofferdam_contracts.psa.attributes import KeyKind

DIGESTS_OF_ABC: Final = {
    Hash.MD5: bytes.fromhex("900150983cd24fb0d6963f7d28e17f72"),
    Hash.RIPEMD160: bytes.fromhex("8eb208f7e05d987a9b044a8e98c6b087f15a0bfc"),
    Hash.SHA_1: bytes.fromhex("a9993e364706816aba3e25717850c26c9cd0d89d"),
    Hash.SHA_224: bytes.fromhex("23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"),
    Hash.SHA_256: bytes.fromhex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    Hash.SHA_384: bytes.fromhex(
        "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7"
    ),
    Hash.SHA_512: bytes.fromhex(
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd"
        "454d4423643ce80e2a9ac94fa54ca49f"
    ),
    Hash.SHA_512_224: bytes.fromhex("4634270f707b6a54daae7530460842e20e37ed265ceee9a43e8924aa"),
    Hash.SHA_512_256: bytes.fromhex("53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23"),
    Hash.SHA3_224: bytes.fromhex("e642824c3f8cf24ad09234ee7d3c766fc9a3a5168d0c94ad73b46fdf"),
    Hash.SHA3_256: bytes.fromhex("3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532"),
    Hash.SHA3_384: bytes.fromhex(
        "ec01498288516fc926459f58e2c6ad8df9b473cb0fc08c2596da7cf0e49be4b298d88cea927ac7f539f1edf228376d25"
    ),
    Hash.SHA3_512: bytes.fromhex(
        "b751850b1a57168a5693cd924b6b096e08f621827444f70d884f5d0240d2712e10e116e9192af3c91a7ec57647e39340"
        "57340b4cf408d5a56592f8274eec53f0"
    ),
}
"""Digests of b"abc" (FIPS 180-4, FIPS 202, RFC 1321, the RIPEMD-160 paper)."""

RSA_MESSAGE: Final = bytes.fromhex("6628194e12073db03ba94cda9ef9532397d50dba79b987004afefe34")
RSA_CIPHERTEXT: Final = bytes.fromhex(
    "50b4c14136bd198c2f3c3ed243fce036e168d56517984a263cd66492b80804f169d210f2b9bdfb48b12f9ea05009c77d"
    "a257cc600ccefe3a6283789d8ea0e607ac58e2690ec4ebc10146e8cbaa5ed4d5cce6fe7b0ff9efc1eabb564dbf498285"
    "f449ee61dd7b42ee5b5892cb90601f30cda07bf26489310bcd23b528ceab3c31"
)
"""The message of example 1.1 of the vectors that `warm_up.RSA_KEY` is of, encrypted."""
RSA_SIGNATURE_DIGEST: Final = bytes.fromhex("bd2a19976dcab540c6da72476697af10c65751fa4285609f6ad81351d0b336f6")
"""SHA-256 of the PKCS#1 v1.5 signature of b"abc" with SHA-256 under that key."""

ECDSA_KEY: Final = bytes.fromhex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721")
ECDSA_MESSAGE: Final = b"sample"
ECDSA_SIGNATURE: Final = bytes.fromhex(
    "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
    "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
)
"""RFC 6979 appendix A.2.5: P-256 with SHA-256."""

ECDH_KEY: Final = bytes.fromhex("c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433")
ECDH_PEER: Final = bytes.fromhex(
    "04d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf63"
    "56fbf3ca366cc23e8157854c13c58d6aac23f046ada30f8353e74f33039872ab"
)
ECDH_SECRET: Final = bytes.fromhex("d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de")
"""RFC 5903 section 8.1: P-256."""

MONTGOMERY: Final = {
    255: (
        bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"),
        bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"),
        bytes.fromhex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"),
    ),
    448: (
        bytes.fromhex(
            "3d262fddf9ec8e88495266fea19a34d28882acef045104d0d1aae121"
            "700a779c984c24f8cdd78fbff44943eba368f54b29259a4f1c600ad3"
        ),
        bytes.fromhex(
            "06fce640fa3487bfda5f6cf2d5263f8aad88334cbd07437f020f08f9"
            "814dc031ddbdc38c19c6da2583fa5429db94ada18aa7a7fb4ef8a086"
        ),
        bytes.fromhex(
            "ce3e4ff95a60dc6697da1db1d85e6afbdf79b50a2412d7546d5f239f"
            "e14fbaadeb445fc66a01b0779d98223961111e21766282f73dd96b6f"
        ),
    ),
}
"""RFC 7748 section 5.2: scalar, peer, shared secret."""

AEADS: Final = (
    (
        KeyKind.AES,
        AeadScheme.GCM,
        16,
        bytes.fromhex("11754cd72aec309bf52f7687212e8957"),
        bytes.fromhex("3c819d9a9bed087615030b65"),
        b"",
        b"",
        bytes.fromhex("250327c674aaf477aef2675748cf6971"),
    ),
    (
        KeyKind.AES,
        AeadScheme.GCM,
        16,
        bytes.fromhex("82a0f8f40ca814a2f09e2ae733a584d1"),
        bytes.fromhex("9e"),
        b"",
        bytes.fromhex("a08b16565d3092abfac4374d84"),
        bytes.fromhex("a2ae9041f9c5e738e5250e32c9062c67c023745657b8063f8450ebedb3"),
    ),
    (
        KeyKind.AES,
        AeadScheme.CCM,
        4,
        bytes.fromhex("404142434445464748494a4b4c4d4e4f"),
        bytes.fromhex("10111213141516"),
        bytes.fromhex("0001020304050607"),
        bytes.fromhex("20212223"),
        bytes.fromhex("7162015b4dac255d"),
    ),
    (
        KeyKind.CHACHA20,
        AeadScheme.CHACHA20_POLY1305,
        16,
        bytes.fromhex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"),
        bytes.fromhex("070000004041424344454647"),
        bytes.fromhex("50515253c0c1c2c3c4c5c6c7"),
        (
            b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
            b"sunscreen would be it."
        ),
        bytes.fromhex(
            "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6"
            "3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36"
            "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
            "3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691"
        ),
    ),
)
"""Key kind, scheme, tag length, key, nonce, additional data, plaintext, ciphertext with tag.

NIST CAVS 14.0 GCM (96-bit and 8-bit IV), NIST SP 800-38C example 1, RFC 8439 section 2.8.2.
"""

CIPHERS: Final = tuple(
    (kind, mode, bytes.fromhex(key), bytes.fromhex(iv), bytes.fromhex(plaintext), bytes.fromhex(ciphertext))
    for kind, mode, key, iv, plaintext, ciphertext in (
        (
            KeyKind.AES,
            CipherMode.CTR,
            "ae6852f8121067cc4bf7a5765577f39e",
            "00000030000000000000000000000001",
            "53696e676c6520626c6f636b206d7367",
            "e4095d4fb7a7b3792d6175a3261311b8",
        ),
        (
            KeyKind.AES,
            CipherMode.CFB,
            "085b8af6788fa6bc1a0b47dcf50fbd35",
            "58cb2b12bb52c6f14b56da9210524864",
            "4b5a872260293312eea1a570fd39c788",
            "e92c80e0cfb6d8b1c27fd58bc3708b16",
        ),
        (
            KeyKind.AES,
            CipherMode.OFB,
            "d7d57bd847154af9722a8df096e61a42",
            "fdde201c91e401d9723868c2a612b77a",
            "81883f22165282ba6a442a8dd2a768d4",
            "84cc130b6867623696aa8f523d968ade",
        ),
        (
            KeyKind.AES,
            CipherMode.XTS,
            "a1b90cba3f06ac353b2c343876081762090923026e91771815f29dab01932f2f",
            "4faef7117cda59c66e4b92013e768ad5",
            "ebabce95b14d3c8d6fb350390790311c",
            "778ae8b43cb98d5a825081d5be471c63",
        ),
        (
            KeyKind.AES,
            CipherMode.ECB_NO_PADDING,
            "edfdb257cb37cdf182c5455b0c0efebb",
            "",
            "1695fe475421cace3557daca01f445ff",
            "7888beae6e7a426332a7eaa2f808e637",
        ),
        (
            KeyKind.AES,
            CipherMode.CBC_NO_PADDING,
            "1f8e4973953f3fb0bd6b16662e9a3c17",
            "2fe2b333ceda8f98f4a99b40d2cd34a8",
            "45cf12964fc824ab76616ae2f4bf0822",
            "0f61c4d44c5147c03c195ad7e2cc12b2",
        ),
        (
            KeyKind.CAMELLIA,
            CipherMode.CBC_NO_PADDING,
            "2b7e151628aed2a6abf7158809cf4f3c",
            "000102030405060708090a0b0c0d0e0f",
            "6bc1bee22e409f96e93d7e117393172a",
            "1607cf494b36bbf00daeb0b503c831ab",
        ),
        (
            KeyKind.CAMELLIA,
            CipherMode.CFB,
            "2b7e151628aed2a6abf7158809cf4f3c",
            "000102030405060708090a0b0c0d0e0f",
            "6bc1bee22e409f96e93d7e117393172a",
            "14f7646187817eb586599146b82bd719",
        ),
        (
            KeyKind.CAMELLIA,
            CipherMode.ECB_NO_PADDING,
            "00000000000000000000000000000000",
            "",
            "80000000000000000000000000000000",
            "07923a39eb0a817d1c4d87bdb82d1f1c",
        ),
        (
            KeyKind.CHACHA20,
            CipherMode.STREAM_CIPHER,
            "0000000000000000000000000000000000000000000000000000000000000000",
            "000000000000000000000000",
            "00000000000000000000000000000000",
            "76b8e0ada0f13d90405d6ae55386bd28",
        ),
    )
)
"""Key kind, mode, key, IV, plaintext, ciphertext: RFC 3686, NIST CAVS, RFC 8439, NTT's and OpenSSL's Camellia."""

HMAC_KEY: Final = b"Jefe"
HMAC_TEXT: Final = b"what do ya want for nothing?"
HMACS: Final = {
    Hash.MD5: bytes.fromhex("750c783e6ab0b503eaa86e310a5db738"),
    Hash.RIPEMD160: bytes.fromhex("dda6c0213a485a9e24f4742064a7f033b43c4069"),
    Hash.SHA_1: bytes.fromhex("effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
    Hash.SHA_224: bytes.fromhex("a30e01098bc6dbbf45690f3a7e9e6d0f8bbea2a39e6148008fd05e44"),
    Hash.SHA_256: bytes.fromhex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    Hash.SHA_384: bytes.fromhex(
        "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649"
    ),
    Hash.SHA_512: bytes.fromhex(
        "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
        "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
    ),
}
"""Test case 2 of RFC 2202, RFC 2286 and RFC 4231. The other hashes have none there."""

CMACS: Final = (
    (
        KeyKind.AES,
        bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c"),
        bytes.fromhex("6bc1bee22e409f96e93d7e117393172a"),
        bytes.fromhex("070a16b46b4d4144f79bdd9dd04a287c"),
    ),
    (
        KeyKind.AES,
        bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c"),
        bytes.fromhex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411"),
        bytes.fromhex("dfa66747de9ae63030ca32611497c827"),
    ),
    (
        KeyKind.CAMELLIA,
        bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c"),
        bytes.fromhex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411"),
        bytes.fromhex("5c18d119ccd6766144ac1866131d9f22"),
    ),
)
"""Key kind, key, text, MAC: NIST SP 800-38B, examples 2 and 3; draft-kato-ipsec-camellia-cmac96and128, example 3."""
