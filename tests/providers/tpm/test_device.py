"""A TPM behind each of its transports, and the parents of its keys."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from tests.harness.tpm.channel import LOOPBACK
from tests.harness.tpm.shim import Shim
from tests.harness.tpm.swtpm import Swtpm
from tests.harness.tpm.tabrmd import Tabrmd
from tests.providers.support import attributes

from cofferdam_contracts.identity import Application
from cofferdam_contracts.psa.algorithm import AsymmetricSignature, Hash, SignatureScheme
from cofferdam_contracts.psa.attributes import EccFamily, KeyKind
from cofferdam_contracts.settings import TctiSettings
from cofferdam_providers.tpm import asym_sign, blobs, capabilities, key_management, public
from cofferdam_providers.tpm.connection import TpmConnection
from cofferdam_providers.tpm.device import TpmDevice
from cofferdam_providers.tpm.errors import Code, TpmError
from cofferdam_providers.tpm.keys import TpmKey
from cofferdam_providers.tpm.objects import TpmObject
from cofferdam_providers.tpm.transport import TransportError, open_transport

ECDSA = AsymmetricSignature(SignatureScheme.ECDSA, Hash.SHA_256)
KEY = attributes(KeyKind.ECC_KEY_PAIR, 256, ECDSA, EccFamily.SECP_R1)
DIGEST = hashlib.sha256(b"message").digest()


def way(kind: str, **values: str | int) -> TctiSettings:
    nothing = dict.fromkeys(("path", "host", "port", "bus_name", "bus_type"))
    return TctiSettings(kind=kind, **{**nothing, **values})  # type: ignore[arg-type]


@contextmanager
def opened(tcti: TctiSettings, *, protected: bool = True, owner_auth: bytes = b"") -> Iterator[TpmDevice]:
    connection = TpmConnection(open_transport(tcti))
    try:
        device = TpmDevice(
            connection, owner_auth=owner_auth, endorsement_auth=b"", protected=protected, busy=lambda _busy: None
        )
        device.open()
        yield device
    finally:
        connection.close()


def made(device: TpmDevice, parent: TpmObject) -> TpmKey:
    return TpmKey(device, KEY, key_management.generate(device, parent, blobs.ROOT_PARENT, KEY), parent)


def signs(device: TpmDevice, key: TpmKey) -> None:
    signature = asym_sign.sign_hash(device, key, ECDSA, DIGEST)
    der = encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public.exported(key.part, 32))
    point.verify(der, DIGEST, ec.ECDSA(Prehashed(hashes.SHA256())))


@pytest.fixture
def tpm() -> Iterator[Swtpm]:
    with Swtpm() as running:
        yield running


@pytest.fixture
def device(tpm: Swtpm) -> Iterator[TpmDevice]:
    with Shim(tpm.address) as shim, opened(way("swtpm", host=LOOPBACK, port=shim.address)) as device:
        yield device


@pytest.mark.parametrize("protected", [True, False])
def test_keys_of_a_device_are_used(tpm: Swtpm, *, protected: bool) -> None:
    with (
        Shim(tpm.address) as shim,
        opened(way("swtpm", host=LOOPBACK, port=shim.address), protected=protected) as device,
    ):
        keys = [made(device, device.root) for _ in range(6)]
        for _ in range(2):
            for key in keys:
                signs(device, key)
        device.close()
        assert capabilities.loaded(device.connection) == []
        assert tpm.lockout_counter() == 0


def test_a_simulator_behind_a_socket_in_the_file_system() -> None:
    with Swtpm(unix=True) as tpm, opened(way("swtpm", path=str(tpm.address))) as device:
        signs(device, made(device, device.root))


def test_the_resource_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    with Swtpm() as tpm, Tabrmd(tpm.tcti) as manager:
        for name, value in manager.environment.items():
            monkeypatch.setenv(name, value)
        with opened(way("tabrmd", bus_type="session")) as device:
            keys = [made(device, device.root) for _ in range(4)]
            for key in keys:
                signs(device, key)
            # Whatever the TPM forgot, nothing else may stay loaded for good.
            device._recover()
            signs(device, keys[0])
            assert len(capabilities.loaded(device.connection)) <= 3
            device.close()
            assert capabilities.loaded(device.connection) == []


@pytest.mark.parametrize(
    "tcti",
    [
        way("device", path="/dev/no-such-tpm"),
        way("swtpm", host=LOOPBACK, port=1),
        way("mssim", host=LOOPBACK, port=1),
        way("swtpm", path="/nobody/is/there"),
        way("tabrmd", bus_type="session", bus_name="nobody.has.this.Name"),
    ],
    ids=lambda tcti: f"{tcti.kind}-{tcti.path}",
)
def test_a_way_that_leads_nowhere_says_so(tcti: TctiSettings) -> None:
    with pytest.raises(TransportError):
        open_transport(tcti)


def test_a_key_of_one_application_is_not_loaded_under_the_parent_of_another(device: TpmDevice) -> None:
    alice, bob = (device.parent_of(Application(3, name)) for name in ("1000", "1001"))
    key = made(device, alice)
    signs(device, key)
    blob = blobs.Blob(part=key.part, private=key._private, auth=key.auth)
    for parent in (bob, device.root):
        with pytest.raises(TpmError) as caught:
            asym_sign.sign_hash(device, TpmKey(device, KEY, blob, parent), ECDSA, DIGEST)
        assert caught.value.code == Code.INTEGRITY
    # The TPM makes the same parent again, with another authorisation value.
    device.slots.drop(alice)
    del alice
    again = TpmKey(device, KEY, blob, device.parent_of(Application(3, "1000")))
    signs(device, again)


def test_what_a_predecessor_left_is_taken_away(tpm: Swtpm) -> None:
    with Shim(tpm.address) as shim:
        tcti = way("swtpm", host=LOOPBACK, port=shim.address)
        for _ in range(4):
            # As if the worker had been killed: what is loaded stays.
            with opened(tcti) as device:
                signs(device, made(device, device.root))
                assert len(capabilities.loaded(device.connection)) <= 3


def test_another_owner_password_is_told(tpm: Swtpm) -> None:
    tcti = way("swtpm", host=LOOPBACK, port=int(tpm.address))
    with pytest.raises(TpmError) as caught, opened(tcti, owner_auth=b"wrong"):
        pass
    assert caught.value.code == Code.BAD_AUTH
    assert tpm.lockout_counter() == 0
