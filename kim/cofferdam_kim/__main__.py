"""The process of the key store (kim): open the database, drop privileges, answer until the broker sends STOP."""

import os
import time
from collections.abc import Sequence

from cofferdam_contracts.ipc.control import DownstreamChannel, Failure
from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import KimSettings, ProviderEntry, StoreSettings
from cofferdam_contracts.status import ServiceError
from cofferdam_kim.counts import CountNotifier
from cofferdam_kim.errors import StoreError
from cofferdam_kim.location import Prepared, prepare, prepare_tree
from cofferdam_kim.look import look
from cofferdam_kim.mapping_mirror import DATABASE, FileMirror
from cofferdam_kim.notices import Notices
from cofferdam_kim.owners import OwnerNotifier
from cofferdam_kim.serve import Server
from cofferdam_kim.service import KimService
from cofferdam_kim.store import MappingStore
from cofferdam_kim.stores import Stores
from cofferdam_runtime.entry import Child, Reporter, begin, confine, give_up
from cofferdam_runtime.grants import Grants
from cofferdam_runtime.loop import Loop
from cofferdam_runtime.notices import ChildLog
from cofferdam_runtime.sandbox.policies import POLICIES, for_mapping_files
from cofferdam_runtime.sandbox.policy import Policy


def main() -> int:
    """Run the key store."""
    start = begin("kim")
    settings = start.settings(KimSettings)
    if start.is_rehearsal:
        return look(start, settings)
    log = ChildLog("kim", settings.log, start)
    loop = Loop()
    try:
        prepared = tuple(_prepare(where, start.uid, log) for where in settings.stores)
        achieved = confine(start, log, _policy(settings, prepared))
        stores = _open(settings, prepared)
    except StoreError as error:
        give_up(start.control, Failure.STORE, log.error("the key store cannot be opened", cause=error))
    _warn(stores, log)
    notices = Notices(stores, log, start.control.send)
    owners = OwnerNotifier(stores, start.control.send)
    counts = CountNotifier(stores, settings.providers, start.control.send)

    def changed(authenticator: int, name: str) -> None:
        notices.succeeded()
        owners.changed(authenticator, name)
        counts.changed()

    reporter = Reporter(start.control)
    grants = Grants(loop, log, reporter)
    service = KimService(
        stores,
        settings.providers,
        settings.authenticators,
        on_failure=lambda error: notices.failed(error, time.monotonic()),
        on_change=changed,
        granted=grants.application,
    )
    server = Server(service, loop, log, reporter, grants=grants)
    child = Child(start, log, loop, reporter, {DownstreamChannel: server.add_channel})
    checks, rows = _sealed(stores, settings.providers)
    notices.look(time.monotonic())
    child.ready(achieved, checks=checks, rows=rows)

    def tick() -> float:
        more, idle = owners.tell(), min(server.tick(), notices.look(time.monotonic()))
        due = counts.tell()
        return 0.0 if more else idle if due is None else min(idle, due)

    loop.run(tick)
    stores.close()
    return 0


def _prepare(where: StoreSettings, uid: int | None, log: ChildLog) -> Prepared:
    if not os.path.lexists(where.path):
        log.warning("a new key store is made; keys in another one are not served", file=where.path)
    if where.on_disk:
        prepared = prepare_tree(where.path, DATABASE, uid, uid)
    else:
        prepared = prepare(where.path, uid, uid, shared=where.shared)
    for warning in prepared.warnings:
        log.notice(warning)
    return prepared


def _policy(settings: KimSettings, prepared: Sequence[Prepared]) -> Policy:
    policy = POLICIES[Role.KIM]
    if any(where.on_disk for where in settings.stores):
        policy = for_mapping_files(policy)
    return policy.with_paths(writable=tuple(path for each in prepared for path in each.writable))


def _open(settings: KimSettings, prepared: Sequence[Prepared]) -> Stores:
    # The reference has one authenticator, and nothing in a file says which.
    owner = settings.authenticators[0].auth_type
    stores = []
    for where, place in zip(settings.stores, prepared, strict=True):
        served = tuple(provider for provider in settings.providers if provider.id in where.providers)
        files = FileMirror(place.writable[0], owner, served) if where.on_disk else None
        stores.append(MappingStore.open(place.path, served, settings.max_keys, files))
    return Stores(stores, settings.providers, owner)


def _warn(stores: Stores, log: ChildLog) -> None:
    if damaged := stores.damaged():
        log.error(damaged)
    for line, place in stores.warnings():
        log.notice(line, file=place)
    for misplaced in stores.misplaced:
        log.error(
            "a provider is refused, as it has keys in another store",
            provider=misplaced.provider,
            found=misplaced.found,
            expected=misplaced.expected,
            remedy=misplaced.remedy,
        )


def _sealed(stores: Stores, providers: Sequence[ProviderEntry]) -> tuple[int, int]:
    """Return which providers have a check value of their key, and which have rows in their own format, as bits."""
    checks = rows = 0
    for provider in providers:
        try:
            check, own = stores.of(provider).sealed(provider)
        except ServiceError:
            # It is unknown, so no new key may be made.
            check = own = True
        checks |= check << provider.id
        rows |= own << provider.id
    return checks, rows
