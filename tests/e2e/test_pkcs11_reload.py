"""Reloads that the token's provider could not follow: refused before anything stops, where that can be seen."""

import hashlib
import os
import shutil
import signal
import subprocess
from contextlib import closing
from pathlib import Path

from tests.harness.answers import refused
from tests.harness.pkcs11.service import TokenService
from tests.harness.watch import wait_for

from cofferdam_client import Client, Curve, Hash, Status, ecc_signing_key, ecdsa

KEY = ecc_signing_key(Curve.P_256, Hash.SHA_256)
DIGEST = hashlib.sha256(b"message").digest()


def _reload_is_refused(service: TokenService, times: int) -> None:
    service.service.signal(signal.SIGHUP)
    wait_for(lambda: service.service.log().count("the reload is refused") == times)


def _give_wrong_pin(service: TokenService) -> None:
    words = ["pkcs11-tool", "--module", str(service.token.library), "--token-label", service.token.label]
    subprocess.run(
        [*words, "--login", "--pin", "7777", "--list-objects"],
        env={**os.environ, **service.token.environment},
        user=service.uid,
        group=service.uid,
        extra_groups=None if service.uid is None else (),
        capture_output=True,
        check=False,
    )


def test_a_reload_that_would_take_the_token_s_provider_down_is_refused_at_once() -> None:
    service = TokenService()
    pin = service.folder / "pin"
    pin.write_text(f"{service.token.pin}\n")
    pin.chmod(0o400)
    service.configure(user_pin=None, user_pin_file=str(pin))
    with service, service.client() as client:
        client.generate_key("k", KEY)
        processes = service.service.pids()
        elsewhere = pin.with_name("pin.old")
        pin.chmod(0o644)
        _reload_is_refused(service, 1)
        pin.chmod(0o400)
        client.sign_hash("k", DIGEST, ecdsa())
        pin.rename(elsewhere)
        _reload_is_refused(service, 2)
        client.sign_hash("k", DIGEST, ecdsa())
        elsewhere.rename(pin)
        assert service.service.pids() == processes
        assert service.service.log().count(f"user_pin_file: found {pin} with mode 0644") == 1
        assert service.service.log().count(f"user_pin_file: found nothing at {pin}") == 1
        service.service.signal(signal.SIGHUP)
        wait_for(lambda: service.service.log().count("event=serving") == 2)


def test_a_reload_that_the_token_s_provider_cannot_follow_costs_nobody_else_the_service() -> None:
    service = TokenService()
    module = service.folder / "module.so"
    shutil.copy(service.token.library, module)
    service.configure(library_path=str(module))
    with service, service.client() as client, Client(service.service.endpoint, provider=1) as software:
        client.generate_key("k", KEY)
        # The old configuration names the same file.
        sound = module.rename(service.folder / "sound.so")
        module.write_bytes(b"no library")
        service.service.signal(signal.SIGHUP)
        wait_for(lambda: service.service.log().count("event=serving") == 2, 10)
        software.generate_key("s", KEY)
        with refused(Status.PSA_ERROR_COMMUNICATION_FAILURE):
            client.sign_hash("k", DIGEST, ecdsa())
        assert "stays down until a reload" in service.service.log()
        sound.rename(module)
        service.service.signal(signal.SIGHUP)
        wait_for(lambda: service.service.log().count("event=serving") == 3, 10)
        client.sign_hash("k", DIGEST, ecdsa())


def test_the_line_about_a_wrong_pin_says_what_helps_and_it_does(tmp_path: Path) -> None:
    credential = tmp_path / "cofferdam.pkcs11.pin"

    def write(pin: str) -> None:
        credential.unlink(missing_ok=True)
        credential.write_text(pin)
        credential.chmod(0o400)

    def log_of(change: str) -> None:
        wait_for(lambda: f"then {change} the service" in service.service.log())

    with closing(TokenService()) as service, service.client() as client:
        service.configure(user_pin=None)
        # A credential is what it was when the service started, whatever the administrator writes meanwhile.
        write("9999")
        service.service.launch(variables={"CREDENTIALS_DIRECTORY": str(tmp_path)})
        wait_for(service.service.is_ready)
        log_of("restart")
        assert service.service.stop() == 0
        service.configure(user_pin=None, user_pin_file=str(credential))
        write("8888")
        service.start()
        log_of("reload")
        with refused(Status.PSA_ERROR_COMMUNICATION_FAILURE):
            client.generate_key("k", KEY)
        write(service.token.pin)
        service.service.signal(signal.SIGHUP)
        wait_for(lambda: service.service.log().count("event=serving") == 3)
        client.generate_key("k", KEY)
        # It was this service that gave the token wrong PINs.
        assert "somebody gave the token a wrong PIN" not in service.service.log()
        _give_wrong_pin(service)
        service.service.signal(signal.SIGHUP)
        wait_for(lambda: service.service.log().count("somebody gave the token a wrong PIN") == 1)
