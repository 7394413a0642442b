"""A device that outlives the worker, and a worker's environment: a simulator behind the Provider interface.

The key store is the real one, in a thread of its own behind a real channel.
"""

import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from tests.harness.broker_end import BrokerEnd

from cofferdam_contracts.identity import KeyIdentity
from cofferdam_contracts.ipc.control import Busy, DownstreamChannel, Violation
from cofferdam_contracts.ipc.limits import MAX_ANSWER
from cofferdam_contracts.ipc.requests import Answer, WorkerOperation, decode_answer, encode_request
from cofferdam_contracts.operations import SignHash
from cofferdam_contracts.psa.algorithm import AsymmetricSignature, Hash, SignatureScheme
from cofferdam_contracts.psa.attributes import EccFamily, KeyAttributes, KeyKind, KeyType, Usage
from cofferdam_contracts.registry import PROVIDERS, AuthType, Opcode, ProviderId
from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import AuthenticatorSettings, LogSettings, ProviderEntry, WorkerSettings
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_kim.location import prepare
from cofferdam_kim.serve import Server
from cofferdam_kim.service import KimService
from cofferdam_kim.store import MappingStore
from cofferdam_kim.stores import Stores
from cofferdam_providers.base.handlers import Context
from cofferdam_providers.base.keyring import Keyring
from cofferdam_providers.base.kim_client import KimClient
from cofferdam_providers.base.lane import Lane, ThreadLane
from cofferdam_providers.base.provider import Key, Provider, StoredKey
from cofferdam_providers.base.request_log import RequestLog
from cofferdam_providers.base.row_codes import RowCodes
from cofferdam_providers.base.worker import Worker
from cofferdam_runtime.channel import Channel
from cofferdam_runtime.grants import Grants
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import Loop
from cofferdam_runtime.pairs import socket_pair

ENTRY = ProviderEntry(
    id=ProviderId.MBED_CRYPTO,
    uuid=PROVIDERS[ProviderId.MBED_CRYPTO].uuid,
    name="mbed-crypto-provider",
    opcodes=tuple(PROVIDERS[ProviderId.MBED_CRYPTO].opcodes),
)
UNIX = AuthenticatorSettings(auth_type=AuthType.UNIX_PEER_CREDENTIALS, admins=("7",))
ECDSA = AsymmetricSignature(SignatureScheme.ECDSA, Hash.SHA_256)
ATTRIBUTES = KeyAttributes(
    KeyType(KeyKind.ECC_KEY_PAIR, EccFamily.SECP_R1), 256, (Usage.SIGN_HASH | Usage.VERIFY_HASH).widened(), ECDSA
)
KEK = bytes(range(32))
LOG = Log("test", LogSettings(level="error", details=True))


class Device(Provider[bytes]):
    """Keeps objects by an id that is planned in advance, as a token does; `objects` is the token."""

    description = PROVIDERS[ProviderId.MBED_CRYPTO]

    def __init__(self, objects: dict[bytes, bytes], step: Callable[[str], None] = lambda _name: None) -> None:
        self.objects = objects
        self.step = step
        self.operations = {
            Opcode.PSA_EXPORT_PUBLIC_KEY: lambda key, _: self.export_public_key(key),
            Opcode.PSA_EXPORT_KEY: lambda key, _: self.objects[key.handle],
            Opcode.PSA_SIGN_HASH: self.sign_hash,
            Opcode.PSA_GENERATE_RANDOM: lambda _, operation: self.generate_random(operation.size),
        }

    def plan_key_id(self) -> bytes:
        return os.urandom(16)

    def check_generate(self, attributes: KeyAttributes) -> None:
        if attributes.bits == 1:
            raise ServiceError(Status.PSA_ERROR_INVALID_ARGUMENT, "one bit")

    def check_import(self, attributes: KeyAttributes, data: bytes) -> None:
        self.check_generate(attributes)
        if not data:
            raise ServiceError(Status.PSA_ERROR_INVALID_ARGUMENT, "no data")

    def generate_key(self, identity: KeyIdentity, attributes: KeyAttributes, planned_id: bytes) -> StoredKey:
        return self.import_key(identity, attributes, os.urandom(8), planned_id)

    def import_key(self, identity: KeyIdentity, attributes: KeyAttributes, data: bytes, planned_id: bytes) -> StoredKey:
        if data == b"refuse":
            raise ServiceError(Status.PSA_ERROR_INVALID_ARGUMENT, "refused by the device")
        self.step("before the device makes it")
        self.objects[planned_id] = data
        self.step("after the device made it")
        return StoredKey(key_id=planned_id, version=2, attributes=attributes)

    def check_use(self, attributes: KeyAttributes) -> None:
        raise ServiceError(Status.PSA_ERROR_NOT_SUPPORTED, "a simulator")

    def open_key(self, identity: KeyIdentity, stored: StoredKey) -> Key[bytes]:
        if stored.key_id not in self.objects:
            raise ServiceError(Status.PSA_ERROR_INVALID_HANDLE, "the object is gone")
        return Key(attributes=stored.attributes, handle=stored.key_id)

    def destroy_key(self, identity: KeyIdentity, stored: StoredKey) -> None:
        self.step("before the device destroys it")
        self.objects.pop(stored.key_id, None)
        self.step("after the device destroyed it")

    def export_public_key(self, key: Key[bytes]) -> bytes:
        return self.objects[key.handle]

    def sign_hash(self, key: Key[bytes], operation: SignHash) -> bytes:
        return self.objects[key.handle] + operation.hash

    def generate_random(self, size: int) -> bytes:
        return bytes(size)


@contextmanager
def key_store(folder: Path) -> Iterator[KimClient]:
    """Run the real key store on a database in `folder` and ask it as the worker of `ENTRY`."""
    path = str(folder / "kim" / "db.sqlite3")
    prepare(path)
    started = threading.Event()
    stop: list[Callable[[], None]] = []
    ours, theirs = socket_pair()

    def serve() -> None:
        # A connection to SQLite belongs to the thread that made it.
        database = MappingStore.open(path, (ENTRY,))
        loop = Loop()
        broker = BrokerEnd()
        server = Server(
            KimService(Stores((database,), (ENTRY,)), (ENTRY,), (UNIX,)),
            loop,
            LOG,
            broker.reporter,
            grants=Grants(loop, LOG, broker.reporter),
        )
        server.add_channel(DownstreamChannel(Role.SOFTWARE_WORKER, 0, 0, 0, adopted=False, descriptor=theirs.detach()))
        stop.append(loop.stop)
        started.set()
        loop.run(lambda: min(server.tick(), 0.01))
        for asking in list(server._channels):
            server._close(asking)
        database.close()
        broker.close()

    thread = threading.Thread(target=serve)
    thread.start()
    started.wait(10)
    try:
        store = KimClient(Channel(ours, MAX_ANSWER), RowCodes(KEK, Device({})), LOG)
        store.open(adopt=False)
        yield store
    finally:
        stop[0]()
        thread.join()
        ours.close()


SETTINGS = WorkerSettings(
    log=LogSettings(level="off"),
    provider=ENTRY,
    authenticators=(UNIX,),
    buffer_size_limit=1 << 20,
    body_len_limit=1 << 20,
    allow_deprecated=False,
    key_cache=100,
    memory_limit=1 << 30,
    adopt_rows=False,
)


class Running:
    """A worker in a thread."""

    def __init__(self) -> None:
        self.broker = BrokerEnd()
        self._worker: Worker
        self._ends: list[Channel] = []

    def run(self, worker: Worker, loop: Loop) -> None:
        """Start the thread."""
        self._worker = worker
        self.stop, self.in_flight = worker.stop, worker.in_flight
        self.thread = threading.Thread(target=lambda: loop.run(lambda: min(worker.tick(), 0.01)))
        self.thread.start()

    @property
    def violations(self) -> list[tuple[int, int]]:
        """Role and serial number of the frontends that broke the protocol."""
        return [(told.role, told.serial) for told in self.broker.told(Violation)]

    @property
    def busy(self) -> list[bool]:
        """What the worker told of its device."""
        return [told.busy for told in self.broker.told(Busy)]

    def connect(self, uid: int, number: int = 0, *, adopted: bool = False) -> "Asking":
        """Be the frontend of a principal."""
        ours, theirs = socket_pair()
        self._worker.add_channel(DownstreamChannel(Role.FRONTEND, uid, number, number, adopted, theirs.detach()))
        channel = Channel(ours, 4 << 20)
        self._ends.append(channel)
        return Asking(channel)

    def close(self) -> None:
        for peer in list(self._worker._peers):
            self._worker._close(peer)
        for channel in self._ends:
            channel.close()


class Asking:
    """A frontend's end of a channel, blocking."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._poll = select.poll()
        self._poll.register(channel.fileno(), select.POLLIN)

    def receive(self) -> tuple[Any, ...]:
        """Return the next message; `ChannelClosedError` when the worker hung up."""
        for _ in range(200):
            message = self.channel.receive()
            if message is not None:
                return message
            self._poll.poll(50)
            self.channel.flush()
        raise TimeoutError("no answer in 10 s")

    def ask(self, operation: WorkerOperation, auth: int = 3, claimed: str = "", deadline: int = 1 << 62) -> Answer:
        """Send a request and return its answer."""
        self.channel.send(encode_request(operation, 1, deadline, auth, claimed))
        return decode_answer(self.receive())


@contextmanager
def running(
    folder: Path, device: Provider[Any], settings: WorkerSettings = SETTINGS, store: KimClient | None = None
) -> Iterator[Running]:
    """Run a real worker around a device, with a real key store or the one that is given."""
    with key_store(folder) if store is None else nullcontext(store) as rows:
        log = Log("test", settings.log)
        loop = Loop()
        keyring = Keyring(device, rows, settings.key_cache, log)
        lane = ThreadLane(loop) if device.concurrent_generation else Lane()
        lane.start()
        context = Context(provider=device, keyring=keyring, settings=settings, log=log)
        run = Running()
        run.run(Worker(context, loop, lane, RequestLog(log, device.description.id), run.broker.reporter), loop)
        try:
            yield run
        finally:
            loop.stop()
            run.thread.join()
            run.close()
            run.broker.close()
