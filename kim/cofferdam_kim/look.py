"""A look at a key store that changes nothing, beside the service that has it open or without one.

The database is read as a file that nobody writes (sqlite.org, "URI Filenames", immutable): no lock, no companion files.
What a running service has not yet moved into it from the write-ahead log stays unseen, and is reported as unknown.
"""

import os
import sqlite3
import urllib.parse
from collections.abc import Sequence
from contextlib import closing
from typing import Final

from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import KimSettings, ProviderEntry, StoreSettings
from cofferdam_kim import codes
from cofferdam_kim.errors import StoreError
from cofferdam_kim.location import check_file
from cofferdam_kim.mapping_mirror import DATABASE
from cofferdam_kim.schema import FAILURES, error_name, in_words
from cofferdam_runtime.entry import Start, confine
from cofferdam_runtime.faults import explain
from cofferdam_runtime.rehearsal import RehearsalLog, Stored
from cofferdam_runtime.sandbox.policies import POLICIES

_COUNT: Final = "SELECT count(*), coalesce(sum(key_id_version <> 1), 0) FROM key_mapping WHERE provider_uuid = ?"


def look(start: Start, settings: KimSettings) -> int:
    """Confine the process, then say what the key store has of each provider; return the exit status."""
    log = RehearsalLog("kim")
    paths = {store: _database(store) for store in settings.stores}
    there = tuple(path for path in paths.values() if _can_be_opened(path, log))
    unseen = tuple(path for path in there if _has_content(f"{path}-wal"))
    for path in unseen:
        log.info("the service has the key store open; what it wrote last is not seen", file=path)
    confine(start, log, POLICIES[Role.KIM].with_paths(readable=there))
    for store, path in paths.items():
        own = tuple(provider for provider in settings.providers if provider.id in store.providers)
        if path in there:
            _read(path, own, settings, log, unseen=path in unseen)
            continue
        if os.path.lexists(path):
            # What it has is unknown.
            continue
        for provider in own:
            log.stored(provider.uuid, Stored(b"", 0, 0))
    return 0


def _database(store: StoreSettings) -> str:
    return f"{store.path.rstrip('/')}/{DATABASE}" if store.on_disk else store.path


def _can_be_opened(path: str, log: RehearsalLog) -> bool:
    """Tell whether there is a database, and say what keeps it from being opened."""
    try:
        os.lstat(path)
        check_file(path)
    except FileNotFoundError:
        log.info("there is no key store yet", file=path)
    except OSError as error:
        cause = explain(error, path, "the database", "the path of the key manager")
        log.warning("the key store could not be read", cause=cause)
    except StoreError as error:
        log.error("the key store cannot be opened", cause=error)
    else:
        return True
    return False


def _read(path: str, own: Sequence[ProviderEntry], settings: KimSettings, log: RehearsalLog, *, unseen: bool) -> None:
    """Say what one store has of its providers, and of others."""
    try:
        with closing(sqlite3.connect(f"file:{urllib.parse.quote(path)}?mode=ro&immutable=1", uri=True)) as connection:
            for provider in settings.providers:
                stored = _of(connection, provider)
                if provider not in own:
                    if stored.rows:
                        log.warning(
                            "a provider is refused, as it has keys in another store",
                            provider=provider.name,
                            found=f"{stored.rows} keys in {path}",
                        )
                elif stored.check or not unseen:
                    log.stored(provider.uuid, stored)
    except FAILURES as error:
        if not unseen:
            name = error_name(error)
            cause = f"{name}: {in_words(name)}"
            log.warning("the key store could not be read", file=path, cause=cause, uid=os.geteuid())


def _of(connection: sqlite3.Connection, provider: ProviderEntry) -> Stored:
    rows, own = connection.execute(_COUNT, (provider.uuid,)).fetchone()
    check, _, _ = codes.state_of(connection, provider) if _has_codes(connection) else (b"", b"", b"")
    return Stored(check, int(rows), int(own))


def _has_codes(connection: sqlite3.Connection) -> bool:
    """Tell whether the service has had this database, or only the reference has."""
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'cofferdam_providers'").fetchone()
    return found is not None


def _has_content(path: str) -> bool:
    try:
        return os.stat(path).st_size > 0
    except OSError:
        return False
