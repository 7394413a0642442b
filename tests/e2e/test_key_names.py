"""Key names are an application's own in all providers together, and clients are told which provider has one."""

import os
import subprocess
from collections.abc import Iterator

import pytest
from tests.harness.interpreter import cofferdam
from tests.harness.pkcs11.service import TokenService

from cofferdam_client import Client, KeyExistsError, ecc_signing_key

TAKEN = "(1139): the {} has a key of that name; choose another name, or delete it with delete-key -p {}"
ELSEWHERE = "(1140): the {} has the key of that name: -p {}"
SOFTWARE, TOKEN = ("Mbed Crypto provider", 1), ("PKCS #11 provider", 2)


@pytest.fixture(scope="module")
def service() -> Iterator[TokenService]:
    with TokenService() as service:
        yield service


def _run(service: TokenService, line: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PARSEC_SERVICE_ENDPOINT": service.service.endpoint}
    command = [*cofferdam(), *line.split()]
    return subprocess.run(command, check=False, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(("here", "there"), [(SOFTWARE, TOKEN), (TOKEN, SOFTWARE)])
def test_a_name_that_another_provider_has(service: TokenService, here: tuple[str, int], there: tuple[str, int]) -> None:
    assert _run(service, f"-p {there[1]} create-ecc-key -k pier").returncode == 0
    for command in ("create-ecc-key -k pier", "create-rsa-key -k pier"):
        assert TAKEN.format(*there) in _run(service, f"-p {here[1]} {command}").stderr
    for command in ("sign -k pier text", "export-public-key -k pier", "delete-key -k pier"):
        assert ELSEWHERE.format(*there) in _run(service, f"-p {here[1]} {command}").stderr
    # What the message says works.
    assert _run(service, f"delete-key -p {there[1]} -k pier").returncode == 0
    assert _run(service, f"-p {here[1]} create-ecc-key -k pier").returncode == 0
    assert _run(service, f"-p {here[1]} delete-key -k pier").returncode == 0


def test_a_name_that_no_provider_has(service: TokenService) -> None:
    assert "(1140): no key has that name; list-keys" in _run(service, "-p 2 delete-key -k pier").stderr


def test_a_client_is_told_which_provider_has_a_name(service: TokenService) -> None:
    with Client(service.service.endpoint, provider=1) as software, service.client() as token:
        software.generate_key("taken", ecc_signing_key())
        for asking in (software, token):
            with pytest.raises(KeyExistsError, match="provider 1 has a key of this name") as caught:
                asking.generate_key("taken", ecc_signing_key())
            assert caught.value.provider == asking.provider_of("taken") == 1
        software.destroy_key("taken")
        assert token.provider_of("taken") is None
