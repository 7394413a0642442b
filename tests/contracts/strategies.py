"""Hypothesis strategies for PSA values and operations: every valid value can come up."""

from dataclasses import fields, replace

from hypothesis import strategies as st

from cofferdam_contracts.operations import (
    OPERATIONS,
    CheckType,
    GenerateRandom,
    ListOpcodes,
    Operation,
    RawKeyAgreement,
)
from cofferdam_contracts.psa.algorithm import (
    ANY_HASH,
    HASHED_SIGNATURES,
    Aead,
    AeadScheme,
    Algorithm,
    AsymmetricEncryption,
    AsymmetricSignature,
    Cipher,
    CipherMode,
    DerivationScheme,
    EncryptionScheme,
    Hash,
    HashAlgorithm,
    KeyAgreement,
    KeyDerivation,
    Mac,
    MacScheme,
    NoAlgorithm,
    RawAgreement,
    SignatureScheme,
)
from cofferdam_contracts.psa.attributes import DhFamily, EccFamily, KeyAttributes, KeyKind, KeyType, Usage
from cofferdam_contracts.wire.protobuf import (
    BOOL,
    BYTES,
    LISTING,
    ONEOF,
    STRING,
    UINT32,
    UINT64,
    Message,
    Record,
    Scalar,
)

U32 = st.integers(0, (1 << 32) - 1)
U64 = st.integers(0, (1 << 64) - 1)
HASHES = st.sampled_from(Hash)

DERIVATIONS: list[KeyDerivation] = [KeyDerivation(scheme, h) for scheme in DerivationScheme for h in Hash]
SIGNATURES: list[AsymmetricSignature] = [
    AsymmetricSignature(scheme, h)
    for scheme in SignatureScheme
    for h in ([*Hash, ANY_HASH] if scheme in HASHED_SIGNATURES else [None])
]
ENCRYPTIONS: list[AsymmetricEncryption] = [
    AsymmetricEncryption(EncryptionScheme.RSA_PKCS1V15),
    *(AsymmetricEncryption(EncryptionScheme.RSA_OAEP, h) for h in Hash),
]
AGREEMENTS: list[KeyAgreement] = [
    KeyAgreement(raw, derivation) for raw in RawAgreement for derivation in (None, *DERIVATIONS)
]
MACS: list[Mac] = [
    *(Mac(MacScheme.HMAC, h) for h in Hash),
    *(Mac(scheme) for scheme in (MacScheme.CBC_MAC, MacScheme.CMAC)),
]
CIPHERS: list[Cipher] = [Cipher(mode) for mode in CipherMode]
KEY_TYPES: list[KeyType] = [
    KeyType(kind, family)
    for kind in KeyKind
    for family in (
        list(EccFamily) if kind.name.startswith("ECC_") else list(DhFamily) if kind.name.startswith("DH_") else [None]
    )
]


def all_algorithms(lengths: tuple[int | None, ...] = (None, 8)) -> list[Algorithm]:
    """Return every algorithm there is, MACs and AEADs with each of these lengths."""
    macs = [replace(whole, length=length) for whole in MACS for length in lengths]
    return [
        NoAlgorithm(),
        *(HashAlgorithm(h) for h in Hash),
        *macs,
        *CIPHERS,
        *(Aead(scheme, length) for scheme in AeadScheme for length in lengths),
        *SIGNATURES,
        *ENCRYPTIONS,
        *AGREEMENTS,
        *DERIVATIONS,
    ]


def _truncated(lengths: st.SearchStrategy[int]) -> st.SearchStrategy[Mac]:
    return st.builds(replace, st.sampled_from(MACS), length=lengths)


def algorithms(lengths: st.SearchStrategy[int] = U32) -> st.SearchStrategy[Algorithm]:
    """Return any algorithm."""
    return st.one_of(
        st.sampled_from(all_algorithms((None,))),
        _truncated(lengths),
        st.builds(Aead, st.sampled_from(AeadScheme), lengths),
    )


USAGES = st.integers(0, (1 << 10) - 1).map(Usage)


def attributes(numbers: st.SearchStrategy[int] = U32) -> st.SearchStrategy[KeyAttributes]:
    """Return any attributes; usage flags may lack those that others imply."""
    return st.builds(KeyAttributes, st.sampled_from(KEY_TYPES), numbers, USAGES, algorithms(numbers))


WIDENED_ATTRIBUTES = st.builds(KeyAttributes, st.sampled_from(KEY_TYPES), U32, USAGES.map(Usage.widened), algorithms())

_BY_TYPE: dict[object, st.SearchStrategy[object]] = {
    str: st.text(st.characters(codec="utf-8"), max_size=20),
    bytes: st.binary(max_size=40),
    Hash: HASHES,
    CheckType: st.sampled_from(CheckType),
    KeyAttributes: WIDENED_ATTRIBUTES,
    AsymmetricSignature: st.sampled_from(SIGNATURES),
    AsymmetricEncryption: st.sampled_from(ENCRYPTIONS),
    Aead: st.builds(Aead, st.sampled_from(AeadScheme), st.none() | U32),
    Cipher: st.sampled_from(CIPHERS),
    Mac: st.sampled_from(MACS) | _truncated(U32),
}
_BY_FIELD: dict[tuple[type[Operation], str], st.SearchStrategy[object]] = {
    (ListOpcodes, "provider_id"): st.integers(0, 5),
    (GenerateRandom, "size"): U64,
    (RawKeyAgreement, "alg"): st.sampled_from([KeyAgreement(raw) for raw in RawAgreement]),
}


def operations_of(kind: type[Operation]) -> st.SearchStrategy[Operation]:
    """Return any operation of a type, as the decoder would return it."""
    values: dict[str, st.SearchStrategy[object]] = {
        field.name: _BY_FIELD[kind, field.name] if (kind, field.name) in _BY_FIELD else _BY_TYPE[field.type]
        for field in fields(kind)
    }
    return st.builds(kind, **values)


OPERATIONS_OF_ALL_KINDS = st.one_of([operations_of(kind) for kind in OPERATIONS.values()])


_SCALARS: dict[Scalar, st.SearchStrategy[object]] = {
    # Google's library has no enumerations beyond 31 bits.
    UINT32: st.integers(0, 20) | st.integers(0, (1 << 31) - 1),
    UINT64: U64,
    BOOL: st.booleans(),
    STRING: st.text(st.characters(codec="utf-8"), max_size=150),
    BYTES: st.binary(max_size=150),
}


def records(message: Message) -> st.SearchStrategy[Record]:
    """Return any record of a type of message."""
    values = [records(kind) if isinstance(kind, Message) else _SCALARS[kind] for kind in message.fields.values()]
    if message.shape == ONEOF:
        members = [st.tuples(st.just(number), value) for number, value in enumerate(values, 1)]
        return st.one_of(st.just((0, None)), *members)
    if message.shape == LISTING:
        return st.lists(values[0], max_size=4).map(tuple)
    return st.tuples(
        *(
            st.none() | value if isinstance(kind, Message) else value
            for kind, value in zip(message.fields.values(), values, strict=True)
        )
    )
