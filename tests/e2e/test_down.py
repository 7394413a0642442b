"""One provider that cannot start keeps no other from being served, whatever is wrong, at a start and at a reload."""

import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.harness.answers import refused
from tests.harness.pkcs11.service import TokenService
from tests.harness.watch import wait_for

from cofferdam_client import Client, Curve, Hash, Status, ecc_signing_key, ecdsa

KEY = ecc_signing_key(Curve.P_256, Hash.SHA_256)
IS_ROOT = os.geteuid() == 0


def closed(service: TokenService) -> None:
    """Put the module's configuration where the worker cannot read it, as Debian does with /etc/softhsm."""
    folder = service.folder / "closed"
    folder.mkdir(0o750 if IS_ROOT else 0)
    if IS_ROOT:
        shutil.copy(str(service.token.configuration), folder / "softhsm2.conf")
    service.configure(module_environment=[f"SOFTHSM2_CONF={folder}/softhsm2.conf"], module_readable=[str(folder / "x")])


def foreign(service: TokenService) -> None:
    folder = service.folder / "foreign"
    folder.mkdir()
    (folder / "passwd").touch()
    service.configure(state_folder=str(folder))


def readable_pin(service: TokenService) -> None:
    pin = service.folder / "pin"
    pin.write_text(service.token.pin)
    pin.chmod(0o644)
    service.configure(user_pin=None, user_pin_file=str(pin))


def wrong_key(service: TokenService) -> None:
    (service.folder / "kek").mkdir(exist_ok=True)
    (service.folder / "kek" / "pkcs11.kek").write_bytes(b"short")
    (service.folder / "kek" / "pkcs11.kek").chmod(0o400)


FAULTS: dict[str, tuple[Callable[[TokenService], None], str]] = {
    "a file that is not there": (
        lambda service: service.configure(module_readable=["/nope"]),
        "/nope.*module_readable",
    ),
    "a folder that is closed": (closed, r"/closed.*(mode 0750 and owner 0:0, closed to uid 60715|mode 0000)"),
    "a file that others can read": (readable_pin, "/pin has mode 0644"),
    "a key that is none": (wrong_key, "pkcs11.kek: found .* bytes, needed the key of exactly 32 bytes"),
    "a quirk that nobody knows": (lambda service: service.configure(quirks=["nonsense"]), "nonsense"),
}
if IS_ROOT:
    FAULTS["a folder of somebody else"] = (foreign, "foreign is not empty.*state_folder")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_token_that_cannot_be_used_costs_nobody_else_anything(fault: str) -> None:
    spoil, said = FAULTS[fault]
    service = TokenService()
    spoil(service)
    with service, service.client() as client, Client(service.service.endpoint, provider=1) as software:
        software.generate_key("s", KEY)
        with refused(Status.PSA_ERROR_COMMUNICATION_FAILURE):
            client.generate_key("k", KEY)
        (line,) = [line for line in service.service.log().splitlines() if re.search(said, line)]
        assert "level=error component=worker[pkcs11]" in line
        # It was down before, so it does not hold up a reload.
        service.service.signal(signal.SIGHUP)
        wait_for(lambda: service.service.log().count("event=serving") == 2, 30)
        software.generate_key("t", KEY)


def test_a_reload_that_takes_a_token_away_is_undone() -> None:
    with TokenService() as service, service.client() as client:
        client.generate_key("k", KEY)
        # The reader sees a file, and only the worker that it is no library.
        (service.folder / "no-library.so").write_bytes(b"no library")
        service.configure(library_path=str(service.folder / "no-library.so"))
        service.service.signal(signal.SIGHUP)
        wait_for(lambda: service.service.log().count("event=serving") == 2, 30)
        assert "the old configuration is started again" in service.service.log()
        client.sign_hash("k", bytes(32), ecdsa())


def test_a_software_provider_that_cannot_start_costs_the_token_nothing() -> None:
    with TokenService() as service, service.client() as client:
        client.generate_key("k", KEY)
        service.service.stop()
        kek = service.folder / "kek" / "software.kek"
        kek.chmod(0o644)
        service.start()
        client.sign_hash("k", bytes(32), ecdsa())
        assert re.search(r"worker\[software\].*software.kek has mode 0644", service.service.log())


def swapped(path: Path) -> str:
    """Return a configuration with its two providers in the other order."""
    sections = re.split(r"(?m)^(?=\[)", path.read_text())
    first, second = (number for number, text in enumerate(sections) if text.startswith("[[provider]]"))
    sections[first], sections[second] = sections[second], sections[first]
    return "".join(sections)


def test_the_order_of_the_providers_means_nothing() -> None:
    """And a token is inherited that a worker left under the uid of another place, before there were uids by type."""
    with (
        TokenService() as service,
        service.client() as client,
        Client(service.service.endpoint, provider=1) as software,
    ):
        client.generate_key("k", KEY)
        software.generate_key("s", KEY)
        path = service.service.configuration_path
        path.write_text(swapped(path))
        service.service.signal(signal.SIGHUP)
        wait_for(lambda: service.service.log().count("event=serving") == 2, 30)
        client.sign_hash("k", bytes(32), ecdsa())
        software.sign_hash("s", bytes(32), ecdsa())
        service.service.stop()
        for folder in (service.folder / "pkcs11", service.token.folder) if IS_ROOT else ():
            for entry in (folder, *folder.rglob("*")):
                os.chown(entry, 60714, 60714)
        path.write_text(swapped(path))
        service.start()
        client.sign_hash("k", bytes(32), ecdsa())
        software.sign_hash("s", bytes(32), ecdsa())
        assert service.service.log().count("now belong to this worker") == IS_ROOT
