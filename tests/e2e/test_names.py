"""One name for one key of an application, over all providers, and what clients are told of it."""

import shlex
import subprocess

import pytest
from tests.harness.interpreter import cofferdam
from tests.harness.pkcs11.service import TokenService

from cofferdam_client import Client, Curve, Hash, KeyExistsError, ecc_signing_key


def test_who_asks_for_a_taken_name_is_told_which_provider_has_it() -> None:
    key = ecc_signing_key(Curve.P_256, Hash.SHA_256)
    with TokenService() as service, service.client() as client:
        software = Client(service.service.endpoint, provider=1)
        software.generate_key("taken", key)
        for asking in (client, software):
            with pytest.raises(KeyExistsError, match="provider 1 has a key of this name") as caught:
                asking.generate_key("taken", key)
            assert caught.value.provider == 1
        software.close()

        def run(*words: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [*cofferdam(), *words],
                env={"PARSEC_SERVICE_ENDPOINT": service.service.endpoint},
                capture_output=True,
                text=True,
                check=False,
            )

        refused = run("create-ecc-key", "-p", "2", "-k", "taken")
        assert refused.returncode == 1
        # The advice works as it stands.
        _, _, advice = refused.stderr.partition("delete it with ")
        assert run(*shlex.split(advice), "-k", "taken").returncode == 0
        assert run("create-ecc-key", "-p", "2", "-k", "taken").returncode == 0
