"""The worker against frontends that are honest, taken over, slow or gone."""

import threading
import time
from pathlib import Path

import pytest
from tests.providers.base.device import ATTRIBUTES, ECDSA, Device, running

from cofferdam_contracts.ipc.control import Role
from cofferdam_contracts.ipc.framing import PART_SIZE, Common
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
from cofferdam_contracts.status import Status
from cofferdam_providers.base.worker import MAX_SLOW
from cofferdam_runtime.channel import MAX_PARTS, ChannelClosedError

GENERATE = GenerateKey("k", ATTRIBUTES)
SIGN = SignHash("k", ECDSA, b"d" * 32)


class SlowDevice(Device):
    """Takes its time to make a key, on a thread of its own: until `done` is set, or for a while."""

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


@pytest.mark.parametrize("number", sorted(set(range(256)) - set(SCHEMAS) - {Common.SYNC, Common.PART}))
def test_every_number_outside_the_table_closes_the_channel(tmp_path: Path, number: int) -> None:
    with running(tmp_path, Device({})) as worker:
        frontend = worker.connect(1000)
        frontend.channel.send((number, 1, 1 << 62, 3, "", "k"))
        with pytest.raises(ChannelClosedError):
            frontend.receive()


def test_every_request_with_a_field_too_many_too_few_or_of_another_type_closes_the_channel(tmp_path: Path) -> None:
    with running(tmp_path, Device({})) as worker:
        wrong: tuple[object, ...] = (None, 1.5, -1, (), True)
        for number, schema in SCHEMAS.items():
            count = len(schema.names)
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


def test_what_was_not_begun_before_its_deadline_is_not_done(tmp_path: Path) -> None:
    device = Device({})
    with running(tmp_path, device) as worker:
        frontend = worker.connect(1000)
        assert frontend.ask(GENERATE, deadline=1).status == Status.PSA_ERROR_COMMUNICATION_FAILURE
        assert device.objects == {}


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
    """Also when nobody takes more than one part of it at a time."""
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


@pytest.mark.parametrize("device", [Device, SlowDevice])
def test_a_successor_says_hello_and_sync_comes_after_what_was_queued(tmp_path: Path, device: type[Device]) -> None:
    with running(tmp_path, device({})) as worker:
        frontend = worker.connect(1000, adopted=True)
        assert frontend.receive() == (Common.HELLO,)
        frontend.channel.send(encode_request(GENERATE, 7, 1 << 62, 3, ""))
        frontend.channel.send((Common.SYNC, 7))
        assert frontend.receive()[:3] == (GENERATE.opcode | 0x80, 7, Status.SUCCESS)
        assert frontend.receive() == (Common.SYNCED, 7)


def test_others_are_served_while_a_key_is_made(tmp_path: Path) -> None:
    with running(tmp_path, SlowDevice({})) as worker:
        one, other = worker.connect(1000), worker.connect(1001, 1)
        for number in range(3):
            one.channel.send(encode_request(GenerateKey(f"k{number}", ATTRIBUTES), number, 1 << 62, 3, ""))
        began = time.monotonic()
        for _ in range(100):
            assert other.ask(GenerateRandom(1)).status == Status.SUCCESS
        assert time.monotonic() - began < 0.5
        assert [one.receive()[1:3] for _ in range(3)] == [(number, Status.SUCCESS) for number in range(3)]


def test_too_many_slow_requests_of_one_principal_are_refused_at_once(tmp_path: Path) -> None:
    device = SlowDevice({})
    device.patience = 20.0
    with running(tmp_path, device) as worker:
        frontend = worker.connect(1000)
        for number in range(MAX_SLOW + 1):
            frontend.channel.send(encode_request(GenerateKey(f"k{number}", ATTRIBUTES), number, 1 << 62, 3, ""))
        assert frontend.receive()[1:3] == (MAX_SLOW, Status.PSA_ERROR_INSUFFICIENT_MEMORY)
        device.done.set()
        assert [frontend.receive()[1:3] for _ in range(MAX_SLOW)] == [(n, Status.SUCCESS) for n in range(MAX_SLOW)]


def test_a_flood_of_one_principal_leaves_the_others_their_share(tmp_path: Path) -> None:
    with running(tmp_path, Device({})) as worker:
        flood, quiet = worker.connect(1000), worker.connect(1001, 1)
        for number in range(3000):
            flood.channel.send(encode_request(GenerateRandom(20_000), number, 1 << 62, 0, ""))
        slowest = 0.0
        for _ in range(20):
            began = time.monotonic()
            assert quiet.ask(GenerateRandom(1)).status == Status.SUCCESS
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 0.25
