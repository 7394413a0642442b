"""Keys that the reference service left behind: a key store, and the TPM that it used, which is started here.

The files in vectors/ are as the reference wrote them; README.txt there says how they were made. The stored part of a
key does not include its template, so the rest has to be made here as the reference made it: with a single wrong bit in
a public area, the TPM refuses to load the key.
"""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key
from tests.harness.tpm.channel import LOOPBACK
from tests.harness.tpm.swtpm import Swtpm
from tests.providers.support import refused

from cofferdam_contracts.identity import KeyIdentity
from cofferdam_contracts.psa.algorithm import (
    AsymmetricEncryption,
    AsymmetricSignature,
    EncryptionScheme,
    Hash,
    SignatureScheme,
)
from cofferdam_contracts.psa.attributes import KeyAttributes
from cofferdam_contracts.psa.encoding import decode_attributes, encode_attributes
from cofferdam_contracts.registry import INTERNAL_AUTHENTICATOR, PROVIDERS, ProviderId
from cofferdam_contracts.settings import TctiSettings
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.provider import StoredKey
from cofferdam_providers.pyca.hashes import PRIMITIVES
from cofferdam_providers.tpm import asym_encryption, asym_sign, blobs, public, root_key
from cofferdam_providers.tpm.blobs import Blob
from cofferdam_providers.tpm.connection import TpmConnection
from cofferdam_providers.tpm.device import AUTH_BYTES, TpmDevice
from cofferdam_providers.tpm.keys import TpmKey
from cofferdam_providers.tpm.transport import StreamTransport

VECTORS: Final = Path(__file__).parent / "vectors"
DOCUMENT: Final = json.loads((VECTORS / "keys.json").read_text())
MESSAGE: Final = DOCUMENT["message"].encode()
ANOTHER: Final = b"the tide is in"
_CURVES: Final = {256: ec.SECP256R1(), 384: ec.SECP384R1()}


@dataclass(frozen=True, slots=True)
class Row:
    """The stored form of one key, and what the reference did with it."""

    name: str
    stored: bytes
    encoded: bytes
    exported: bytes
    signature: bytes
    ciphertext: bytes
    label: bytes
    ciphertext_with_label: bytes

    @property
    def attributes(self) -> KeyAttributes:
        """Return the stored attributes."""
        return decode_attributes(self.encoded)

    @property
    def blob(self) -> Blob:
        """Return the stored key."""
        return blobs.decode(self.stored)

    @property
    def checker(self) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
        """Return the public key that the reference exported, as another library has it."""
        curve = _CURVES.get(self.attributes.bits)
        if self.exported[:1] == b"\4" and curve is not None:
            return ec.EllipticCurvePublicKey.from_encoded_point(curve, self.exported)
        key = load_der_public_key(self.exported)
        assert isinstance(key, rsa.RSAPublicKey)
        return key


def _mapping() -> dict[tuple[int, str, str], tuple[str, str, bytes, int, bytes, int]]:
    connection = sqlite3.connect(f"{(VECTORS / 'kim.sqlite3').as_uri()}?immutable=1", uri=True)
    try:
        rows = connection.execute("SELECT * FROM key_mapping").fetchall()
    finally:
        connection.close()
    return {row[:3]: row[3:] for row in rows}


MAPPING: Final = _mapping()
ROOT: Final = (INTERNAL_AUTHENTICATOR, "parsec", "RootKeyTPM")


def _rows() -> Iterator[Row]:
    for key in DOCUMENT["keys"]:
        stored = MAPPING[DOCUMENT["authenticator"], DOCUMENT["application"], key["name"]]
        yield Row(
            name=key["name"],
            stored=stored[2],
            encoded=stored[4],
            **{
                field: bytes.fromhex(key.get(field, ""))
                for field in ("exported", "signature", "ciphertext", "label", "ciphertext_with_label")
            },
        )


ROWS: Final = tuple(_rows())
PAIRS: Final = tuple(row for row in ROWS if row.blob.private)
SIGNING: Final = tuple(row for row in ROWS if isinstance(row.attributes.algorithm, AsymmetricSignature))
ENCRYPTING: Final = tuple(row for row in ROWS if isinstance(row.attributes.algorithm, AsymmetricEncryption))


class FewRows:
    """A key store in memory, as the provider sees it."""

    def __init__(self) -> None:
        self.active: dict[KeyIdentity, StoredKey] = {}

    def lookup(self, identity: KeyIdentity) -> StoredKey:
        if identity not in self.active:
            raise ServiceError(Status.PSA_ERROR_DOES_NOT_EXIST, "no such row")
        return self.active[identity]

    def reserve(self, identity: KeyIdentity, planned: StoredKey) -> None:
        del planned
        assert identity not in self.active

    def activate(self, identity: KeyIdentity, stored: StoredKey) -> None:
        self.active[identity] = stored


def each(*rows: Row) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", rows, ids=lambda row: row.name)


@pytest.fixture(scope="module")
def swtpm() -> Iterator[Swtpm]:
    tpm = Swtpm()
    shutil.copy(VECTORS / "tpm2-00.permall", tpm.folder / "state")
    with tpm:
        yield tpm


@pytest.fixture(scope="module", params=[True, False], ids=["sessions", "passwords"])
def device(swtpm: Swtpm, request: pytest.FixtureRequest) -> Iterator[TpmDevice]:
    assert isinstance(swtpm.address, int)
    tcti = TctiSettings(kind="swtpm", path=None, host=LOOPBACK, port=swtpm.address, bus_name=None, bus_type=None)
    transport = StreamTransport(tcti)
    device = TpmDevice(
        TpmConnection(transport), owner_auth=b"", endorsement_auth=b"", protected=request.param, busy=lambda _: None
    )
    device.open()
    yield device
    device.close()
    # swtpm accepts no other connection while this one is open.
    transport._socket.close()


def key_of(device: TpmDevice, row: Row) -> TpmKey:
    return TpmKey(device, row.attributes, row.blob, device.root)


def digest_of(algorithm: AsymmetricSignature, message: bytes) -> bytes:
    context = hashes.Hash(hash_of(algorithm))
    context.update(message)
    return context.finalize()


def hash_of(algorithm: AsymmetricSignature | AsymmetricEncryption) -> hashes.HashAlgorithm:
    assert isinstance(algorithm.hash, Hash)
    return PRIMITIVES[algorithm.hash]


def check(row: Row, message: bytes, signature: bytes) -> None:
    """Reject a signature that does not fit the exported public key."""
    algorithm = row.attributes.algorithm
    assert isinstance(algorithm, AsymmetricSignature)
    checker, hashed = row.checker, hash_of(algorithm)
    if isinstance(checker, ec.EllipticCurvePublicKey):
        size = len(signature) // 2
        r, s = (int.from_bytes(number, "big") for number in (signature[:size], signature[size:]))
        checker.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashed))
    elif algorithm.scheme is SignatureScheme.RSA_PSS:
        checker.verify(signature, message, padding.PSS(padding.MGF1(hashed), padding.PSS.AUTO), hashed)
    else:
        checker.verify(signature, message, padding.PKCS1v15(), hashed)


def test_there_is_a_vector_for_each_row_and_a_row_for_each_vector() -> None:
    application = DOCUMENT["authenticator"], DOCUMENT["application"]
    assert set(MAPPING) == {ROOT} | {(*application, row.name) for row in ROWS}
    assert {row[:2] for row in MAPPING.values()} == {(PROVIDERS[ProviderId.TPM].uuid, PROVIDERS[ProviderId.TPM].name)}
    assert {(row[3], row[5]) for row in MAPPING.values()} == {(1, 1)}


@each(*ROWS)
def test_the_form_is_the_same_in_every_bit(row: Row) -> None:
    assert blobs.encode(blobs.decode(row.stored)) == row.stored
    assert encode_attributes(decode_attributes(row.encoded)) == row.encoded


def test_the_form_of_the_name_is_the_same_in_every_bit() -> None:
    stored = MAPPING[ROOT][2]
    assert blobs.encode_name(blobs.decode_name(stored)) == stored


@each(*ROWS)
def test_the_public_part_is_exported_as_the_reference_does(row: Row) -> None:
    blob = row.blob
    assert public.exported(blob.part, (row.attributes.bits + 7) // 8) == row.exported


@each(*PAIRS)
def test_the_authorisation_value_is_as_long_as_ours(row: Row) -> None:
    assert len(row.blob.auth) == AUTH_BYTES


def test_the_storage_root_key_is_that_of_the_reference(device: TpmDevice) -> None:
    assert device.root.name == blobs.decode_name(MAPPING[ROOT][2])


def test_the_name_is_kept_where_and_as_the_reference_keeps_it(device: TpmDevice) -> None:
    rows = FewRows()
    root_key.check(rows, device.root.name)
    ((identity, row),) = rows.active.items()
    _, _, stored, version, encoded, _ = MAPPING[ROOT]
    assert (identity.authenticator, identity.application, identity.key_name) == ROOT
    assert (row.key_id, row.version, encode_attributes(row.attributes)) == (stored, version, encoded)
    root_key.check(rows, device.root.name)
    with pytest.raises(root_key.RootKeyError):
        root_key.check(rows, bytes(len(device.root.name)))


@each(*ROWS)
def test_the_public_area_is_that_of_the_reference(device: TpmDevice, row: Row) -> None:
    # TPM2_Load compares a private blob with the Name, the digest of the public area; `load` compares the Name as well.
    key = key_of(device, row)
    (loaded,) = device.slots.ensure_loaded(key)
    assert loaded.name == public.name_of(key.area)
    device.slots.drop(key)


@each(*(row for row in SIGNING if row in PAIRS))
def test_signatures_of_the_keys_are_good(device: TpmDevice, row: Row) -> None:
    algorithm = row.attributes.algorithm
    assert isinstance(algorithm, AsymmetricSignature)
    signature = asym_sign.sign_hash(device, key_of(device, row), algorithm, digest_of(algorithm, ANOTHER))
    check(row, ANOTHER, signature)
    with pytest.raises(InvalidSignature):
        check(row, MESSAGE, signature)


@each(*(row for row in SIGNING if row.signature))
def test_signatures_that_the_reference_took_for_good_are_good(device: TpmDevice, row: Row) -> None:
    algorithm = row.attributes.algorithm
    assert isinstance(algorithm, AsymmetricSignature)
    check(row, MESSAGE, row.signature)
    key = key_of(device, row)
    asym_sign.verify_hash(device, key, algorithm, digest_of(algorithm, MESSAGE), row.signature)
    with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
        asym_sign.verify_hash(device, key, algorithm, digest_of(algorithm, ANOTHER), row.signature)


@each(*(row for row in ENCRYPTING if row in PAIRS))
def test_what_the_reference_encrypted_is_decrypted(device: TpmDevice, row: Row) -> None:
    algorithm = row.attributes.algorithm
    assert isinstance(algorithm, AsymmetricEncryption)
    key = key_of(device, row)
    assert asym_encryption.decrypt(device, key, algorithm, row.ciphertext, b"") == MESSAGE
    if row.label:
        assert asym_encryption.decrypt(device, key, algorithm, row.ciphertext_with_label, row.label) == MESSAGE
        with refused(Status.PSA_ERROR_INVALID_PADDING):
            asym_encryption.decrypt(device, key, algorithm, row.ciphertext_with_label, b"")


@each(*(row for row in ENCRYPTING if row in PAIRS))
def test_what_others_encrypted_is_decrypted(device: TpmDevice, row: Row) -> None:
    algorithm, checker = row.attributes.algorithm, row.checker
    assert isinstance(algorithm, AsymmetricEncryption)
    assert isinstance(checker, rsa.RSAPublicKey)
    if algorithm.scheme is EncryptionScheme.RSA_OAEP:
        hashed = hash_of(algorithm)
        ciphertext = checker.encrypt(ANOTHER, padding.OAEP(padding.MGF1(hashed), hashed, None))
    else:
        ciphertext = checker.encrypt(ANOTHER, padding.PKCS1v15())
    assert asym_encryption.decrypt(device, key_of(device, row), algorithm, ciphertext, b"") == ANOTHER


@each(*ENCRYPTING)
def test_something_is_encrypted_for_the_keys(device: TpmDevice, row: Row) -> None:
    algorithm = row.attributes.algorithm
    assert isinstance(algorithm, AsymmetricEncryption)
    key = key_of(device, row)
    ciphertext = asym_encryption.encrypt(device, key, algorithm, ANOTHER, b"")
    if row in PAIRS:
        assert asym_encryption.decrypt(device, key, algorithm, ciphertext, b"") == ANOTHER
    else:
        assert len(ciphertext) == key.size
