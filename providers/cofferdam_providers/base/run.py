"""The part of a worker's start that all backends share: confine the process, wire its parts together, serve."""

from typing import Any

from cofferdam_contracts.ipc.control import DownstreamChannel, Failure, Sealed, UpstreamChannel
from cofferdam_contracts.ipc.keystore import MISPLACED
from cofferdam_contracts.ipc.limits import MAX_ANSWER
from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import WorkerSettings
from cofferdam_contracts.status import ServiceError
from cofferdam_providers.base.handlers import Context
from cofferdam_providers.base.key_encryption_key import KeyEncryptionKey
from cofferdam_providers.base.keyring import Keyring
from cofferdam_providers.base.kim_client import KimClient, SilentStoreError, WrongKeyError
from cofferdam_providers.base.lane import Lane, ThreadLane
from cofferdam_providers.base.provider import Provider
from cofferdam_providers.base.rehearsal import conclude
from cofferdam_providers.base.request_log import RequestLog
from cofferdam_providers.base.row_codes import RowCodes
from cofferdam_providers.base.worker import Worker
from cofferdam_runtime.channel import Channel
from cofferdam_runtime.entry import Child, Handler, Reporter, Start, confine, give_up
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import Loop
from cofferdam_runtime.sandbox.policy import Policy
from cofferdam_runtime.sandbox.prctl import sleep_exactly


def serve(  # noqa: PLR0913, PLR0917  what a worker is made of
    start: Start,
    log: Log,
    settings: WorkerSettings,
    provider: Provider[Any],
    kek: KeyEncryptionKey,
    policy: Policy,
    *,
    groups: tuple[int, ...] = (),
) -> int:
    """Confine the process and serve with this provider until the broker sends STOP; return the exit status."""
    loop = Loop()
    lane = ThreadLane(loop) if provider.concurrent_generation else Lane()
    try:
        provider.warm_up()
    except RuntimeError as error:
        give_up(start.control, Failure.SANDBOX, log.error("the self-test of the provider failed", cause=error))

    def prepare() -> None:
        provider.open()
        lane.start()

    sleep_exactly()
    achieved = confine(start, log, policy, groups=groups, prepare=prepare)
    if start.is_rehearsal:
        conclude(start, log, provider, kek)
    store = KimClient(_await_store(start), RowCodes(kek.key, provider), log)
    _open(store, kek, start, log, adopt=settings.adopt_rows)
    context = Context(
        provider=provider,
        keyring=Keyring(provider, store, settings.key_cache, log),
        settings=settings,
        log=log,
    )
    reporter = Reporter(start.control)
    worker = Worker(context, loop, lane, RequestLog(log, provider.description.id), reporter)
    # Only a worker without its key waits for `Sealed`.
    handlers: dict[type, Handler] = {DownstreamChannel: worker.add_channel, Sealed: lambda _record: None}
    child = Child(start, log, loop, reporter, handlers, on_stop=worker.stop, in_flight=worker.in_flight)
    provider.attach(store, reporter.busy)
    reporter.say(provider.condition)
    child.ready(achieved)
    loop.run(worker.tick)
    provider.close()
    return 0


def _open(store: KimClient, kek: KeyEncryptionKey, start: Start, log: Log, *, adopt: bool) -> None:
    """Have the key store confirm that the key is the right one, or exit."""
    try:
        while True:
            try:
                store.open(adopt=adopt, is_new=kek.is_new)
            except SilentStoreError:
                # It may still be starting; the broker bounds the wait with limits.start_ms.
                continue
            break
    except ServiceError as error:
        if error.status is MISPLACED:
            give_up(start.control, Failure.CREDENTIAL, log.error("the key store refuses the provider", cause=error))
        log.error("the key store cannot say which key its rows were made with", cause=error)
    except WrongKeyError as error:
        why = log.error(
            "the key-encryption key is not that of the stored rows",
            file=kek.path,
            expected=error.expected,
            found=error.found,
            remedy=f"put the right key there, then {kek.change} the service",
        )
        give_up(start.control, Failure.CREDENTIAL, why)
    if kek.is_new:
        log.warning("a new key-encryption key was made; back it up", file=kek.path)


def _await_store(start: Start) -> Channel:
    """Return the channel to the key store, when the broker sends it."""
    record = start.receive(UpstreamChannel, lambda channel: channel.role == Role.KIM)
    return Channel.of(record.descriptor, MAX_ANSWER)
