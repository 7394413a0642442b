"""A TPM that fails: its clients get the status for it within their deadline, and all keys work again afterwards."""

import hashlib
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.harness.answers import refused
from tests.harness.service import UNPRIVILEGED_UID, acting_as
from tests.harness.tpm.rules import (
    ANY,
    FOR_EVER,
    Rule,
    answer,
    close,
    corrupt,
    corrupt_command,
    delay,
    garbage,
    hang,
    truncate,
)
from tests.harness.tpm.service import TpmService
from tests.harness.tpm.swtpm import tool
from tests.harness.watch import wait_for
from tests.providers.forgeries import known_point, to_infinity

from cofferdam_client import (
    Client,
    Curve,
    Hash,
    ServiceStatusError,
    Status,
    ecc_signing_key,
    ecdsa,
    public_key_of,
    rsa_encryption_key,
    rsa_oaep,
    rsa_signing_key,
)
from cofferdam_providers.base.device_provider import RETRY_S
from cofferdam_providers.tpm.errors import Code

KEY = ecc_signing_key(Curve.P_256, Hash.SHA_256)
DIGEST = hashlib.sha256(b"message").digest()
PARAMETER, SESSION = 0x1C0, 0x980
ANSWERED_S = 25.0
"""By then an answer has to be there: a worker waits 4 s for the TPM."""
STATUSES = [
    (Code.SIGNATURE | PARAMETER, Status.PSA_ERROR_INVALID_SIGNATURE),
    *((code, Status.PSA_ERROR_INSUFFICIENT_MEMORY) for code in (Code.SESSION_MEMORY, Code.MEMORY)),
    *(
        (code | PARAMETER, Status.PSA_ERROR_NOT_SUPPORTED)
        for code in (
            *(Code.ASYMMETRIC, Code.HASH, Code.KEY_SIZE, Code.MGF, Code.MODE),
            *(Code.KDF, Code.SCHEME, Code.SYMMETRIC, Code.CURVE),
        )
    ),
    *(
        (code, Status.PSA_ERROR_COMMUNICATION_FAILURE)
        for code in (Code.LOCKOUT, Code.FAILURE, Code.CANCELED, Code.TYPE | PARAMETER, Code.NV_UNAVAILABLE)
    ),
    (0x1FE, Status.INVALID_ENCODING),
]
FORGOTTEN = [
    *(Code.REFERENCE_H0, Code.REFERENCE_S0, Code.CONTEXT_GAP, Code.HANDLE | 0x180),
]


@pytest.fixture(scope="module")
def shared() -> Iterator[TpmService]:
    with TpmService(shim=True) as service:
        with service.client() as client:
            client.generate_key("k", KEY)
        yield service


@pytest.fixture
def client(shared: TpmService) -> Iterator[Client]:
    with shared.client() as connected:
        sign(connected)
        yield connected
        shared.shim.clear()


def sign(client: Client, name: str = "k") -> bytes:
    return client.sign_hash(name, DIGEST, ecdsa())


def works(client: Client, name: str = "k") -> None:
    client.verify_hash(name, DIGEST, sign(client, name), ecdsa())


def loaded(service: TpmService) -> tuple[int, int]:
    """Return how many transient objects and sessions the TPM has."""
    found = [service.swtpm.getcap(what).count("0x") for what in ("handles-transient", "handles-loaded-session")]
    return found[0], found[1]


@pytest.mark.parametrize(("code", "status"), STATUSES, ids=lambda value: f"{int(value):#x}")
def test_each_code_has_its_status(shared: TpmService, client: Client, code: int, status: Status) -> None:
    worker = shared.worker()
    shared.shim.plan(answer("Sign", code))
    with refused(status):
        sign(client)
    works(client)
    assert shared.worker() == worker


def log_since(service: TpmService, mark: int) -> str:
    return service.service.log()[mark:]


def log_mark(service: TpmService) -> int:
    return len(service.service.log())


def test_a_signature_without_a_result_is_a_bad_one_and_nobody_elses_affair(shared: TpmService, client: Client) -> None:
    # libtpms answers TPM_RC_FAILURE, which is also what a TPM says that has to be powered off.
    worker, mark = shared.worker(), log_mark(shared)
    client.import_key("known", public_key_of(KEY), known_point(256))
    for _ in range(8):
        with refused(Status.PSA_ERROR_INVALID_SIGNATURE):
            client.verify_hash("known", DIGEST, to_infinity(256, DIGEST), ecdsa())
        works(client)
    if os.geteuid() == 0:
        with acting_as(UNPRIVILEGED_UID), shared.client() as another:
            another.generate_key("theirs", KEY)
            works(another, "theirs")
            another.destroy_key("theirs")
    client.destroy_key("known")
    assert shared.worker() == worker
    assert "failure mode" not in log_since(shared, mark)
    assert "refuses to work" not in log_since(shared, mark)


def test_a_tpm_in_failure_mode_is_told_to_the_operator(shared: TpmService, client: Client) -> None:
    worker, mark = shared.worker(), log_mark(shared)
    shared.shim.plan(answer(ANY, Code.FAILURE, times=FOR_EVER))
    with refused(Status.PSA_ERROR_COMMUNICATION_FAILURE):
        sign(client)
    wait_for(lambda: "it is in failure mode; power it off and on" in log_since(shared, mark))
    shared.shim.clear()
    works(client)
    assert shared.worker() == worker


def test_a_lockout_is_told_to_the_operator(shared: TpmService, client: Client) -> None:
    shared.shim.plan(answer("Sign", Code.LOCKOUT))
    with refused(Status.PSA_ERROR_COMMUNICATION_FAILURE):
        sign(client)
    # It is logged once a minute, here perhaps by the previous test.
    assert "tpm2_dictionarylockout --clear-lockout" in shared.service.log()


@pytest.mark.parametrize("code", [Code.RETRY, Code.YIELDED, Code.TESTING])
def test_what_the_tpm_wants_again_it_gets_again(shared: TpmService, client: Client, code: int) -> None:
    shared.shim.plan(answer("Sign", code, times=3))
    before = shared.shim.mark()
    works(client)
    assert shared.shim.count("Sign", since=before) == 4


def test_it_is_not_given_again_for_ever(shared: TpmService, client: Client) -> None:
    shared.shim.plan(answer("Sign", Code.RETRY, times=FOR_EVER))
    before = time.monotonic()
    with refused(Status.PSA_ERROR_HARDWARE_FAILURE):
        sign(client)
    assert time.monotonic() - before < ANSWERED_S
    shared.shim.clear()
    works(client)


@pytest.mark.parametrize("code", FORGOTTEN, ids=lambda value: f"{int(value):#x}")
def test_what_was_forgotten_is_made_again(shared: TpmService, client: Client, code: int) -> None:
    worker = shared.worker()
    shared.shim.plan(answer("Sign", code))
    works(client)
    assert shared.worker() == worker
    assert loaded(shared)[1] == 1


@pytest.mark.parametrize("code", [Code.CANCELED, Code.RETRY, Code.MEMORY], ids=lambda value: f"{int(value):#x}")
def test_a_session_that_is_out_of_step_is_started_again(service: TpmService, code: int) -> None:
    with service.client() as client:
        client.generate_key("k", KEY)
        sign(client)
        # The TPM has executed the command, and something in between reports a failure.
        service.shim.plan(answer("Sign", code, after=True))
        with suppress(ServiceStatusError):
            sign(client)
        for _ in range(4):
            works(client)
        client.generate_random(16)
    # At most one: the first command whose response belonged to another.
    assert service.swtpm.lockout_counter() <= 1
    assert loaded(service) <= (3, 1)


def test_a_clear_is_noticed_when_the_root_key_is_made_again(service: TpmService) -> None:
    with service.client() as client:
        for name in ("a", "b", "c", "d"):
            client.generate_key(name, KEY)
            sign(client, name)
        tool(service.swtpm.tools_tcti, "tpm2_clear", "-c", "p")
        for _ in range(2):
            with refused(Status.PSA_ERROR_HARDWARE_FAILURE):
                client.generate_key("new", KEY)
        assert "new" not in {key.name for key in client.list_keys()}


def test_a_tpm_without_room_gets_room(shared: TpmService, client: Client) -> None:
    for name in ("a", "b", "c"):
        client.generate_key(name, KEY)
    shared.shim.plan(answer("Load", Code.OBJECT_MEMORY))
    for name in ("a", "b", "c"):
        works(client, name)
    shared.shim.plan(
        answer("Load", Code.OBJECT_MEMORY, times=FOR_EVER), answer("ContextLoad", Code.OBJECT_HANDLES, times=FOR_EVER)
    )
    client.generate_key("d", KEY)
    with refused(Status.PSA_ERROR_INSUFFICIENT_MEMORY):
        sign(client, "d")
    shared.shim.clear()
    for name in ("a", "b", "c", "d"):
        works(client, name)
        client.destroy_key(name)


def test_a_wrong_authorisation_value_is_not_tried_twice(shared: TpmService, client: Client) -> None:
    client.generate_key("wrong", KEY)
    shared.shim.plan(answer("Sign", Code.AUTH_FAIL | SESSION))
    before = shared.shim.mark()
    for _ in range(5):
        with refused(Status.PSA_ERROR_COMMUNICATION_FAILURE):
            sign(client, "wrong")
    assert shared.shim.count("Sign", since=before) == 1
    works(client)
    assert "authorisation value of a stored key" in shared.service.log()
    client.destroy_key("wrong")


@pytest.fixture
def service() -> Iterator[TpmService]:
    with TpmService(shim=True) as running:
        yield running


BREAKS = {
    "cut off": [truncate("Sign", 20), truncate("Sign", 5), close("Sign")],
    "nonsense": [garbage("Sign"), corrupt("Sign", 1), corrupt("Sign", 3)],
    # In the signature, and in the HMAC of the answer; the last one is answered after the TPM has worked.
    "not of the TPM": [corrupt("Sign", 20), corrupt("Sign", -1), close("Sign", after=True)],
}
"""Three for each service, so that the broker does not make the successors wait."""


@pytest.mark.parametrize("rules", BREAKS.values(), ids=BREAKS)
def test_an_answer_that_is_none_costs_one_request(service: TpmService, rules: list[Rule]) -> None:
    with service.client() as client:
        client.generate_key("k", KEY)
        for rule in rules:
            service.shim.plan(rule)
            before = time.monotonic()
            with refused(Status.PSA_ERROR_COMMUNICATION_FAILURE):
                sign(client)
            assert time.monotonic() - before < ANSWERED_S
            service.shim.clear()
            works(client)
    assert loaded(service) <= (3, 1)


def test_a_command_that_was_changed_on_its_way_is_not_executed(shared: TpmService, client: Client) -> None:
    client.generate_key("changed", KEY)
    sign(client, "changed")
    # The digest that is to be signed, at the beginning of the parameters.
    shared.shim.plan(corrupt_command("Sign", 100))
    before = shared.shim.mark()
    with refused(Status.PSA_ERROR_COMMUNICATION_FAILURE):
        sign(client, "changed")
    (command,) = (command for command in shared.shim.journal(since=before) if command.command == "Sign")
    assert command.rc == Code.AUTH_FAIL | SESSION
    works(client, "changed")
    client.destroy_key("changed")


def test_a_command_that_never_returns_costs_its_client_one_request(service: TpmService) -> None:
    with service.client() as client, Client(service.service.endpoint, provider=1) as other:
        client.generate_key("k", KEY)
        service.shim.plan(hang("Sign"))
        before = time.monotonic()
        with refused(Status.PSA_ERROR_COMMUNICATION_FAILURE):
            sign(client)
        assert time.monotonic() - before < ANSWERED_S
        other.generate_random(16)
        service.shim.clear()
        works(client)


def test_a_slow_tpm_is_waited_for(shared: TpmService, client: Client) -> None:
    worker = shared.worker()
    shared.shim.plan(delay("Sign", 300), delay("Create", 4300))
    works(client)
    client.generate_key("slow", KEY)
    client.destroy_key("slow")
    assert shared.worker() == worker


KEYS = {
    "ecc": ecc_signing_key(Curve.P_384, Hash.SHA_384),
    "rsa": rsa_signing_key(2048, Hash.SHA_256),
    "oaep": rsa_encryption_key(2048, oaep=Hash.SHA_256),
    "k": KEY,
    "k2": KEY,
}


def all_work(client: Client, ciphertext: bytes) -> None:
    digest = bytes(48)
    client.verify_hash("ecc", digest, client.sign_hash("ecc", digest, ecdsa(Hash.SHA_384)), ecdsa(Hash.SHA_384))
    algorithm = KEYS["rsa"].algorithm
    client.verify_hash("rsa", DIGEST, client.sign_hash("rsa", DIGEST, algorithm), algorithm)  # type: ignore[arg-type]
    assert client.asymmetric_decrypt("oaep", ciphertext, rsa_oaep(Hash.SHA_256)) == b"text"
    works(client, "k")
    works(client, "k2")


@pytest.mark.parametrize("bad_day", ["reset", "reset-unstarted", "resume", "restart", "unplugged", "worker-killed"])
def test_all_keys_work_after_the_bad_day(service: TpmService, bad_day: str) -> None:
    with service.client() as client:
        for name, attributes in KEYS.items():
            client.generate_key(name, attributes)
        ciphertext = client.asymmetric_encrypt("oaep", b"text", rsa_oaep(Hash.SHA_256))
        all_work(client, ciphertext)
        worker = service.worker()
        match bad_day:
            case "reset":
                service.swtpm.reset()
            case "reset-unstarted":
                service.swtpm.reset(startup=False)
            case "resume":
                service.swtpm.reset(state=True)
            case "restart":
                service.swtpm.restart()
            case "unplugged":
                service.swtpm.stop()
                with refused(Status.PSA_ERROR_COMMUNICATION_FAILURE, Status.PSA_ERROR_HARDWARE_FAILURE):
                    works(client)
                service.swtpm.start()
                wait_for(lambda: _is_back(client), RETRY_S + 5)
            case _:
                os.kill(worker, signal.SIGKILL)
        all_work(client, ciphertext)
        if bad_day.startswith("re"):
            assert service.worker() == worker
            assert "the TPM was reset; keys are loaded anew" in service.service.log()
        assert loaded(service) <= (3, 1)
        assert service.swtpm.lockout_counter() == 0
        assert {key.name for key in client.list_keys()} == set(KEYS)
    service.service.stop()
    assert loaded(service) == (0, 0)
    assert service.swtpm.lockout_counter() == 0


def _is_back(client: Client) -> bool:
    try:
        works(client)
    except Exception:  # noqa: BLE001  whatever it is, it is not back
        return False
    return True


def test_a_connection_that_breaks_is_made_again() -> None:
    with TpmService() as service, service.client() as client:
        client.generate_key("k", KEY)
        service.swtpm.kill()
        service.swtpm.start()
        with refused(Status.PSA_ERROR_COMMUNICATION_FAILURE):
            sign(client)
        wait_for(lambda: _is_back(client), RETRY_S + 5)


def test_a_cleared_tpm_is_noticed_and_nothing_is_overwritten(service: TpmService) -> None:
    with service.client() as client:
        client.generate_key("k", KEY)
        tool(service.swtpm.tools_tcti, "tpm2_clear", "-c", "p")
        with refused(Status.PSA_ERROR_HARDWARE_FAILURE):
            sign(client)
        with refused(Status.PSA_ERROR_HARDWARE_FAILURE):
            client.generate_key("other", KEY)
        assert [key.name for key in client.list_keys()] == ["k"]
    service.service.stop()
    service.service.start()
    # Before the first request.
    assert service.service.log().count("another storage root key") >= 2


def test_a_wrong_owner_password_costs_this_provider_only(service: TpmService) -> None:
    tool(service.swtpm.tools_tcti, "tpm2_changeauth", "-c", "owner", "secret")
    service.service.stop()
    service.service.start()
    with service.client() as client, refused(Status.PSA_ERROR_COMMUNICATION_FAILURE):
        client.generate_key("k", KEY)
    assert "owner hierarchy differs from owner_hierarchy_auth" in service.service.log()
    with Client(service.service.endpoint, provider=1) as other:
        other.generate_random(16)
    assert service.swtpm.lockout_counter() == 0
    service.configure(owner_hierarchy_auth="str:secret")
    service.service.signal(signal.SIGHUP)
    with service.client() as client:
        wait_for(lambda: _makes(client), RETRY_S + 5)
        works(client)


def _makes(client: Client) -> bool:
    try:
        client.generate_key("k", KEY)
    except Exception:  # noqa: BLE001  as above
        return False
    return True


@pytest.mark.parametrize("way", ["swtpm:path={folder}/nobody", "device:{folder}"], ids=["nobody", "a folder"])
def test_a_tpm_that_is_not_there_costs_this_provider_only(tmp_path: Path, way: str) -> None:
    with TpmService(values={"tcti": way.format(folder=tmp_path), "skip_if_no_tpm": True}) as service:
        with service.client() as client, refused(Status.PSA_ERROR_COMMUNICATION_FAILURE):
            client.generate_key("k", KEY)
        with Client(service.service.endpoint, provider=1) as other:
            other.generate_random(16)
        assert "the TPM cannot be used" in service.service.log()
