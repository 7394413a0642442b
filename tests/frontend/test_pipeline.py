"""The order of checks: authenticator x proof x provider x opcode x body, against the protocol written a second time."""

import struct
from itertools import product

import pytest
from tests.frontend.samples import SAMPLES
from tests.frontend.stage import ADMIN, KIM, SETTINGS, UID, WORKERS, Stage, settings
from tests.harness.wire import KEEP_ALIVE, Request

from cofferdam_contracts.ipc.requests import ANSWER
from cofferdam_contracts.registry import Opcode
from cofferdam_contracts.status import Status
from cofferdam_contracts.wire.bodies import encode_operation

ANSWERED_HERE = {Opcode.PING, Opcode.LIST_PROVIDERS, Opcode.LIST_OPCODES, Opcode.LIST_AUTHENTICATORS}
ANSWERED_BY_KIM = {Opcode.LIST_KEYS, Opcode.LIST_CLIENTS}
ADMINISTRATION = {Opcode.LIST_CLIENTS, Opcode.DELETE_CLIENT}
CORE = ANSWERED_HERE | ANSWERED_BY_KIM | ADMINISTRATION
WITHOUT_IDENTITY = ANSWERED_HERE | {Opcode.PSA_GENERATE_RANDOM, Opcode.PSA_HASH_COMPUTE, Opcode.PSA_HASH_COMPARE}
PROOFS = {
    # authentication type, what is sent, who that is: nobody, a user, an administrator, or a wrong proof
    (0, b""): "nobody",
    (0, b"anything"): "nobody",
    (1, ADMIN.encode()): "administrator",
    (1, b"app"): "user",
    (1, b""): "wrong",
    (1, b"\xff"): "wrong",
    (1, b"n" * 4096): "user",
    (1, b"n" * 4097): "wrong",
    (2, b"a token"): "not configured",
    (3, struct.pack("<I", UID)): "user",
    (3, struct.pack("<I", UID + 1)): "wrong",
    (3, struct.pack(">I", UID)): "wrong",
    (3, b""): "wrong",
    (4, b"a token"): "not configured",
}
CONFIGURED = (0, 1, 2)
GARBAGE = b"\x0a\xff"


def expected(who: str, provider: int, opcode: Opcode, body: bytes) -> Status | None:
    """Return the status of the first check that fails; None when somebody is asked or answers at once."""
    checks = {
        Status.AUTHENTICATOR_NOT_REGISTERED: who == "not configured",
        Status.AUTHENTICATION_ERROR: who == "wrong",
        Status.PROVIDER_NOT_REGISTERED: provider not in CONFIGURED,
        Status.PSA_ERROR_NOT_SUPPORTED: (opcode in CORE) != (provider == 0),
        Status.NOT_AUTHENTICATED: who == "nobody" and opcode in ADMINISTRATION,
        Status.ADMIN_OPERATION: who != "administrator" and opcode in ADMINISTRATION,
        Status.DESERIALIZING_BODY_FAILED: body == GARBAGE,
    }
    failed = next((status for status, fails in checks.items() if fails), None)
    if failed is None and who == "nobody" and opcode not in WITHOUT_IDENTITY:
        return Status.NOT_AUTHENTICATED
    return failed


@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: f"{proof[0]}-{len(proof[1])}")
def test_the_first_check_that_fails_says_the_status(proof: tuple[int, bytes]) -> None:
    with Stage() as stage:
        client = stage.client()
        for provider, opcode in product((0, 1, 3), Opcode):
            for body in (encode_operation(SAMPLES[opcode]), GARBAGE):
                request = Request(
                    opcode=opcode, provider=provider, body=body, auth_type=proof[0], auth=proof[1], flags=KEEP_ALIVE
                )
                client.send(request.to_bytes())
                status = expected(PROOFS[proof], provider, opcode, body)
                asked = {server: stage.messages(channel) for server, channel in stage.servers.items()}
                for server, messages in asked.items():
                    answer(stage, server, messages)
                (response,) = client.responses()
                assert (response.status, response.opcode, response.provider) == (status or 0, opcode, provider)
                found = {server for server, messages in asked.items() if messages}
                assert found == (set() if status else destinations(opcode, provider))


def destinations(opcode: Opcode, provider: int) -> set[tuple[int, int]]:
    if opcode in ANSWERED_HERE:
        return set()
    if opcode in ANSWERED_BY_KIM:
        return {KIM}
    return set(WORKERS) if opcode is Opcode.DELETE_CLIENT else {WORKERS[provider - 1]}


RESULTS = {Opcode.PREPARE_KEY_ATTESTATION: 3}
NO_RESULT = {
    *(Opcode.PSA_GENERATE_KEY, Opcode.PSA_IMPORT_KEY, Opcode.PSA_DESTROY_KEY, Opcode.CAN_DO_CRYPTO),
    *(Opcode.PSA_VERIFY_HASH, Opcode.PSA_VERIFY_MESSAGE, Opcode.PSA_MAC_VERIFY, Opcode.PSA_HASH_COMPARE),
    Opcode.DELETE_CLIENT,
}


def answer(stage: Stage, server: tuple[int, int], asked: list[tuple[object, ...]]) -> None:
    for number, request_id, *_ in asked:
        assert isinstance(number, int)
        if server == KIM:
            stage.say(stage.servers[server], number + 1, request_id, 0, [])
        else:
            results = () if number in NO_RESULT else (b"x",) * RESULTS.get(Opcode(number), 1)
            stage.say(stage.servers[server], number | ANSWER, request_id, 0, *results)


@pytest.mark.parametrize("provider", [1, 2])
def test_a_missing_key_says_of_an_operation_what_the_list_says(provider: int) -> None:
    """The reference does not have what is not listed, so that clients look for operations with any name."""
    listed = {Opcode.PSA_SIGN_HASH, Opcode.PSA_EXPORT_KEY}
    entries = tuple(entry._replace(opcodes=tuple(listed)) for entry in SETTINGS.providers)
    with Stage(settings(providers=entries)) as stage:
        client = stage.client()
        for opcode in Opcode:
            if opcode in CORE:
                continue
            body = encode_operation(SAMPLES[opcode])
            request = Request(opcode=opcode, provider=provider, body=body, auth_type=1, auth=b"app", flags=KEEP_ALIVE)
            for status in (Status.PSA_ERROR_DOES_NOT_EXIST, Status.PSA_ERROR_NOT_PERMITTED):
                client.send(request.to_bytes())
                ((number, request_id, *_),) = stage.messages(stage.worker(provider - 1))
                stage.say(stage.worker(provider - 1), int(str(number)) | ANSWER, request_id, status)
                looked_for = status == Status.PSA_ERROR_DOES_NOT_EXIST and opcode not in listed
                assert client.statuses() == [Status.PSA_ERROR_NOT_SUPPORTED if looked_for else status]


def test_what_a_worker_is_told_of_the_client() -> None:
    with Stage() as stage:
        client = stage.client()
        for (auth_type, proof), who in PROOFS.items():
            if who not in ("user", "administrator"):
                continue
            body = encode_operation(SAMPLES[Opcode.PSA_SIGN_HASH])
            request = Request(opcode=Opcode.PSA_SIGN_HASH, provider=1, body=body, auth_type=auth_type, auth=proof)
            client.send(request.but(flags=KEEP_ALIVE).to_bytes())
            ((number, request_id, _, authenticator, name, *_),) = stage.messages(stage.worker(0))
            assert (number, authenticator) == (Opcode.PSA_SIGN_HASH, auth_type)
            assert name == (proof.decode() if auth_type == 1 else "")
            stage.say(stage.worker(0), number | ANSWER, request_id, 0, b"x")
            assert client.statuses() == [0]
