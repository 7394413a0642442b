"""Processes killed at random under load: what was acknowledged holds, and nothing is anybody else's.

The history of each key is checked against a model: absent or present with a public key. An operation whose answer was
lost, or that says it is unknown, may or may not have happened; every other answer binds.
"""

import os
import random
import signal
import threading
import time
from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from tests.harness.answers import der_of
from tests.harness.service import Service

from cofferdam_client import Client, ClientError, ServiceStatusError, Status, ecc_signing_key, ecdsa

ATTRIBUTES = ecc_signing_key()
KILLS = 14
UNCERTAIN = {Status.PSA_ERROR_COMMUNICATION_FAILURE, Status.KEY_INFO_MANAGER_ERROR, Status.CONNECTION_ERROR}


@dataclass
class History:
    """What one client knows of its keys."""

    present: dict[str, bytes] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    acknowledged: int = 0
    complaints: list[str] = field(default_factory=list)


def verify(point: bytes, signature: bytes, digest: bytes) -> None:
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    public.verify(der_of(signature), digest, ec.ECDSA(Prehashed(hashes.SHA256())))


def attempt(history: History, name: str, action: "object") -> bool | None:
    """Run one operation; True for done, False for refused, None for unknown."""
    try:
        action()  # type: ignore[operator]
    except ServiceStatusError as error:
        if error.status in UNCERTAIN:
            return None
        history.complaints.append(f"{name}: {error}") if error.status not in {
            Status.PSA_ERROR_ALREADY_EXISTS,
            Status.PSA_ERROR_DOES_NOT_EXIST,
        } else None
        return False
    except (ClientError, OSError):
        return None
    history.acknowledged += 1
    return True


def one_key(client: Client, name: str, history: History, *, keep: bool) -> None:
    created = attempt(history, name, lambda: client.generate_key(name, ATTRIBUTES))
    if not created:
        history.unknown.add(name)
        return
    points: list[bytes] = []
    if not attempt(history, name, lambda: points.append(client.export_public_key(name))):
        history.unknown.add(name)
        return
    digest = os.urandom(32)
    signatures: list[bytes] = []
    if attempt(history, name, lambda: signatures.append(client.sign_hash(name, digest, ecdsa()))):
        verify(points[0], signatures[0], digest)
    if keep:
        history.present[name] = points[0]
    elif attempt(history, name, lambda: client.destroy_key(name)):
        history.absent.add(name)
    else:
        history.unknown.add(name)


@pytest.mark.timeout(120)
def test_what_was_acknowledged_holds_whoever_is_killed() -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    histories = [History() for _ in range(3)]
    stop = threading.Event()
    with Service() as service:

        def work(number: int) -> None:
            count = 0
            while not stop.is_set():
                count += 1
                with Client(service.endpoint, timeout=20) as client:
                    one_key(client, f"{number}-{count}", histories[number], keep=count % 3 == 0)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(len(histories))]
        for thread in threads:
            thread.start()
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.1, 0.5))
            victims = [row["pid"] for row in service.status()["processes"]]
            if victims:
                os.kill(chance.choice(victims), signal.SIGKILL)
        time.sleep(1)
        stop.set()
        for thread in threads:
            thread.join()
        service.stop()
        service.start()
        with Client(service.endpoint) as client:
            listed = {key.name for key in client.list_keys()}
            for history in histories:
                assert history.complaints == [], (seed, service.log())
                assert set(history.present) <= listed, seed
                assert not history.absent & listed, seed
                for name, point in history.present.items():
                    verify(point, client.sign_hash(name, bytes(32), ecdsa()), bytes(32))
            known = set().union(*(set(h.present) | h.absent | h.unknown for h in histories))
            assert listed <= known, seed
            for name in listed:
                client.destroy_key(name)
            assert client.list_keys() == []
    assert sum(history.acknowledged for history in histories) > 50
