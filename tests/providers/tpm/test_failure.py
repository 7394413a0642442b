"""TPM_RC_FAILURE, caused by the TPM or by a client's input: the TPM is asked which."""

from collections.abc import Iterator

import pytest
from tests.harness.tpm.channel import LOOPBACK
from tests.harness.tpm.rules import ANY, FOR_EVER, answer
from tests.harness.tpm.shim import Shim
from tests.harness.tpm.swtpm import Swtpm
from tests.providers.forgeries import known_point, odd_signatures, to_infinity
from tests.providers.support import attributes, refused
from tests.providers.tpm.test_device import opened, way

from cofferdam_contracts.psa.algorithm import AsymmetricSignature, Hash, SignatureScheme
from cofferdam_contracts.psa.attributes import EccFamily, KeyKind, Usage
from cofferdam_contracts.status import Status
from cofferdam_providers.tpm import asym_sign, key_management, public
from cofferdam_providers.tpm.codes import Command
from cofferdam_providers.tpm.device import TpmDevice
from cofferdam_providers.tpm.errors import Code, CommandFailedError, TpmError
from cofferdam_providers.tpm.keys import TpmKey

DIGESTS = {256: (Hash.SHA_256, 32), 384: (Hash.SHA_384, 48), 521: (Hash.SHA_512, 64)}
RANDOM = "GetRandom"


@pytest.fixture(scope="module")
def behind() -> Iterator[tuple[TpmDevice, Shim]]:
    with (
        Swtpm() as tpm,
        Shim(tpm.address) as shim,
        opened(way("swtpm", host=LOOPBACK, port=shim.address)) as device,
    ):
        yield device, shim


@pytest.fixture
def device(behind: tuple[TpmDevice, Shim]) -> TpmDevice:
    return behind[0]


@pytest.fixture
def shim(behind: tuple[TpmDevice, Shim]) -> Iterator[Shim]:
    yield behind[1]
    behind[1].clear()


def known(device: TpmDevice, bits: int) -> tuple[TpmKey, AsymmetricSignature, bytes]:
    hash_alg, length = DIGESTS[bits]
    algorithm = AsymmetricSignature(SignatureScheme.ECDSA, hash_alg)
    wanted = attributes(KeyKind.ECC_PUBLIC_KEY, bits, algorithm, EccFamily.SECP_R1, Usage.VERIFY_HASH)
    blob, found = key_management.import_key(device, wanted, known_point(bits), public.key)
    return TpmKey(device, found, blob, device.root), algorithm, bytes(range(length))


@pytest.mark.parametrize("what", odd_signatures(256, bytes(32)))
@pytest.mark.parametrize("bits", DIGESTS)
def test_an_odd_signature_is_a_bad_one(device: TpmDevice, bits: int, what: str) -> None:
    key, algorithm, digest = known(device, bits)
    with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
        asym_sign.verify_hash(device, key, algorithm, digest, odd_signatures(bits, digest)[what])


def test_a_tpm_that_fails_once_is_asked_once(device: TpmDevice, shim: Shim) -> None:
    key, algorithm, digest = known(device, 256)
    before = shim.mark()
    with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
        asym_sign.verify_hash(device, key, algorithm, digest, to_infinity(256, digest))
    assert shim.count(RANDOM, since=before) == 1
    before = shim.mark()
    with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
        asym_sign.verify_hash(device, key, algorithm, digest, bytes(64))
    assert shim.count(RANDOM, since=before) == 0


def test_what_failed_for_its_data_is_told_apart_from_what_failed_for_the_tpm(device: TpmDevice, shim: Shim) -> None:
    key, algorithm, digest = known(device, 256)
    shim.plan(answer("VerifySignature", Code.FAILURE))
    with pytest.raises(CommandFailedError) as passing:
        device.retry_after_reset(lambda: device.connection.execute(Command.VERIFY_SIGNATURE))
    assert passing.value.remedy == ""
    assert "failure mode" not in passing.value.detail
    # In failure mode every command is answered like this.
    shim.plan(answer(ANY, Code.FAILURE, times=FOR_EVER))
    with pytest.raises(TpmError, match="it is in failure mode; power it off and on") as lasting:
        asym_sign.verify_hash(device, key, algorithm, digest, to_infinity(256, digest))
    assert not isinstance(lasting.value, CommandFailedError)
    assert lasting.value.status is Status.PSA_ERROR_COMMUNICATION_FAILURE
