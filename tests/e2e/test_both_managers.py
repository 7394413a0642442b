"""Two key managers in one service: a database for the software provider, mapping files for a token."""

import hashlib
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from tests.harness.answers import refused
from tests.harness.events import reload
from tests.harness.pkcs11.service import TokenService
from tests.harness.watch import wait_for
from tests.kim.support import query

from cofferdam_client import Client, Curve, Hash, Status, ecc_signing_key, ecdsa

KEY = ecc_signing_key(Curve.P_256, Hash.SHA_256)
DIGEST = hashlib.sha256(b"message").digest()
REFUSED = "a provider is refused, as it has keys in another store"


def _managers(service: TokenService) -> tuple[Path, Path]:
    """Configure both, the mapping files for the token; return where they are."""
    database, root = service.folder / "kim" / "kim.sqlite3", service.folder / "mappings"
    service.more = f'[[key_manager]]\nname = "files"\nmanager_type = "OnDisk"\nstore_path = "{root}"\n'
    service.configure(key_info_manager="files")
    return database, root


def _software(service: TokenService) -> Client:
    return Client(service.service.endpoint, provider=1)


def _sign(service: TokenService) -> None:
    for client in (_software(service), service.client()):
        with client:
            client.sign_hash("same", DIGEST, ecdsa())


def _command(log: str) -> list[str]:
    """Return the command that the log names, as words behind the interpreter's."""
    remedy = log.rpartition(REFUSED)[2].partition("and run: ")[2].partition(";")[0]
    return ["-m", "cofferdam_cli", *shlex.split(remedy)[1:]]


def test_each_provider_has_its_manager() -> None:
    service = TokenService()
    service.set_table("kim", give_back=True)
    database, root = _managers(service)
    with service:
        for client in (_software(service), service.client()):
            with client:
                # The reference has each name once in a manager.
                client.generate_key("same", KEY)
                client.generate_key("gone", KEY)
                client.destroy_key("gone")
        with service.client() as client:
            assert sorted((key.provider_id, key.name) for key in client.list_keys()) == [(1, "same"), (2, "same")]
        assert len(list(root.glob("*/*/*"))) == len(list(root.glob("*/2/*"))) == 1
        service.service.stop()
        assert query(database, "SELECT key_name, provider_name FROM key_mapping") == [("same", "mbed-crypto-provider")]
        service.start()
        _sign(service)
        reload(service.service)
        _sign(service)


def test_a_provider_does_not_lose_its_keys_with_its_manager() -> None:
    service = TokenService()
    _managers(service)
    with service:
        for client in (_software(service), service.client()):
            with client:
                client.generate_key("same", KEY)
        service.service.stop()
        service.configure(key_info_manager="kim")
        service.start()
        assert REFUSED in service.service.log()
        with service.client() as client:
            with refused(Status.PSA_ERROR_COMMUNICATION_FAILURE):
                client.sign_hash("same", DIGEST, ecdsa())
            with refused(Status.PSA_ERROR_COMMUNICATION_FAILURE):
                client.generate_key("new", KEY)
        with _software(service) as client:
            client.sign_hash("same", DIGEST, ecdsa())
            client.destroy_key("same")
            client.generate_key("other", KEY)
        (row,) = [row for row in service.service.status()["providers"] if row["id"] == 2]
        assert "the provider has keys in another store than that of its key manager" in row["cause"]
        # Back, by a reload, and not there again.
        service.configure(key_info_manager="files")
        reload(service.service)
        with service.client() as client:
            client.sign_hash("same", DIGEST, ecdsa())
        service.configure(key_info_manager="kim")
        service.service.signal(signal.SIGHUP)
        wait_for(lambda: service.service.log().count("event=serving") == 4, 30)
        assert "the old configuration is started again" in service.service.log()
        with service.client() as client:
            client.sign_hash("same", DIGEST, ecdsa())
        service.service.stop()
        # And with the command that the line names.
        log = service.service.log()
        subprocess.run([sys.executable, *_command(log)], check=True, timeout=60)
        service.configure(key_info_manager="kim")
        service.start()
        assert service.service.log()[len(log) :].count(REFUSED) == 0
        with service.client() as client:
            client.sign_hash("same", DIGEST, ecdsa())
            assert sorted((key.provider_id, key.name) for key in client.list_keys()) == [(1, "other"), (2, "same")]
