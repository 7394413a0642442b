"""Faults of a token: its clients get the right status within their deadline, and other clients notice nothing."""

import hashlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.harness.answers import refused
from tests.harness.pkcs11.service import WORKER, TokenService
from tests.harness.pkcs11.token import Token, objects, softhsm
from tests.harness.watch import contains, wait_for

from cofferdam_client import (
    Client,
    Curve,
    Hash,
    ServiceStatusError,
    Status,
    ecc_signing_key,
    ecdsa,
    rsa_signing_key,
)

KEY = ecc_signing_key(Curve.P_256, Hash.SHA_256)
DIGEST = hashlib.sha256(b"message").digest()
IMPATIENT = {"limits": {"hang_ms": 1000}}
ROWS = {
    "HOST_MEMORY": Status.PSA_ERROR_INSUFFICIENT_MEMORY,
    "DEVICE_ERROR": Status.PSA_ERROR_HARDWARE_FAILURE,
    "DEVICE_REMOVED": Status.PSA_ERROR_HARDWARE_FAILURE,
    "TOKEN_NOT_PRESENT": Status.PSA_ERROR_HARDWARE_FAILURE,
    "TOKEN_NOT_RECOGNIZED": Status.PSA_ERROR_HARDWARE_FAILURE,
    "STATE_UNSAVEABLE": Status.PSA_ERROR_HARDWARE_FAILURE,
    "DEVICE_MEMORY": Status.PSA_ERROR_INSUFFICIENT_STORAGE,
    "SIGNATURE_INVALID": Status.PSA_ERROR_INVALID_SIGNATURE,
    "SIGNATURE_LEN_RANGE": Status.PSA_ERROR_INVALID_SIGNATURE,
    "RANDOM_NO_RNG": Status.PSA_ERROR_INSUFFICIENT_ENTROPY,
    "CURVE_NOT_SUPPORTED": Status.PSA_ERROR_NOT_SUPPORTED,
    "DOMAIN_PARAMS_INVALID": Status.PSA_ERROR_NOT_SUPPORTED,
    "FUNCTION_NOT_SUPPORTED": Status.PSA_ERROR_NOT_SUPPORTED,
    "PIN_LOCKED": Status.PSA_ERROR_COMMUNICATION_FAILURE,
    "KEY_FUNCTION_NOT_PERMITTED": Status.PSA_ERROR_COMMUNICATION_FAILURE,
    "MECHANISM_INVALID": Status.PSA_ERROR_COMMUNICATION_FAILURE,
    "SESSION_COUNT": Status.PSA_ERROR_COMMUNICATION_FAILURE,
    "GENERAL_ERROR": Status.PSA_ERROR_COMMUNICATION_FAILURE,
    "SESSION_HANDLE_INVALID": Status.PSA_ERROR_COMMUNICATION_FAILURE,
    "USER_NOT_LOGGED_IN": Status.PSA_ERROR_COMMUNICATION_FAILURE,
    "0x80000001": Status.PSA_ERROR_COMMUNICATION_FAILURE,
}
"""Return codes and the reference's statuses for them."""
LOST = {
    *("DEVICE_REMOVED", "TOKEN_NOT_PRESENT", "TOKEN_NOT_RECOGNIZED"),
    *("SESSION_HANDLE_INVALID", "USER_NOT_LOGGED_IN", "PIN_LOCKED"),
}
"""Those of them after which the worker makes room."""


@pytest.fixture
def faulty() -> Iterator[TokenService]:
    with TokenService(before="shim", tables=IMPATIENT) as service:
        with service.client() as client:
            client.generate_key("k", KEY)
        yield service


def sign(client: Client) -> bytes:
    return client.sign_hash("k", DIGEST, ecdsa())


@contextmanager
def breaking(service: TokenService, rule: str) -> Iterator[None]:
    """Let a rule hold until it has struck once: a successor tries the token, too, with counters of its own."""
    function = rule.split(maxsplit=1)[0]
    before, stop = len(service.shim.calls()), threading.Event()

    def watch() -> None:
        while not stop.wait(0.002):
            if any(call.function == function for call in service.shim.calls()[before:]):
                break
        service.shim.clear()

    thread = threading.Thread(target=watch)
    service.shim.set(rule)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def survives(service: TokenService) -> None:
    """Check that signing works again, with the same key."""
    with service.client() as client:
        client.verify_hash("k", DIGEST, sign(client), ecdsa())


@pytest.fixture(scope="module")
def shared() -> Iterator[TokenService]:
    with TokenService(before="shim") as service:
        with service.client() as client:
            client.generate_key("k", KEY)
        yield service


@pytest.mark.parametrize("name", sorted(ROWS.keys() - LOST))
def test_a_return_code_becomes_the_reference_s_status(shared: TokenService, name: str) -> None:
    with shared.client() as client:
        worker = shared.worker()
        shared.shim.set(f"C_SignInit return {name if name.startswith('0x') else f'CKR_{name}'}")
        with refused(ROWS[name]):
            sign(client)
        shared.shim.clear()
        client.verify_hash("k", DIGEST, sign(client), ecdsa())
        assert shared.worker() == worker


@pytest.mark.parametrize("name", sorted(LOST))
def test_a_lost_session_costs_one_request(faulty: TokenService, name: str) -> None:
    worker = faulty.worker()
    with faulty.client() as client:
        faulty.shim.set(f"C_Sign@1 then-return CKR_{name}")
        with refused(ROWS[name]):
            sign(client)
        client.verify_hash("k", DIGEST, sign(client), ecdsa())
    assert faulty.worker() != worker
    assert "the device has to be started afresh" in faulty.service.log()


def test_an_odd_answer_is_told_apart_from_a_lost_session(faulty: TokenService) -> None:
    worker = faulty.worker()
    with faulty.client() as client:
        faulty.shim.set("C_Sign then-return CKR_GENERAL_ERROR")
        with refused(Status.PSA_ERROR_COMMUNICATION_FAILURE):
            sign(client)
        assert faulty.worker() == worker
        faulty.shim.set("C_Sign then-return CKR_GENERAL_ERROR", "C_GetSessionInfo return CKR_SESSION_HANDLE_INVALID")
        with refused(Status.PSA_ERROR_COMMUNICATION_FAILURE):
            sign(client)
        faulty.shim.clear()
        survives(faulty)
    assert faulty.worker() != worker


@pytest.mark.parametrize("action", ["segv", "abort", "exit 0", "exit 3", "close-fds"])
def test_a_module_that_breaks_costs_one_request(faulty: TokenService, action: str) -> None:
    worker = faulty.worker()
    with faulty.client() as client:
        with breaking(faulty, f"C_Sign {action}"), refused(Status.PSA_ERROR_COMMUNICATION_FAILURE):
            sign(client)
        survives(faulty)
    assert faulty.worker() != worker


@pytest.mark.parametrize("action", ["long 100000", "short 3"])
def test_a_module_that_lies_about_lengths_is_not_used_any_more(faulty: TokenService, action: str) -> None:
    worker = faulty.worker()
    with faulty.client() as client:
        faulty.shim.set(f"C_Sign {action}")
        with refused(Status.PSA_ERROR_COMMUNICATION_FAILURE):
            sign(client)
        faulty.shim.clear()
        survives(faulty)
    assert faulty.worker() != worker
    assert "the module is not trusted" in faulty.service.log()


def test_what_a_module_prints_does_not_matter(faulty: TokenService) -> None:
    faulty.shim.set("C_Sign garbage-stdout")
    survives(faulty)


def test_a_handle_that_is_not_known_any_more_is_found_again(faulty: TokenService) -> None:
    faulty.shim.set("C_SignInit@1 return CKR_OBJECT_HANDLE_INVALID")
    before = len(faulty.shim.calls())
    survives(faulty)
    assert faulty.shim.count("C_FindObjectsInit", since=before) == 1


def test_a_module_that_hangs_is_replaced_within_the_deadline(faulty: TokenService) -> None:
    worker = faulty.worker()
    with faulty.client() as client:
        # The client gets a response because the worker was replaced, not because its own timeout expired.
        with breaking(faulty, "C_Sign hang"), refused(Status.PSA_ERROR_COMMUNICATION_FAILURE):
            sign(client)
        survives(faulty)
    assert faulty.worker() != worker
    assert "a process hangs and is killed" in faulty.service.log()


def test_making_a_key_may_take_longer_than_a_process_may_hang(faulty: TokenService) -> None:
    worker = faulty.worker()
    faulty.shim.set("C_GenerateKeyPair@1 slow 4000")
    with faulty.client() as client:
        client.generate_key("slow", KEY)
        client.sign_hash("slow", DIGEST, ecdsa())
    assert faulty.worker() == worker


@pytest.mark.parametrize("action", ["segv", "hang"])
def test_clients_of_the_other_provider_notice_nothing(faulty: TokenService, action: str) -> None:
    """No error, and they are served while the other provider is waited for."""
    served, errors, stop = [0], list[Exception](), threading.Event()

    def work() -> None:
        with Client(faulty.service.endpoint, provider=1) as client:
            client.generate_key("software", KEY)
            while not stop.is_set():
                try:
                    client.sign_hash("software", DIGEST, ecdsa())
                except ServiceStatusError as error:
                    errors.append(error)
                served[0] += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        with faulty.client() as client:
            statuses = (Status.PSA_ERROR_COMMUNICATION_FAILURE, Status.PSA_ERROR_HARDWARE_FAILURE)
            with breaking(faulty, f"C_Sign {action}"), refused(*statuses):
                before = served[0]
                sign(client)
            assert action != "hang" or served[0] - before > 5
            survives(faulty)
    finally:
        stop.set()
        thread.join()
    assert errors == []


@pytest.mark.parametrize("action", ["leak-memory 40960", "leak-fd"])
def test_a_leak_costs_nobody_a_request(action: str) -> None:
    tables = {"limits": {"worker_memory_mb": 128}}
    with TokenService(before="shim", tables=tables) as service, service.client() as client:
        client.generate_key("k", KEY)
        worker = service.worker()
        service.shim.set(f"C_Sign {action}")
        until = time.monotonic() + 40
        while service.service.pids(WORKER) in ([worker], []):
            sign(client)
            assert time.monotonic() < until
        sign(client)
        assert "the device's library leaks" in service.service.log()


def test_a_token_that_is_not_there_refuses_at_once_and_is_found_when_it_comes() -> None:
    with (
        TokenService(values={"token_label": "another"}) as service,
        service.client() as client,
        Client(service.service.endpoint, provider=1) as other,
    ):
        for _ in range(20):
            with refused(Status.PSA_ERROR_HARDWARE_FAILURE):
                client.generate_key("k", KEY)
        other.generate_key("k", KEY)
        assert "initialised tokens: label 'cofferdam'" in service.service.log()
        softhsm(service.folder / "token", label="another", uid=service.uid)
        wait_for(lambda: _works(client), 30)


def _works(client: Client) -> bool:
    try:
        client.generate_key("token", KEY)
    except ServiceStatusError:
        return False
    return True


def test_a_module_that_breaks_at_the_start_is_not_waited_for() -> None:
    service = TokenService(before="shim")
    service.shim.set("C_Initialize segv")
    with service, Client(service.service.endpoint, provider=1) as other:
        other.generate_key("k", KEY)
        assert "the service starts without a provider" in service.service.log()
        service.shim.clear()
        with service.client() as client:
            wait_for(lambda: _works(client), 50)


def test_a_module_that_hangs_at_the_start_is_not_waited_for() -> None:
    service = TokenService(before="shim", tables={"limits": {"start_ms": 3000}})
    service.shim.set("C_Initialize hang")
    with service, Client(service.service.endpoint, provider=1) as other:
        other.generate_key("k", KEY)
        assert "the service starts without a provider" in service.service.log()
        service.shim.clear()
        with service.client() as client:
            wait_for(lambda: _works(client), 50)


def logins(service: TokenService) -> int:
    return service.shim.count("C_Login")


def test_a_wrong_pin_is_tried_once_and_never_again() -> None:
    service = TokenService(before="shim", values={"user_pin": "9999"})
    with service, service.client() as client:
        with refused(Status.PSA_ERROR_COMMUNICATION_FAILURE):
            client.generate_key("k", KEY)
        assert logins(service) == 1
        assert "PIN_INCORRECT" in service.service.log()
        for _ in range(2):
            worker = service.worker()
            os.kill(worker, signal.SIGKILL)
            wait_for(lambda worker=worker: service.service.pids(WORKER) not in ([], [worker]), 10)  # type: ignore[misc]
        service.service.signal(signal.SIGHUP)
        wait_for(lambda: service.service.log().count("event=serving") == 2, 10)
        service.service.stop()
        service.service.start()
        with refused(Status.PSA_ERROR_COMMUNICATION_FAILURE):
            client.generate_key("k", KEY)
        assert logins(service) == 1
        service.configure(user_pin=service.token.pin)
        service.service.signal(signal.SIGHUP)
        wait_for(lambda: _works(client), 10)
        assert logins(service) == 2


def test_the_pin_can_stand_in_a_file() -> None:
    service = TokenService()
    pin = service.folder / "pin"
    pin.write_text(f"{service.token.pin}\n")
    pin.chmod(0o400)
    service.configure(user_pin=None, user_pin_file=str(pin))
    with service, service.client() as client:
        client.generate_key("k", KEY)


def test_mistakes_in_the_configuration_keep_the_provider_down_and_say_why() -> None:
    service = TokenService()
    pin = service.folder / "pin"
    pin.write_text("1234")
    for values, text in (
        ({"library_path": "/nowhere/module.so"}, "/nowhere/module.so"),
        ({"quirks": ["no-such-quirk"]}, "no-such-quirk"),
        ({"user_pin": None, "user_pin_file": str(pin)}, "chmod 0400"),
    ):
        service = TokenService(values=values)  # type: ignore[arg-type]
        with service:
            row = service.service.provider("Pkcs11")
            assert (row["state"], text in row["cause"]) == ("down", True), row


def test_two_tokens_that_fit_are_refused_by_name() -> None:
    def make(folder: Path, *, uid: int | None) -> Token:
        softhsm(folder, uid=uid)
        return softhsm(folder, uid=uid)

    with TokenService(make=make) as service, service.client() as client:
        # A token that somebody plugged in must not affect the other providers.
        with refused(Status.PSA_ERROR_HARDWARE_FAILURE):
            client.generate_key("k", KEY)
        assert "2 tokens fit the configuration" in service.service.log()
        service.configure(token_label=None, token_uri=f"pkcs11:token=cofferdam;serial={service.token.serial}")
        service.service.signal(signal.SIGHUP)
        wait_for(lambda: _works(client), 10)
        client.generate_key("k", KEY)


def test_keys_outlive_every_process(faulty: TokenService) -> None:
    with faulty.client() as client:
        signature = sign(client)
        faulty.service.stop()
        faulty.service.start()
        client.verify_hash("k", DIGEST, signature, ecdsa())
        client.destroy_key("k")
    assert objects(faulty.token) == []


@pytest.mark.parametrize(
    ("function", "action"),
    [
        *(("C_GenerateKeyPair", "then-slow"), ("C_CreateObject", "then-slow"), ("C_DestroyObject", "then-slow")),
        ("C_DestroyObject", "slow"),
    ],
)
def test_a_crash_while_a_key_is_made_or_destroyed_leaves_no_half(
    faulty: TokenService, function: str, action: str
) -> None:
    """The process dies before the module has done its work, halfway, or after."""
    with faulty.client() as client:
        faulty.shim.set(f"{function} {action} 60000")
        outcome: list[object] = []
        thread = threading.Thread(target=lambda: outcome.append(_attempt(client, function)))
        thread.start()
        wait_for(lambda: faulty.shim.is_asleep(function))
        os.kill(faulty.worker(), signal.SIGKILL)
        faulty.shim.clear()
        thread.join()
        wait_for(lambda: len(faulty.service.pids(WORKER)) == 1, 10)
        survivors = {"k"} if function != "C_DestroyObject" else set[str]()
        wait_for(lambda: {key.name for key in client.list_keys()} == survivors, 10)
        wait_for(lambda: len(objects(faulty.token)) == 2 * len(survivors), 10)
        client.generate_key("new", rsa_signing_key(1024))


@pytest.mark.parametrize(
    ("function", "rules"),
    [
        ("C_GenerateKeyPair", ("C_GenerateKeyPair then-return CKR_DEVICE_REMOVED",)),
        ("C_CreateObject", ("C_CreateObject@2 return CKR_DEVICE_MEMORY", "C_DestroyObject return CKR_DEVICE_ERROR")),
    ],
)
def test_what_a_failed_creation_leaves_on_the_token_is_cleared_away(
    faulty: TokenService, function: str, rules: tuple[str, ...]
) -> None:
    """The module makes the objects and says it did not, or the second one fails and the first cannot be destroyed."""
    with faulty.client() as client:
        faulty.shim.set(*rules)
        assert _attempt(client, function) is not None
        faulty.shim.clear()
        wait_for(lambda: len(objects(faulty.token)) == 2, 15)
        wait_for(lambda: {key.name for key in client.list_keys()} == {"k"}, 10)
        client.generate_key("new", KEY)


def _attempt(client: Client, function: str) -> object:
    try:
        if function == "C_GenerateKeyPair":
            client.generate_key("new", KEY)
        elif function == "C_CreateObject":
            client.import_key("new", KEY, bytes(31) + b"\1")
        else:
            client.destroy_key("k")
    except ServiceStatusError as error:
        return error.status
    return None


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into other processes")
def test_the_pin_is_in_one_process_and_the_token_open_to_one_uid() -> None:
    def make(folder: Path, *, uid: int | None) -> Token:
        return softhsm(folder, pin="needle-5417-3390", uid=uid)

    with TokenService(make=make) as service, service.client() as client:
        client.generate_key("k", KEY)
        holders = {
            row["role"] for row in service.service.status()["processes"] if contains(row["pid"], b"needle-5417-3390")
        }
        assert holders == {WORKER}
        assert not contains(service.service.pid, b"needle-5417-3390")
        (row,) = service.service.rows(WORKER)
        assert (row["uid"], row["level"]) == (service.uid, "uid")
        others = {row["uid"] for row in service.service.status()["processes"]} - {service.uid}
        for uid in others:
            assert uid is not None
            done = subprocess.run(
                ["ls", str(service.token.folder)],
                user=uid,
                group=uid,
                extra_groups=(),
                capture_output=True,
                check=False,
            )
            assert done.returncode != 0


def test_keys_whose_objects_are_gone_are_reported_once_and_can_be_destroyed() -> None:
    with TokenService() as service, service.client() as client:
        for number in range(3):
            client.generate_key(f"k{number}", KEY)
        service.service.stop()
        assert len(objects(service.token)) == 6
        for path in service.token.folder.rglob("*.object"):
            if path.name != "token.object":
                path.unlink()
        service.service.start()
        line = "keys are listed that the provider does not have"
        wait_for(lambda: line in service.service.log())
        assert f'"{line}" keys=3 ' in service.service.log()
        with refused(Status.PSA_ERROR_DOES_NOT_EXIST):
            client.sign_hash("k0", DIGEST, ecdsa())
        for number in range(3):
            client.destroy_key(f"k{number}")
        assert client.list_keys() == []
        assert service.service.log().count(line) == 1
