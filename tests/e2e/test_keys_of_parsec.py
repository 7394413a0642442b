"""Keys in the key store of the reference's software provider, as a client finds them in a service that takes it over.

The reference keeps a key in a file of its own, and a row that names the file; it accepts any key name that fits into a
request, and deletes a row whose file is missing.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.harness.answers import der_of, refused
from tests.harness.configuration import Value
from tests.harness.operations.asymmetric import by
from tests.harness.service import Service
from tests.harness.watch import wait_for
from tests.harness.wire import P256_SIGN, Caller, call
from tests.kim.support import mapping_row, name, reference_database
from tests.providers.software.test_its import its_file

from cofferdam_client import Hash, Status, ecc_signing_key, ecdsa
from cofferdam_contracts.identity import MAX_KEY_NAME

DIGEST = bytes(32)
P256 = ecc_signing_key(hash_algorithm=Hash.SHA_256)
PRIVATE = 0x1234
RECORD_OF_TESTS = 7
"""The number of the key that the rows of `tests.kim.support` name."""
LONG = "k" * 5000, "\u03bb" * 20_000, "n" * 1_000_000
MISSING = "keys are listed that the provider does not have"


@contextmanager
def taken_over(names: Sequence[str], *, file: bool, path: bool = True) -> Iterator[Service]:
    """Run a service with rows of the tests' user, whose key is in a file unless that is missing."""
    service = Service()
    folder = service.folder / "its"
    folder.mkdir()
    if file:
        content = its_file(0x7112, 256, PRIVATE.to_bytes(32, "big"))
        (folder / f"{RECORD_OF_TESTS:016x}.psa_its").write_bytes(content)
    settings: dict[str, Value] = {"mbed_its_path": str(folder)} if path else {}
    service.configure({"core_settings": {"log_level": "info", "log_error_details": True}, "provider": settings})
    database = service.folder / "kim" / "kim.sqlite3"
    reference_database(database, [mapping_row(name(one, application=str(os.getuid()))) for one in names])
    with service:
        yield service


@pytest.mark.parametrize("key_name", LONG, ids=len)
def test_a_name_that_is_too_long_for_a_new_key_still_names_an_old_one(key_name: str) -> None:
    public = ec.derive_private_key(PRIVATE, ec.SECP256R1()).public_key()
    with taken_over([key_name], file=True) as service, service.client() as client:
        assert [key.name for key in client.list_keys()] == [key_name]
        signature = client.sign_hash(key_name, DIGEST, ecdsa())
        public.verify(der_of(signature), DIGEST, by(Hash.SHA_256))
        client.destroy_key(key_name)
        assert client.list_keys() == []
        with refused(Status.PSA_ERROR_DOES_NOT_EXIST):
            client.sign_hash(key_name, DIGEST, ecdsa())
        assert MISSING not in service.log()


def test_too_long_a_name_for_a_new_key_is_the_clients_mistake() -> None:
    caller = Caller(os.getuid())
    with Service() as service, service.client() as client:
        longest = "k" * MAX_KEY_NAME
        for name_ in (longest + "k", "\u03bb" * MAX_KEY_NAME, "k" * 1_000_000):
            answer = call(service.socket_path, caller.generate(name_, P256_SIGN))
            assert answer.status == Status.PSA_ERROR_INVALID_ARGUMENT
            with pytest.raises(ValueError, match="4096"):
                client.generate_key(name_, P256)
            with refused(Status.PSA_ERROR_DOES_NOT_EXIST):
                client.destroy_key(name_)
        client.generate_key(longest, P256)
        client.sign_hash(longest, DIGEST, ecdsa())
        client.destroy_key(longest)


@pytest.mark.parametrize("key_name", ["", "\0", "a\0b"])
def test_a_name_that_shells_cannot_handle_is_refused_by_the_client_alone(key_name: str) -> None:
    with Service() as service, service.client() as client:
        with pytest.raises(ValueError, match="key name"):
            client.generate_key(key_name, P256)
        with pytest.raises(ValueError, match="key name"):
            client.import_key(key_name, P256, bytes(32))
        assert call(service.socket_path, Caller(os.getuid()).generate(key_name, P256_SIGN)).status == 0
        client.sign_hash(key_name, DIGEST, ecdsa())
        client.destroy_key(key_name)


@pytest.mark.parametrize("path", [True, False], ids=["no file", "no folder"])
def test_rows_without_their_files_are_reported_once_and_can_be_destroyed(path: bool) -> None:
    names = [f"lost {number}" for number in range(12)]
    with taken_over(names, file=False, path=path) as service, service.client() as client:
        wait_for(lambda: MISSING in service.log())
        (line,) = [line for line in service.log().splitlines() if MISSING in line]
        assert "level=warning" in line
        assert "keys=12 " in line
        assert "mbed_its_path" in line
        assert line.count("/lost ") == 10
        assert [key.name for key in client.list_keys()] == sorted(names)
        with refused(Status.PSA_ERROR_DOES_NOT_EXIST):
            client.sign_hash(names[0], DIGEST, ecdsa())
        with refused(Status.PSA_ERROR_ALREADY_EXISTS):
            client.generate_key(names[0], P256)
        client.destroy_key(names[0])
        client.generate_key(names[0], P256)
        client.sign_hash(names[0], DIGEST, ecdsa())
        assert service.log().count(MISSING) == 1
