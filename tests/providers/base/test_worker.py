"""The worker against frontends that are honest, compromised, slow or gone."""

import _socket
import itertools
import re
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.contracts.strategies import operations_of
from tests.providers.base.device import ATTRIBUTES, ECDSA, KEK, LOG, SETTINGS, UNIX, Device, running

from cofferdam_contracts.identity import MAX_APPLICATION
from cofferdam_contracts.ipc.fields import Field
from cofferdam_contracts.ipc.framing import Common
from cofferdam_contracts.ipc.keystore import SCHEMAS as STORE_SCHEMAS
from cofferdam_contracts.ipc.keystore import KimMessage
from cofferdam_contracts.ipc.limits import MAX_ANSWER, MAX_PARTS, PART_SIZE
from cofferdam_contracts.ipc.requests import SCHEMAS, encode_request
from cofferdam_contracts.operations import (
    CanDoCrypto,
    CheckType,
    DeleteClient,
    DestroyKey,
    ExportKey,
    ExportPublicKey,
    GenerateKey,
    GenerateRandom,
    HashCompute,
    ImportKey,
    SignHash,
)
from cofferdam_contracts.psa.algorithm import AsymmetricSignature, Hash, SignatureScheme
from cofferdam_contracts.psa.attributes import KeyAttributes
from cofferdam_contracts.registry import AuthType
from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import AuthenticatorSettings, LogSettings
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.kim_client import KimClient
from cofferdam_providers.base.row_codes import RowCodes
from cofferdam_providers.base.worker import MAX_SLOW
from cofferdam_runtime.channel import Channel, ChannelClosedError
from cofferdam_runtime.pairs import socket_pair

DIRECT = AuthenticatorSettings(auth_type=AuthType.DIRECT, admins=())
GENERATE = GenerateKey("k", ATTRIBUTES)
SIGN = SignHash("k", ECDSA, b"d" * 32)


class SlowDevice(Device):
    """Takes a while to generate a key, on a thread of its own: until `done` is set, or `patience` is over."""

    concurrent_generation = True
    patience = 0.2

    def __init__(self, objects: dict[bytes, bytes]) -> None:
        super().__init__(objects)
        self.done = threading.Event()

    def generate_key(self, *arguments: object) -> object:  # type: ignore[override]
        self.done.wait(self.patience)
        return super().generate_key(*arguments)  # type: ignore[arg-type]


def test_a_key_lives_from_creation_to_destruction(tmp_path: Path) -> None:
    with running(tmp_path, Device({})) as worker:
        frontend = worker.connect(1000)
        assert frontend.ask(GENERATE).status == Status.SUCCESS
        assert frontend.ask(GENERATE).status == Status.PSA_ERROR_ALREADY_EXISTS
        assert frontend.ask(SIGN).results[0].endswith(b"d" * 32)
        assert frontend.ask(DestroyKey("k")).status == Status.SUCCESS
        assert frontend.ask(SIGN).status == Status.PSA_ERROR_DOES_NOT_EXIST


def test_a_key_of_another_principal_does_not_exist(tmp_path: Path) -> None:
    with running(tmp_path, Device({})) as worker:
        owner, other = worker.connect(1000), worker.connect(1001, 1)
        assert owner.ask(GENERATE).status == Status.SUCCESS
        for operation in (SIGN, DestroyKey("k"), ExportPublicKey("k"), ExportKey("k")):
            assert other.ask(operation).status == Status.PSA_ERROR_DOES_NOT_EXIST
        assert other.ask(GENERATE).status == Status.SUCCESS
        assert other.ask(DestroyKey("k")).status == Status.SUCCESS
        assert owner.ask(SIGN).status == Status.SUCCESS


def test_a_key_of_another_authenticator_does_not_exist(tmp_path: Path) -> None:
    """One name in two name spaces: in the key store, and in the cache of keys that were used before."""
    both = SETTINGS._replace(authenticators=(UNIX, DIRECT))
    with running(tmp_path, Device({}), both) as worker:
        frontends = [worker.connect(1000), worker.connect(1001, 1)]
        kinds = [(AuthType.UNIX_PEER_CREDENTIALS, ""), (AuthType.DIRECT, "1000")]
        for owner, stranger in itertools.permutations(kinds):
            # Any frontend may speak for a name of Direct, and one of the uid itself only for that.
            assert frontends[0].ask(GENERATE, *owner).status == Status.SUCCESS
            made = frontends[0].ask(SIGN, *owner)
            assert made.status == Status.SUCCESS
            for frontend in frontends:
                for operation in (SIGN, DestroyKey("k"), ExportPublicKey("k"), ExportKey("k")):
                    assert frontend.ask(operation, *stranger).status == Status.PSA_ERROR_DOES_NOT_EXIST
            assert frontends[0].ask(GENERATE, *stranger).status == Status.SUCCESS
            assert frontends[0].ask(SIGN, *stranger).results != made.results
            assert frontends[0].ask(SIGN, *owner).results == made.results
            # What one destroys is not the other's.
            assert frontends[0].ask(DestroyKey("k"), *stranger).status == Status.SUCCESS
            assert frontends[0].ask(SIGN, *owner).results == made.results
            assert frontends[0].ask(DestroyKey("k"), *owner).status == Status.SUCCESS


@pytest.mark.parametrize(
    ("auth", "claimed"),
    [(3, "1000"), (1, "1000"), (1, ""), (2, ""), (4, "spiffe://x/y"), (255, "parsec"), (0, "1000"), (99, "")],
)
def test_no_field_can_claim_an_identity(tmp_path: Path, auth: int, claimed: str) -> None:
    with running(tmp_path, Device({})) as worker:
        frontend = worker.connect(1001, number=5)
        with pytest.raises(ChannelClosedError):
            frontend.ask(SIGN, auth=auth, claimed=claimed)
        assert worker.violations == [(Role.FRONTEND, 5)]


@pytest.mark.parametrize("name", ["", "n" * (MAX_APPLICATION + 1), "é" * (MAX_APPLICATION // 2 + 1)])
def test_a_name_that_no_client_can_have_is_the_frontends_violation(tmp_path: Path, name: str) -> None:
    with running(tmp_path, Device({}), SETTINGS._replace(authenticators=(DIRECT,))) as worker:
        honest, frontend = worker.connect(1000), worker.connect(1001, number=5)
        assert honest.ask(GENERATE, auth=1, claimed="n" * MAX_APPLICATION).status == Status.SUCCESS
        with pytest.raises(ChannelClosedError):
            frontend.ask(SIGN, auth=1, claimed=name)
        assert worker.violations == [(Role.FRONTEND, 5)]


def test_without_identity_only_anonymous_operations_work(tmp_path: Path) -> None:
    with running(tmp_path, Device({})) as worker:
        frontend = worker.connect(1000)
        assert frontend.ask(GenerateRandom(8), auth=0).results == (bytes(8),)
        for operation in (GENERATE, SIGN, DestroyKey("k"), DeleteClient("x"), CanDoCrypto(CheckType.USE, ATTRIBUTES)):
            assert frontend.ask(operation, auth=0).status == Status.NOT_AUTHENTICATED


def test_only_an_administrator_deletes_clients(tmp_path: Path) -> None:
    with running(tmp_path, Device({})) as worker:
        client, admin = worker.connect(1000), worker.connect(7, 1)
        assert client.ask(GENERATE).status == Status.SUCCESS
        assert client.ask(DeleteClient("1000")).status == Status.ADMIN_OPERATION
        assert client.ask(SIGN).status == Status.SUCCESS
        assert admin.ask(DeleteClient("1000")).status == Status.SUCCESS
        assert client.ask(SIGN).status == Status.PSA_ERROR_DOES_NOT_EXIST
        assert admin.ask(DeleteClient("nobody")).status == Status.SUCCESS


def test_what_the_key_store_would_refuse_costs_the_client_a_status_and_nobody_more(tmp_path: Path) -> None:
    """A client's values pass through the worker; the key store would attribute them to the worker."""
    with running(tmp_path, Device({})) as worker:
        client, admin = worker.connect(1000), worker.connect(7, 1)
        assert client.ask(GENERATE).status == Status.SUCCESS
        for name in ("n" * (MAX_APPLICATION + 1), "é" * MAX_APPLICATION):
            assert admin.ask(DeleteClient(name)).status == Status.PSA_ERROR_INVALID_ARGUMENT
        # The channel to the key store is still there.
        assert client.ask(GenerateKey("other", ATTRIBUTES)).status == Status.SUCCESS
        assert worker.violations == []


@given(question=st.sampled_from(KimMessage), data=st.data())
def test_what_is_sent_to_the_key_store_is_in_its_table(question: KimMessage, data: st.DataObject) -> None:
    fields = data.draw(st.tuples(*(_anything(field) for field in STORE_SCHEMAS[question].fields)))
    if STORE_SCHEMAS[question].accepts(fields):
        return
    ours, theirs = socket_pair()
    try:
        with pytest.raises(ServiceError) as caught:
            KimClient(Channel(ours, MAX_ANSWER), RowCodes(KEK, Device({})), LOG)._ask(question, *fields)
        assert caught.value.status is Status.PSA_ERROR_INVALID_ARGUMENT
        with pytest.raises(BlockingIOError):
            theirs.recv(1, _socket.MSG_DONTWAIT)
    finally:
        ours.close()
        theirs.close()


def _anything(field: Field) -> st.SearchStrategy[object]:
    if field.type is int:
        return st.integers(-1, field.most + 1)
    lengths = st.sampled_from([0, field.most, field.most + 1])
    fillings = st.sampled_from(["a", "é", "\ud800"] if field.type is str else [b"a"])
    return st.builds(lambda length, filling: filling * length, lengths, fillings)


def test_every_number_outside_the_table_closes_the_channel(tmp_path: Path) -> None:
    with running(tmp_path, Device({})) as worker:
        for number in sorted(set(range(256)) - set(SCHEMAS) - {Common.SYNC, Common.PART}):
            frontend = worker.connect(1000, number)
            frontend.channel.send((number, 1, 1 << 62, 3, "", "k"))
            with pytest.raises(ChannelClosedError):
                frontend.receive()
            assert worker.violations[-1] == (Role.FRONTEND, number)


def test_every_request_with_a_field_too_many_too_few_or_of_another_type_closes_the_channel(tmp_path: Path) -> None:
    with running(tmp_path, Device({})) as worker:
        wrong: tuple[object, ...] = (None, 1.5, -1, (), True)
        for number, schema in SCHEMAS.items():
            count = len(schema.readers)
            messages = [(number, 1, 1 << 62, 3, ""), (number, 1, 1 << 62, 3, "", *["x"] * (count + 1)), (number,)]
            messages += [(number, 1, 1 << 62, 3, "", *[value] * count) for value in wrong]
            messages += [(number, "1", 1 << 62, 3, "", *["x"] * count), (number, 1, 1 << 62, "3", "", *["x"] * count)]
            for message in messages:
                frontend = worker.connect(1000)
                frontend.channel.send(message)
                with pytest.raises(ChannelClosedError):
                    frontend.receive()


def test_an_algorithm_of_another_family_closes_the_channel(tmp_path: Path) -> None:
    with running(tmp_path, Device({})) as worker:
        frontend = worker.connect(1000)
        message = encode_request(SIGN, 1, 1 << 62, 3, "")
        message[6] = bytes.fromhex("040000000000000001000000")  # GCM
        frontend.channel.send(message)
        with pytest.raises(ChannelClosedError):
            frontend.receive()


class Untouched(Device):
    """Notes every method that is called."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        super().__init__({})

    def __getattribute__(self, name: str) -> object:
        value = super().__getattribute__(name)
        if callable(value) and name not in ("asked", "busy", "go_on"):
            self.asked.append(name)
        return value


@settings(max_examples=5)
@given(st.tuples(*(operations_of(schema.kind) for schema in SCHEMAS.values())))
def test_nothing_is_begun_after_its_deadline(expired: tuple[Any, ...]) -> None:
    device = Untouched()
    with TemporaryDirectory() as folder, running(Path(folder), device) as worker:
        frontends = [worker.connect(uid, uid) for uid in (7, 1000)]
        device.asked.clear()
        for operation in expired:
            for frontend in frontends:
                assert frontend.ask(operation, deadline=1).status == Status.PSA_ERROR_COMMUNICATION_FAILURE
        assert device.asked == []
        # It does what is asked in time.
        assert frontends[0].ask(GenerateRandom(1)).status == Status.SUCCESS
        assert device.asked == ["perform", "generate_random"]


def test_the_policy_of_the_store_counts(tmp_path: Path) -> None:
    other = AsymmetricSignature(SignatureScheme.ECDSA, Hash.SHA_384)
    with running(tmp_path, Device({})) as worker:
        frontend = worker.connect(1000)
        frontend.ask(GENERATE)
        assert frontend.ask(SignHash("k", other, b"d" * 48)).status == Status.PSA_ERROR_NOT_PERMITTED
        assert frontend.ask(SignHash("k", ECDSA, b"d" * 31)).status == Status.PSA_ERROR_INVALID_ARGUMENT
        assert frontend.ask(ExportKey("k")).status == Status.PSA_ERROR_NOT_PERMITTED


def test_refusals_before_a_name_is_taken(tmp_path: Path) -> None:
    small = KeyAttributes(ATTRIBUTES.type, 1, ATTRIBUTES.usage, ATTRIBUTES.algorithm)
    old = KeyAttributes(ATTRIBUTES.type, 256, ATTRIBUTES.usage, AsymmetricSignature(SignatureScheme.ECDSA, Hash.SHA_1))
    with running(tmp_path, Device({})) as worker:
        frontend = worker.connect(1000)
        assert frontend.ask(GenerateKey("k", small)).status == Status.PSA_ERROR_INVALID_ARGUMENT
        assert frontend.ask(GenerateKey("k", old)).status == Status.DEPRECATED_PRIMITIVE
        assert frontend.ask(ImportKey("k", ATTRIBUTES, b"refuse")).status == Status.PSA_ERROR_INVALID_ARGUMENT
        assert frontend.ask(ImportKey("k", old, b"data")).status == Status.SUCCESS


@pytest.mark.parametrize("parts", [1, MAX_PARTS])
def test_a_request_larger_than_a_datagram_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    """Also when only one part of it is taken at a time."""
    monkeypatch.setattr("cofferdam_runtime.channel.MAX_PARTS", parts)
    with running(tmp_path, Device({})) as worker:
        frontend = worker.connect(1000)
        assert frontend.ask(ImportKey("k", ATTRIBUTES, b"x" * (PART_SIZE * 3))).status == Status.SUCCESS
        assert frontend.ask(ExportPublicKey("k")).results == (b"x" * (PART_SIZE * 3),)
        assert frontend.ask(GenerateRandom(1 << 20)).results == (bytes(1 << 20),)
        assert frontend.ask(GenerateRandom((1 << 20) + 1)).status == Status.RESPONSE_TOO_LARGE


def test_a_backend_without_an_operation_says_so(tmp_path: Path) -> None:
    with running(tmp_path, Device({})) as worker:
        frontend = worker.connect(1000)
        assert frontend.ask(HashCompute(Hash.SHA_256, b"x")).status == Status.PSA_ERROR_NOT_SUPPORTED
        assert frontend.ask(CanDoCrypto(CheckType.DERIVE, ATTRIBUTES)).status == Status.PSA_ERROR_NOT_SUPPORTED


def test_a_client_that_asks_what_is_possible_gets_one_status_for_no(tmp_path: Path) -> None:
    """Whatever status generating or importing such a key would end with."""
    impossible = replace(ATTRIBUTES, bits=1)
    with running(tmp_path, Device({})) as worker:
        frontend = worker.connect(1000)
        assert frontend.ask(GenerateKey("k", impossible)).status == Status.PSA_ERROR_INVALID_ARGUMENT
        for check in (CheckType.GENERATE, CheckType.IMPORT):
            assert frontend.ask(CanDoCrypto(check, impossible)).status == Status.PSA_ERROR_NOT_SUPPORTED


@pytest.mark.parametrize("device", [Device, SlowDevice])
def test_a_successor_says_hello_and_sync_comes_after_what_was_queued(tmp_path: Path, device: type[Device]) -> None:
    with running(tmp_path, device({})) as worker:
        adopted = [worker.connect(1000 + number, number, adopted=True) for number in range(3)]
        for number, frontend in enumerate(adopted):
            assert frontend.receive() == (Common.HELLO,)
            frontend.channel.send(encode_request(GENERATE, 7 + number, 1 << 62, 3, ""))
            frontend.channel.send((Common.SYNC, 7 + number))
        for number, frontend in enumerate(adopted):
            assert frontend.receive()[:3] == (GENERATE.opcode | 0x80, 7 + number, Status.SUCCESS)
            assert frontend.receive() == (Common.SYNCED, 7 + number)
        # Each still has its principal, and one that nobody served before is not greeted.
        made = [frontend.ask(ExportPublicKey("k")).results for frontend in adopted]
        assert len(set(made)) == 3
        new = worker.connect(2000, 9)
        assert new.ask(SIGN).status == Status.PSA_ERROR_DOES_NOT_EXIST
        again = worker.connect(1001, 8)
        assert again.ask(ExportPublicKey("k")).results == made[1]


def test_others_are_served_while_a_key_is_made(tmp_path: Path) -> None:
    device = SlowDevice({})
    device.patience = 20.0
    with running(tmp_path, device) as worker:
        one, other = worker.connect(1000), worker.connect(1001, 1)
        for number in range(3):
            one.channel.send(encode_request(GenerateKey(f"k{number}", ATTRIBUTES), number, 1 << 62, 3, ""))
        while worker.in_flight() < 3:  # turns are by cost, and the first key has cost some
            assert other.ask(GenerateRandom(1)).status == Status.SUCCESS
        for _ in range(100):
            assert other.ask(GenerateRandom(1)).status == Status.SUCCESS
        assert worker.in_flight() == 3
        device.done.set()
        assert [one.receive()[1:3] for _ in range(3)] == [(number, Status.SUCCESS) for number in range(3)]


def test_too_many_slow_requests_of_one_principal_are_refused_at_once(tmp_path: Path) -> None:
    device = SlowDevice({})
    device.patience = 20.0
    with running(tmp_path, device) as worker:
        frontend = worker.connect(1000)
        for number in range(MAX_SLOW + 1):
            frontend.channel.send(encode_request(GenerateKey(f"k{number}", ATTRIBUTES), number, 1 << 62, 3, ""))
        assert frontend.receive()[1:3] == (MAX_SLOW, Status.PSA_ERROR_INSUFFICIENT_MEMORY)
        # Another principal's are not refused for that, nor its own once it has fewer.
        other = worker.connect(1001, 1)
        other.channel.send(encode_request(GENERATE, 1, 1 << 62, 3, ""))
        device.done.set()
        assert other.receive()[1:3] == (1, Status.SUCCESS)
        assert [frontend.receive()[1:3] for _ in range(MAX_SLOW)] == [(n, Status.SUCCESS) for n in range(MAX_SLOW)]
        assert frontend.ask(GENERATE).status == Status.SUCCESS


def test_the_log_tells_who_did_what(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def lines(level: str, *, details: bool = False) -> list[str]:
        quiet = SETTINGS._replace(log=LogSettings(level=level, details=details))
        with TemporaryDirectory(dir=tmp_path) as folder, running(Path(folder), Device({}), quiet) as worker:
            one, other = worker.connect(1000, 4), worker.connect(1001, 5)
            one.ask(GENERATE)
            other.ask(SIGN)
            one.ask(SIGN)
            one.ask(GenerateRandom(1), auth=0)
        return [line.partition("event=")[2] for line in capfd.readouterr().err.splitlines()]

    generated = "req=4:1 op=PSA_GENERATE_KEY provider=1 uid=1000"
    refused = "req=5:1 op=PSA_SIGN_HASH provider=1 uid=1001"
    assert lines("warn") == []
    changes = [f'"a key was changed" {generated}', f'"a request failed" status=1140 cause=... {refused}']
    assert [re.sub('cause=".*?"', "cause=...", line) for line in lines("info")] == changes
    served = [line for line in lines("debug") if line.startswith('"a request was served"')]
    assert served == [
        f'"a request was served" status=0 {generated}',
        f'"a request was served" status=1140 {refused}',
        '"a request was served" status=0 req=4:1 op=PSA_SIGN_HASH provider=1 uid=1000',
        '"a request was served" status=0 req=4:1 op=PSA_GENERATE_RANDOM provider=1 uid=1000',
    ]
    assert f'"a key was changed" {generated} app=1000 key=k' in lines("info", details=True)
