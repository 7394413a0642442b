"""Every operation of every provider through the socket: one table of provider, operation, input and expectation.

`tests/harness/operations` says what each operation has to do; results are compared with pyca/cryptography. The
PKCS#11 provider is tried with two modules of different makes, so that it is not shaped by one: NSS does what SoftHSM
does not (OAEP with any hash and with a label), refuses attributes that SoftHSM takes, and has other return codes for
the same mistakes.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PSS
from tests.harness.answers import der_of, refused
from tests.harness.device_service import DeviceService
from tests.harness.operations import asymmetric, general, symmetric
from tests.harness.operations.general import CURVES, P256, with_
from tests.harness.operations.symmetric import Origin
from tests.harness.pkcs11.service import TokenService
from tests.harness.pkcs11.token import objects
from tests.harness.service import Service
from tests.harness.tpm.service import TpmService

from cofferdam_client import (
    AES_CCM,
    RSA_PKCS1V15_ENCRYPTION,
    CheckType,
    Cipher,
    CipherMode,
    Client,
    Curve,
    Direct,
    Hash,
    KeyAttributes,
    KeyKind,
    KeyType,
    Mac,
    MacScheme,
    Status,
    UnixPeerCredentials,
    Usage,
    aes_cmac_key,
    aes_gcm_key,
    chacha20_poly1305_key,
    ecc_signing_key,
    ecdh_key,
    ecdsa,
    hmac_key,
    hmac_with,
    public_key_of,
    rsa_encryption_key,
    rsa_signing_key,
)

INVALID = Status.PSA_ERROR_INVALID_ARGUMENT
NOT_PERMITTED = Status.PSA_ERROR_NOT_PERMITTED
NOT_SUPPORTED = Status.PSA_ERROR_NOT_SUPPORTED
Refused = Status | tuple[Status, ...]
EXISTS, ABSENT = Status.PSA_ERROR_ALREADY_EXISTS, Status.PSA_ERROR_DOES_NOT_EXIST
ALLOWED = {"core_settings": {"allow_deprecated": True}}

SERVICES: Final[Mapping[str, Callable[[], Service | DeviceService]]] = {
    "software": Service,
    "software, deprecated": lambda: Service(tables=ALLOWED),
    "software, all opcodes": lambda: Service(tables={"provider": {"list_all_opcodes": True}}),
    "softhsm": TokenService,
    "softhsm, deprecated": lambda: TokenService(tables=ALLOWED),
    "softhsm, all opcodes": lambda: TokenService(values={"list_all_opcodes": True}),
    "softhsm, no export": lambda: TokenService(values={"allow_export": False}),
    "nss": lambda: TokenService(before="second"),
    "tpm": TpmService,
}
"""The services that a row may name: a provider, and what is configured otherwise than usually."""

SHA_2 = (Hash.SHA_224, Hash.SHA_256, Hash.SHA_384, Hash.SHA_512)
NIST = (Curve.P_256, Curve.P_384, Curve.P_521)
TPM_HASHES = SHA_2[1:]
PKCS1V15_HASHES = (*SHA_2, Hash.SHA_512_256, Hash.SHA3_256)
HASHLIB = {
    Hash.MD5: "md5",
    Hash.RIPEMD160: "ripemd160",
    Hash.SHA_1: "sha1",
    Hash.SHA_256: "sha256",
    Hash.SHA_512_256: "sha512_256",
    Hash.SHA3_384: "sha3_384",
}
RSA = ((1024, Hash.SHA_256), (2048, Hash.SHA_512), (3072, Hash.SHA_384))
TPM_RSA = ((1024, Hash.SHA_256), *product([2048], TPM_HASHES))
CBC, CTR = CipherMode.CBC_PKCS7, CipherMode.CTR
PARSECS = {2, 3, 4, 5, 6, 7, 10, 11, 13, 32}
"""The opcodes that Parsec's provider of PKCS#11 lists."""
PUBLIC = public_key_of(P256)
SIZES = (512, 1024, 2047, 3072, 4096, 16384)
"""Announced for an RSA key of 2048 bits."""
AES_GCM = aes_gcm_key().algorithm
KEY_AGREEMENT = (Client.raw_key_agreement, bytes(65))
ATTESTATION = ((Client.attest_key, b"blob", b"secret"), (Client.prepare_key_attestation,))
SYMMETRIC = (
    (Client.aead_encrypt, bytes(12), b"text", AES_GCM),
    (Client.aead_decrypt, bytes(12), bytes(20), AES_GCM),
    (Client.cipher_encrypt, b"text", Cipher(CipherMode.CTR)),
    (Client.cipher_decrypt, bytes(32), Cipher(CipherMode.CTR)),
    (Client.mac_compute, b"text", hmac_with(Hash.SHA_256)),
    (Client.mac_verify, b"text", bytes(32), hmac_with(Hash.SHA_256)),
)
SHA_1_KEY = ecc_signing_key(Curve.P_256, Hash.SHA_1)
CBC_MAC_KEY = with_(aes_cmac_key(), algorithm=Mac(MacScheme.CBC_MAC))
RAW_DATA = KeyAttributes(KeyType(KeyKind.RAW_DATA), 256, Usage.EXPORT, hmac_with(Hash.SHA_256))
CAN = {CheckType.GENERATE: True, CheckType.USE: True, CheckType.DERIVE: False}
CANNOT = {CheckType.GENERATE: False}


@dataclass(frozen=True)
class Row:
    """A row: what a provider has to do with an input, and what is expected where providers differ."""

    service: str
    operation: Callable[..., None]
    inputs: tuple[object, ...] = ()
    expected: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        words = [self.operation.__name__, *map(_word, self.inputs), *map(_word, self.expected.values())]
        return "-".join([self.service, *filter(None, words)])


def _word(value: object) -> str:
    """Return how a value is named in the id of a test."""
    if isinstance(value, KeyAttributes):
        return f"{value.type.kind.name}/{value.bits}"
    name = getattr(value, "name", getattr(value, "__name__", ""))
    return name or (str(value) if isinstance(value, int | str) else "")


def rows(service: str, operation: Callable[..., None], *inputs: object, **expected: object) -> list[Row]:
    """Return a row for each input, which is a tuple if the operation has several."""
    every = [one if isinstance(one, tuple) else (one,) for one in inputs]
    return [Row(service, operation, one, expected) for one in every or [()]]


def refused_by(
    service: str, status: Refused, method: Callable[..., object], *inputs: object, **keys: KeyAttributes
) -> Row:
    """Return the row of a method of the client that fails with a status once the keys are there."""
    return Row(service, general.refusal, (method, *inputs), {"status": status, "keys": keys})


def can(service: str, *keys: KeyAttributes, **expected: object) -> list[Row]:
    """Return rows of keys that can be generated and used."""
    return rows(service, general.capability, *keys, checks=CAN, **expected)


def cannot(service: str, status: Refused, *keys: KeyAttributes, **expected: object) -> list[Row]:
    """Return rows of keys whose generation fails, as CanDoCrypto says."""
    return rows(service, general.capability, *keys, checks=CANNOT, status=status, **expected)


SIGNATURES = [
    *rows("software", asymmetric.ecdsa, *product(CURVES, SHA_2)),
    *rows("softhsm", asymmetric.ecdsa, *product(NIST, SHA_2)),
    *rows("nss", asymmetric.ecdsa, *product(NIST, [Hash.SHA_512])),
    *rows("tpm", asymmetric.ecdsa, *product(NIST, TPM_HASHES)),
    *rows("software", asymmetric.rsa_signature, *RSA, pss=False),
    *rows("software", asymmetric.rsa_signature, *RSA, pss=True),
    *rows("softhsm", asymmetric.rsa_signature, *product([2048], PKCS1V15_HASHES), pss=False),
    *rows("softhsm", asymmetric.rsa_signature, *RSA, pss=True),
    *rows("nss", asymmetric.rsa_signature, (2048, Hash.SHA_256), pss=False),
    *rows("nss", asymmetric.rsa_signature, (2048, Hash.SHA_256), pss=True),
    *rows("tpm", asymmetric.rsa_signature, *TPM_RSA, (3072, Hash.SHA_384), pss=False),
    *rows("tpm", asymmetric.rsa_signature, *TPM_RSA, pss=True, salt=PSS.AUTO),
    *rows("software", asymmetric.deterministic_ecdsa),
    *rows("softhsm", asymmetric.raw_pkcs1v15_signature),
    *rows("software", asymmetric.message),
    *rows("softhsm", asymmetric.message),
    *rows("tpm", asymmetric.message),
    *rows("tpm", asymmetric.private_use_of_a_public_key),
    refused_by("tpm", NOT_PERMITTED, Client.sign_hash, "k", bytes(48), ecdsa(Hash.SHA_384), k=P256),
    refused_by("tpm", INVALID, Client.sign_hash, "k", bytes(31), ecdsa(), k=P256),
    refused_by("softhsm", ABSENT, Client.sign_hash, "absent", bytes(32), ecdsa()),
]
ENCRYPTION = [
    *rows("software", asymmetric.pkcs1v15_encryption, 2048),
    *rows("softhsm", asymmetric.pkcs1v15_encryption, 2048, tells_padding=False),
    *rows("nss", asymmetric.pkcs1v15_encryption, 2048, tells_padding=False),
    *rows("tpm", asymmetric.pkcs1v15_encryption, 1024, 2048),
    *rows("software", asymmetric.oaep, (Hash.SHA_256, b"label"), others=(b"", b"another")),
    *rows("nss", asymmetric.oaep, (Hash.SHA_256, b""), others=(b"label", b"another")),
    *rows("nss", asymmetric.oaep, (Hash.SHA_256, b"label"), others=(b"", b"another")),
    *rows("tpm", asymmetric.oaep, *product(TPM_HASHES, [b"", b"label\0"]), others=(b"other\0",)),
    *rows("tpm", asymmetric.oaep_without_label, *product(TPM_HASHES, [b"no zero byte"])),
    # SoftHSM has OAEP with SHA-1 and no label, and a key with SHA-1 is a deprecated one.
    *rows("softhsm, deprecated", asymmetric.oaep, (Hash.SHA_1, b""), others=()),
    *rows("softhsm, deprecated", asymmetric.oaep_without_label, (Hash.SHA_1, b"label")),
    *rows("software", symmetric.gcm, *product([128, 192, 256], [Origin.EXPORTED])),
    *rows("softhsm", symmetric.gcm, *product([128, 192, 256], [Origin.EXPORTED])),
    *rows("nss", symmetric.gcm, *product([128, 256], [Origin.IMPORTED])),
    *rows("software", symmetric.ccm, 128, 192, 256),
    *rows("software", symmetric.chacha20_poly1305),
    *rows("software", symmetric.cipher, *product([CBC, CTR, CipherMode.CFB, CipherMode.OFB], [Origin.EXPORTED])),
    *rows("softhsm", symmetric.cipher, *product([CTR, CBC, CipherMode.CBC_NO_PADDING], [Origin.EXPORTED])),
    *rows("softhsm", symmetric.ecb),
    *rows("nss", symmetric.cipher, *product([CBC, CTR], [Origin.KEPT])),
]
MACS = [
    *rows("software", symmetric.hmac, *product(SHA_2, [Origin.EXPORTED])),
    *rows("softhsm", symmetric.hmac, *product(SHA_2, [Origin.IMPORTED], [None, 16])),
    *rows("softhsm", symmetric.hmac, *product(SHA_2, [Origin.KEPT])),
    *rows("nss", symmetric.hmac, (Hash.SHA_256, Origin.KEPT)),
    *rows("software", symmetric.cmac, *product([192], [None, 4, 15, 16])),
    *rows("softhsm", symmetric.cmac, 256),
    *rows("software", symmetric.mac_that_nobody_makes, 0, 17, status=INVALID),
    *rows("software", symmetric.mac_that_nobody_makes, 3, status=NOT_SUPPORTED),
    *rows("software", symmetric.mac_verification),
    refused_by("software", NOT_SUPPORTED, Client.generate_key, "k", CBC_MAC_KEY),
]
KEYS = [
    *rows("software", asymmetric.key_agreement, Curve.P_256, Curve.P_384, Curve.X25519, Curve.X448),
    *rows("software", asymmetric.imported_curve_key, Curve.P_256),
    *rows("softhsm", asymmetric.imported_curve_key, *NIST),
    *rows("nss", asymmetric.imported_curve_key, Curve.P_256),
    *rows("softhsm", asymmetric.imported_rsa_key),
    *rows("tpm", asymmetric.imported_public_keys),
    *(row for name in ("software", "softhsm", "nss", "tpm") for row in rows(name, asymmetric.announced_size, *SIZES)),
    *rows("tpm", asymmetric.many_keys),
    *rows("tpm", general.destroyed_key),
    *rows("software", general.material, (KeyKind.RAW_DATA, 800), (KeyKind.HMAC, 256), (KeyKind.DERIVE, 128)),
    refused_by("tpm", NOT_SUPPORTED, Client.import_key, "k", P256, bytes(31) + b"\1"),
    # NSS shows no secret key that is in its database.
    refused_by("nss", NOT_PERMITTED, Client.export_key, "k", k=aes_gcm_key(256, exportable=True)),
    refused_by("softhsm", NOT_PERMITTED, Client.export_key, "k", k=aes_gcm_key()),
    refused_by("softhsm", NOT_PERMITTED, Client.export_key, "k", k=P256),
    refused_by("softhsm", INVALID, Client.export_public_key, "k", k=aes_gcm_key()),
    refused_by("software", ABSENT, Client.export_public_key, "absent"),
    # The order of checks is the reference's.
    refused_by("softhsm", INVALID, Client.generate_key, "k", PUBLIC, k=P256),
    refused_by("softhsm", EXISTS, Client.generate_key, "k", chacha20_poly1305_key(), k=P256),
    refused_by("softhsm", INVALID, Client.import_key, "k", PUBLIC, b"", k=P256),
    refused_by("softhsm", EXISTS, Client.import_key, "k", PUBLIC, b"nonsense", k=P256),
]
WITHOUT_A_KEY = [
    *rows("software", general.hashing, *HASHLIB.items()),
    *rows("software", general.random, 0, 32, 1000),
    *rows("softhsm", general.random, 0, 32, 100_000),
    *rows("nss", general.random, 1 << 20),  # 64 KiB at a time
    *rows("tpm", general.random, 0, 1, 48, 64, 65, 1000, 1024, 1025, 100_000),
    refused_by("softhsm", Status.RESPONSE_TOO_LARGE, Client.generate_random, (1 << 20) + 1),
    refused_by("softhsm", NOT_SUPPORTED, Client.hash_compute, b"input", Hash.SHA_256),
    # Clients on Parsec's Rust library cannot read a list with the numbers of MACs.
    *rows("software, all opcodes", general.opcodes, 1, has={0x14, 0x15, 0x18, 0x19}, lacks={0x16, 0x17}),
    *rows("softhsm", general.opcodes, 2, has=PARSECS),
    *rows("softhsm, all opcodes", general.opcodes, 2, has=PARSECS | {12, 17, 18, 20, 21, 24, 25}),
]
MISSING = [
    *rows("softhsm", general.missing_operation, KEY_AGREEMENT, *ATTESTATION),
    *rows("tpm", general.missing_operation, KEY_AGREEMENT, (Client.export_key,), *SYMMETRIC),
    *rows("software", general.missing_operation, *ATTESTATION),
]
"""Operations that a provider does not have. Clients look for them with the name of a key that does not exist."""
MESSAGES = (
    (Client.sign_message, b"text", ecdsa()),
    (Client.verify_message, b"text", bytes(64), ecdsa()),
)
MAC_METHODS = (Client.mac_compute, Client.mac_verify)
UNLISTED = {"software": (*SYMMETRIC[2:], *MESSAGES), "softhsm": (*SYMMETRIC, *MESSAGES, (Client.export_key,))}
LOOKED_FOR = [
    *(
        refused_by(name, NOT_SUPPORTED, method, "absent", *inputs)
        for name, unlisted in {**UNLISTED, "tpm": MESSAGES}.items()
        for method, *inputs in unlisted
    ),
    *(
        refused_by(
            f"{name}, all opcodes", NOT_SUPPORTED if method in MAC_METHODS else ABSENT, method, "absent", *inputs
        )
        for name, unlisted in UNLISTED.items()
        for method, *inputs in unlisted
    ),
]
"""Operations that work and are not listed: who looks for them in this way learns what the list says."""
CAPABILITIES = [
    *can("software", ecc_signing_key(Curve.P_384, Hash.SHA_384), rsa_signing_key(3072), aes_gcm_key()),
    *can("software", ecdh_key(), hmac_key()),
    *cannot("software", INVALID, rsa_signing_key(1000)),
    refused_by("software", Status.DEPRECATED_PRIMITIVE, Client.generate_key, "k", SHA_1_KEY),
    *can("software, deprecated", SHA_1_KEY),
    *can("softhsm", *(ecc_signing_key(curve, Hash.SHA_256) for curve in NIST)),
    *can("softhsm", *(rsa_signing_key(2048, hash_, pss=pss) for hash_, pss in product(SHA_2, (False, True)))),
    *can("softhsm", rsa_encryption_key(), aes_gcm_key(128), aes_gcm_key(256), hmac_key(), aes_cmac_key(128)),
    *cannot("softhsm", NOT_SUPPORTED, rsa_encryption_key(oaep=Hash.SHA_256), chacha20_poly1305_key(), ecdh_key()),
    *cannot("softhsm", NOT_SUPPORTED, ecc_signing_key(Curve.SECP256K1, Hash.SHA_256)),
    *cannot("softhsm", NOT_SUPPORTED, ecc_signing_key(Curve.BRAINPOOL_P256R1, Hash.SHA_256)),
    *cannot("softhsm", NOT_SUPPORTED, with_(aes_gcm_key(), algorithm=AES_CCM)),
    *cannot("softhsm", NOT_SUPPORTED, with_(aes_gcm_key(), algorithm=Cipher(CipherMode.OFB)), RAW_DATA),
    *cannot("softhsm, deprecated", NOT_SUPPORTED, rsa_encryption_key(oaep=Hash.SHA_256)),
    *cannot("softhsm, no export", NOT_PERMITTED, aes_gcm_key(exportable=True), chacha20_poly1305_key(exportable=True)),
    *can("softhsm, no export", aes_gcm_key()),
    # Nobody lists curves, so CanDoCrypto goes by the sizes that the mechanism has.
    *cannot("nss", NOT_SUPPORTED, with_(P256, bits=192)),
    *can("tpm", P256, ecc_signing_key(Curve.P_521, Hash.SHA_512), public=True),
    *can("tpm", rsa_signing_key(2048, Hash.SHA_384, pss=True), rsa_signing_key(3072), public=True),
    *can("tpm", rsa_encryption_key(oaep=Hash.SHA_256), public=True),
    # The reference answers 1145, and that it could.
    *cannot("tpm", NOT_SUPPORTED, rsa_signing_key(4096), rsa_signing_key(4096, Hash.SHA_384), public=False),
    *cannot("tpm", NOT_SUPPORTED, ecc_signing_key(Curve.SECP256K1, Hash.SHA_256), public=False),
    *cannot("tpm", (NOT_SUPPORTED, INVALID), aes_gcm_key(), hmac_key(), ecdh_key()),
    *cannot("tpm", (NOT_SUPPORTED, INVALID), ecc_signing_key(Curve.P_256, Hash.SHA_224)),
]
IDLE = [
    *rows("software", general.policy_without_algorithm, P256, rsa_encryption_key(1024)),
    *rows("softhsm", general.policy_without_algorithm, P256, rsa_encryption_key(1024)),
    *rows("nss", general.policy_without_algorithm, P256, rsa_encryption_key(2048)),
    *rows("tpm", general.policy_without_algorithm, P256, rsa_encryption_key(2048), rsa_signing_key(2048)),
]
TABLE = (*SIGNATURES, *ENCRYPTION, *MACS, *KEYS, *WITHOUT_A_KEY, *MISSING, *LOOKED_FOR, *CAPABILITIES, *IDLE)


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest) -> Iterator[Service | DeviceService]:
    """Return the service of a row. The rows of one service follow one another, so that it starts once."""
    with SERVICES[request.param]() as service:
        yield service


@pytest.fixture
def client(running: Service | DeviceService) -> Iterator[Client]:
    """Return a client of its provider, without keys before and after."""
    with running.client() as connected:
        yield connected
        for key in connected.list_keys():
            connected.destroy_key(key.name)


@pytest.mark.parametrize(
    ("running", "row"),
    [pytest.param(row.service, row, id=str(row)) for name in SERVICES for row in TABLE if row.service == name],
    indirect=["running"],
    scope="module",
)
def test_operation(client: Client, row: Row) -> None:
    row.operation(client, *row.inputs, **row.expected)


@pytest.mark.parametrize("running", ["softhsm", "nss"], indirect=True)
def test_a_key_is_two_objects_with_an_identifier_nobody_guesses(client: Client, running: TokenService) -> None:
    client.generate_key("k", P256)
    private, public = objects(running.token)
    assert (private.object_class, public.object_class) == ("PRIVATE_KEY", "PUBLIC_KEY")
    assert private.id == public.id
    assert len(bytes.fromhex(private.id)) == 16
    assert private.label == public.label == ""
    client.destroy_key("k")
    assert objects(running.token) == []


@pytest.mark.parametrize("running", ["nss", "tpm"], indirect=True)
def test_a_key_outlives_the_service(client: Client, running: DeviceService) -> None:
    client.generate_key("k", P256)
    public, signature = asymmetric.public_key(client, "k"), client.sign_hash("k", bytes(32), ecdsa())
    running.service.stop()
    running.service.start()
    public.verify(der_of(client.sign_hash("k", bytes(32), ecdsa())), bytes(32), asymmetric.by(Hash.SHA_256))
    client.verify_hash("k", bytes(32), signature, ecdsa())
    client.destroy_key("k")
    running.service.stop()
    assert not isinstance(running, TokenService) or objects(running.token) == []
    running.service.start()


def test_public_operations_in_software() -> None:
    """They do not call the module."""
    values = {"software_public_operations": True}
    with TokenService(before="shim", values=values) as service, service.client() as client:
        client.generate_key("ecc", ecc_signing_key(Curve.P_384, Hash.SHA_256))
        signature = client.sign_hash("ecc", bytes(32), ecdsa())
        client.generate_key("rsa", rsa_encryption_key())
        client.verify_hash("ecc", bytes(32), signature, ecdsa())
        client.asymmetric_encrypt("rsa", b"text", RSA_PKCS1V15_ENCRYPTION)
        before = len(service.shim.calls())
        client.verify_hash("ecc", bytes(32), signature, ecdsa())
        with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
            client.verify_hash("ecc", bytes(32), bytes(96), ecdsa())
        mine = client.asymmetric_encrypt("rsa", b"text", RSA_PKCS1V15_ENCRYPTION)
        assert len(service.shim.calls()) == before
        assert client.asymmetric_decrypt("rsa", mine, RSA_PKCS1V15_ENCRYPTION) == b"text"


def test_authenticators_side_by_side_have_namespaces_of_their_own() -> None:
    with (
        Service(authenticators=["UnixPeerCredentials", "Direct"], admins=["boss"]) as service,
        Client(service.endpoint, auth=UnixPeerCredentials()) as unix,
        Client(service.endpoint, auth=Direct(str(os.getuid()))) as direct,
        Client(service.endpoint, auth=Direct("boss")) as boss,
        Client(service.endpoint, auth=Direct("app")) as app,
    ):
        unix.generate_key("k", P256)
        assert direct.list_keys() == []
        direct.generate_key("k", P256)
        direct.destroy_key("k")
        assert [key.name for key in unix.list_keys()] == ["k"]
        with refused(Status.ADMIN_OPERATION):
            unix.list_clients()
        app.generate_key("k", P256)
        assert boss.list_clients() == ["app"], "the clients of the administrator's own authenticator"
        boss.delete_client("app")
        assert app.list_keys() == []
        boss.delete_client("nobody")
        changes = [line for line in service.log().splitlines() if "a key was changed" in line]
        assert len([line for line in changes if "op=DELETE_CLIENT" in line]) == 1, "one had keys"
        assert [entry.id for entry in unix.list_authenticators()] == [3, 1]
