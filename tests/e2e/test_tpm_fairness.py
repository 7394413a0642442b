"""One TPM makes one key at a time, and a key takes long: what a quiet client sees meanwhile."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.harness.interpreter import CHECKOUT
from tests.harness.running import started
from tests.harness.service import UNPRIVILEGED_UID, acting_as
from tests.harness.tpm.rules import FOR_EVER, delay
from tests.harness.tpm.service import PROVIDER, TpmService

from cofferdam_client import Curve, Hash, ecc_signing_key, ecdsa

KEY = ecc_signing_key(Curve.P_256, Hash.SHA_256)
GENERATION_S = 0.25
"""How long the TPM takes for a key here, as one takes for an RSA key."""
GREEDY = 12
SIGNATURES = 60
KEYS = 2
_GREED = """
import itertools, sys, threading
from cofferdam_client import Client, ecc_signing_key

def generate(number):
    with Client(sys.argv[1], provider=int(sys.argv[2])) as client:
        for index in itertools.count():
            client.generate_key(f"{number}-{index}", ecc_signing_key())

for number in range(int(sys.argv[3])):
    threading.Thread(target=generate, args=(number,)).start()
"""


@pytest.fixture
def service() -> Iterator[TpmService]:
    with TpmService(shim=True) as running:
        yield running


@contextmanager
def greed(service: TpmService) -> Iterator[None]:
    """Let many connections of this user make keys without a pause."""
    words = [sys.executable, "-c", _GREED, service.service.endpoint, str(PROVIDER), str(GREEDY)]
    path = ":".join(str(CHECKOUT / root) for root in ("client", "contracts", "runtime"))
    before = service.shim.mark()
    with started(words, environment={**os.environ, "PYTHONPATH": path}):
        while service.shim.count("Create", since=before) < 2:
            time.sleep(0.01)
        yield


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_a_quiet_client_waits_for_one_key_at_most_and_then_has_its_time(service: TpmService) -> None:
    begun: list[int] = []
    service.shim.plan(delay("Create", int(GENERATION_S * 1000), times=FOR_EVER))
    with service.client() as quiet:
        with acting_as(UNPRIVILEGED_UID):
            quiet.generate_key("quiet", KEY)
        with greed(service):
            before = service.shim.mark()
            # The time of a signature differs from machine to machine; that of a key has a lower bound.
            while len(begun) < SIGNATURES or service.shim.count("Create", since=before) < KEYS:
                asked = service.shim.mark()
                with acting_as(UNPRIVILEGED_UID):
                    quiet.sign_hash("quiet", bytes(32), ecdsa())
                begun.append(service.shim.count("Create", since=asked))
            made = service.shim.count("Create", since=before)
    # One key generation may begin while the request is on its way; no further one comes before the signature.
    assert max(begun) <= 1
    # After each key it is served for as long as that key took, not just once; the key generations go on.
    assert KEYS <= made <= len(begun) // 4


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_a_key_of_another_principal_is_the_next_but_one(service: TpmService) -> None:
    service.shim.plan(delay("Create", int(GENERATION_S * 1000), times=FOR_EVER))
    with greed(service), service.client() as quiet:
        with acting_as(UNPRIVILEGED_UID):
            quiet.list_opcodes()
        for name in ("first", "second", "third"):
            before = service.shim.mark()
            with acting_as(UNPRIVILEGED_UID):
                quiet.generate_key(name, KEY)
            # Its own, one while the request is on its way, one while the response is; not all those in the queue.
            assert service.shim.count("Create", since=before) < GREEDY // 2
