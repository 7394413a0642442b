"""A reload after which the token's provider cannot start, neither with the new configuration nor with the old."""

import hashlib
import signal

from tests.harness.answers import refused
from tests.harness.pkcs11.service import TokenService
from tests.harness.watch import wait_for

from cofferdam_client import Client, Curve, Hash, Status, ecc_signing_key, ecdsa

KEY = ecc_signing_key(Curve.P_256, Hash.SHA_256)
DIGEST = hashlib.sha256(b"message").digest()


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
        wait_for(lambda: service.service.log().count("event=serving") == 2, 10)
        software.generate_key("s", KEY)
        with refused(Status.PSA_ERROR_COMMUNICATION_FAILURE):
            client.sign_hash("k", DIGEST, ecdsa())
        assert "stays down until a reload" in service.service.log()
        pin.chmod(0o400)
        service.service.signal(signal.SIGHUP)
        wait_for(lambda: service.service.log().count("event=serving") == 3, 10)
        client.sign_hash("k", DIGEST, ecdsa())
