"""A reload after which the token's provider cannot start, neither with the new configuration nor with the old."""

import hashlib
import signal
import time

import pytest
from tests.harness.pkcs11.service import TokenService

from cofferdam_client import Client, Curve, Hash, ServiceStatusError, Status, ecc_signing_key, ecdsa

KEY = ecc_signing_key(Curve.P_256, Hash.SHA_256)
DIGEST = hashlib.sha256(b"message").digest()


def serves(service: TokenService, times: int) -> None:
    until = time.monotonic() + 10
    while service.service.log().count("event=serving") < times:
        assert time.monotonic() < until, "it did not serve again"
        time.sleep(0.02)


def test_a_reload_that_the_token_s_provider_cannot_follow_costs_nobody_else_the_service() -> None:
    service = TokenService()
    pin = service.folder / "pin"
    pin.write_text(f"{service.token.pin}\n")
    pin.chmod(0o400)
    service.configure(user_pin=None, user_pin_file=str(pin))
    with service, service.client() as client, Client(service.service.endpoint, provider=1) as software:
        client.generate_key("k", KEY)
        # The old configuration has the same file.
        pin.chmod(0o644)
        service.service.signal(signal.SIGHUP)
        serves(service, 2)
        software.generate_key("s", KEY)
        with pytest.raises(ServiceStatusError) as refused:
            client.sign_hash("k", DIGEST, ecdsa())
        assert refused.value.status is Status.PSA_ERROR_COMMUNICATION_FAILURE
        assert "stays down until a reload" in service.service.log()
        pin.chmod(0o400)
        service.service.signal(signal.SIGHUP)
        serves(service, 3)
        client.sign_hash("k", DIGEST, ecdsa())
