"""Keys at rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.providers.support import IDENTITY, KEK, attributes, refused

from cofferdam_contracts.identity import KeyIdentity
from cofferdam_contracts.psa.algorithm import AsymmetricSignature, Hash, SignatureScheme
from cofferdam_contracts.psa.attributes import EccFamily, KeyAttributes, KeyKind, Usage
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.pyca.wrapping import Wrapping
from cofferdam_providers.software.provider import PURPOSE

UUID = "1c1139dc-ad7c-47dc-ad6b-db6fdb466552"
ATTRIBUTES = attributes(
    KeyKind.ECC_KEY_PAIR,
    256,
    AsymmetricSignature(SignatureScheme.ECDSA, Hash.SHA_256),
    EccFamily.SECP_R1,
    Usage.SIGN_HASH | Usage.SIGN_MESSAGE,
)
WRAPPING = Wrapping(KEK, UUID, PURPOSE)
MATERIAL = b"the material of a key"
SEALED = WRAPPING.seal(IDENTITY, ATTRIBUTES, MATERIAL)
CORRUPT = Status.PSA_ERROR_CORRUPTION_DETECTED


@given(application=st.text(), key_name=st.text(), material=st.binary(max_size=3000))
def test_what_was_sealed_opens(application: str, key_name: str, material: bytes) -> None:
    identity = KeyIdentity(255, application, key_name)
    sealed = WRAPPING.seal(identity, ATTRIBUTES, material)
    assert WRAPPING.open(identity, ATTRIBUTES, sealed) == material


def test_a_new_process_opens_it() -> None:
    assert Wrapping(KEK, UUID, PURPOSE).open(IDENTITY, ATTRIBUTES, SEALED) == MATERIAL


def test_material_is_not_visible_and_no_two_blobs_are_the_same() -> None:
    assert MATERIAL not in SEALED
    assert len({WRAPPING.seal(IDENTITY, ATTRIBUTES, MATERIAL)[1:] for _ in range(50)}) == 50


@pytest.mark.parametrize(
    "identity",
    [
        replace(IDENTITY, authenticator=1),
        replace(IDENTITY, application="1001"),
        replace(IDENTITY, key_name="signing key 2"),
        # The same characters, divided differently.
        KeyIdentity(3, "1000s", "igning key"),
        KeyIdentity(3, "", "1000signing key"),
    ],
)
def test_a_row_that_was_copied_to_another_name_does_not_open(identity: KeyIdentity) -> None:
    with refused(CORRUPT):
        WRAPPING.open(identity, ATTRIBUTES, SEALED)


@pytest.mark.parametrize(
    "changed",
    [
        replace(ATTRIBUTES, usage=ATTRIBUTES.usage | Usage.EXPORT),
        replace(ATTRIBUTES, usage=Usage.NONE),
        replace(ATTRIBUTES, bits=255),
        replace(ATTRIBUTES, algorithm=AsymmetricSignature(SignatureScheme.ECDSA_ANY)),
        replace(ATTRIBUTES, type=replace(ATTRIBUTES.type, family=EccFamily.SECP_K1)),
    ],
)
def test_a_row_with_another_policy_does_not_open(changed: KeyAttributes) -> None:
    with refused(CORRUPT):
        WRAPPING.open(IDENTITY, changed, SEALED)


def test_another_key_encryption_key_or_provider_does_not_open_it() -> None:
    for wrapping in (
        Wrapping(bytes(32), UUID, PURPOSE),
        Wrapping(KEK, UUID.upper(), PURPOSE),
        Wrapping(KEK, UUID, b""),
    ):
        with refused(CORRUPT):
            wrapping.open(IDENTITY, ATTRIBUTES, SEALED)


def test_every_changed_byte_is_noticed() -> None:
    for place in range(len(SEALED)):
        changed = bytes(byte ^ (at == place) for at, byte in enumerate(SEALED))
        with refused(CORRUPT):
            WRAPPING.open(IDENTITY, ATTRIBUTES, changed)


@pytest.mark.parametrize("length", [0, 1, 32, 33, 48, 49, len(SEALED) - 1])
def test_a_row_that_was_cut_off_does_not_open(length: int) -> None:
    with refused(CORRUPT):
        WRAPPING.open(IDENTITY, ATTRIBUTES, SEALED[:length])


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ServiceError) as caught:
        WRAPPING.open(IDENTITY, ATTRIBUTES, b"\1" + data)
    assert caught.value.status is CORRUPT


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_key_encryption_key_has_one_length(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Wrapping(bytes(length), UUID, PURPOSE)


def test_the_format_stays_readable() -> None:
    """A blob made by the first version, which every later one has to open."""
    sealed = bytes.fromhex(STORED)
    assert WRAPPING.open(IDENTITY, ATTRIBUTES, sealed) == MATERIAL


STORED = (
    "011b6400d2edbf313cba3d674e79a0f75526e473e194164eebce2305b61fb98ab9b3a0c92d317aeda657b874e667f493"
    "d2b60b9ce254299a8adcc3fb4a8f3f689a165086dee7"
)
