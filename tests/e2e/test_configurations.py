"""Configurations that a service with three providers is reloaded with: each is accepted, and does what it says.

The settings are those that the reference is tested with: the choice of a token, forms of its PIN, providers that are
reordered, left out or without their device, limits, export, deprecated algorithms.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import pytest
from tests.harness.answers import refused
from tests.harness.device_service import Value
from tests.harness.pkcs11.token import Token
from tests.harness.three_providers import PKCS11, SOFTWARE, TPM, Providers
from tests.harness.tpm.swtpm import Swtpm, tool

from cofferdam_client import (
    RSA_PKCS1V15_ENCRYPTION,
    Curve,
    Hash,
    Status,
    ecc_signing_key,
    rsa_encryption_key,
    rsa_pkcs1v15,
    rsa_signing_key,
)

pytestmark = pytest.mark.e2e

CORE: Final = 0
DIGEST: Final = bytes(32)
SHA_1_KEY: Final = ecc_signing_key(Curve.P_256, Hash.SHA_1)


@pytest.fixture(scope="module")
def service() -> Iterator[Providers]:
    with Swtpm() as tpm, Providers(tpm) as running:
        yield running


def serves(service: Providers, *providers: int) -> None:
    """Make, use and destroy a key of each provider."""
    for provider in providers:
        with service.of(provider) as client:
            client.generate_key("k", rsa_signing_key(1024))
            signature = client.sign_hash("k", DIGEST, rsa_pkcs1v15(Hash.SHA_256))
            client.verify_hash("k", DIGEST, signature, rsa_pkcs1v15(Hash.SHA_256))
            client.destroy_key("k")


def listed(service: Providers) -> list[int]:
    with service.of(SOFTWARE) as client:
        return [entry.id for entry in client.list_providers()]


@pytest.mark.parametrize(
    "choice",
    [
        lambda _: {"token_label": None},
        lambda token: {"token_label": None, "serial_number": token.serial},
        lambda token: {"token_label": None, "serial_number": f"   {token.serial}   "},
        lambda token: {"token_label": None, "slot_number": token.slot},
        lambda token: {"token_label": None, "serial_number": token.serial, "slot_number": 12345678},
        lambda token: {"user_pin": f"str:{token.pin}"},
        lambda token: {"user_pin": f"hex:{token.pin.encode().hex()}"},
        lambda _: {"software_public_operations": True},
    ],
    ids=["nothing", "serial", "padded-serial", "slot", "another-slot", "text-pin", "hex-pin", "public-in-software"],
)
def test_a_token_that_is_found_in_each_way(
    service: Providers, choice: Callable[[Token], Mapping[str, Value | None]]
) -> None:
    service.reload({"pkcs11": choice(service.token)})
    serves(service, PKCS11, SOFTWARE, TPM)
    with service.of(PKCS11) as client:
        client.generate_key("k", rsa_encryption_key(1024))
        sealed = client.asymmetric_encrypt("k", b"text", RSA_PKCS1V15_ENCRYPTION)
        assert client.asymmetric_decrypt("k", sealed, RSA_PKCS1V15_ENCRYPTION) == b"text"
        client.destroy_key("k")


def test_a_token_without_a_pin_is_configured_and_costs_the_others_nothing(service: Providers) -> None:
    service.reload({"pkcs11": {"user_pin": None}})
    serves(service, SOFTWARE, TPM)
    assert listed(service) == [SOFTWARE, PKCS11, TPM, CORE]


@pytest.mark.parametrize("order", [(TPM, PKCS11, SOFTWARE), (SOFTWARE, PKCS11)], ids=["reversed", "without-the-last"])
def test_providers_are_listed_in_the_order_of_the_file(service: Providers, order: tuple[int, ...]) -> None:
    service.reload({}, order)
    assert listed(service) == [*order, CORE]
    serves(service, *order)


def test_a_provider_may_be_left_out_when_its_device_is_missing(service: Providers) -> None:
    service.reload({"tpm": {"tcti": "device:/dev/tpmrm97", "skip_if_no_tpm": True}})
    assert listed(service) == [SOFTWARE, PKCS11, CORE]
    serves(service, SOFTWARE, PKCS11)


def test_limits_of_requests_and_of_random_bytes(service: Providers) -> None:
    service.reload({"core_settings": {"body_len_limit": 1024, "buffer_size_limit": 1024, "log_level": "trace"}})
    with service.of(SOFTWARE) as client:
        client.hash_compute(bytes(1019), Hash.SHA_256)
        with refused(Status.BODY_SIZE_EXCEEDS_LIMIT):
            client.hash_compute(bytes(1025), Hash.SHA_256)
        assert len(client.generate_random(1024)) == 1024
        with refused(Status.RESPONSE_TOO_LARGE):
            client.generate_random(1025)


def test_keys_that_may_not_leave_a_token(service: Providers) -> None:
    service.reload({"pkcs11": {"allow_export": False}})
    with service.of(PKCS11) as client, refused(Status.PSA_ERROR_NOT_PERMITTED):
        client.generate_key("k", rsa_signing_key(1024, exportable=True))
    serves(service, PKCS11)


@pytest.mark.parametrize("allowed", [True, False])
def test_deprecated_algorithms(service: Providers, *, allowed: bool) -> None:
    service.reload({"core_settings": {"allow_deprecated": allowed}})
    with service.of(SOFTWARE) as client:
        if allowed:
            client.generate_key("k", SHA_1_KEY)
            client.destroy_key("k")
        else:
            with refused(Status.DEPRECATED_PRIMITIVE):
                client.generate_key("k", SHA_1_KEY)


def test_a_missing_password_of_the_endorsement_hierarchy() -> None:
    """Attestation is refused, as with the reference; everything else works."""
    with Swtpm() as tpm:
        tool(tpm.tools_tcti, "tpm2_changeauth", "-c", "endorsement", "secret")
        with Providers(tpm) as service, service.of(TPM) as client:
            client.generate_key("k", rsa_signing_key(1024))
            with refused(Status.PSA_ERROR_GENERIC_ERROR):
                client.prepare_key_attestation("k")
            with refused(Status.PSA_ERROR_GENERIC_ERROR):
                client.attest_key("k", bytes(16), bytes(16))
            client.destroy_key("k")
            serves(service, SOFTWARE, PKCS11, TPM)
