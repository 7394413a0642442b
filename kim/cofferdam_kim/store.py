"""The mapping from key names to keys, stored so that a crash at any point loses nothing that was acknowledged.

    absent --reserve--> RESERVED --activate--> active --mark_deleting--> DELETING --remove--> absent
                            `-----cancel-----> absent

RESERVED and DELETING rows live in a table of our own, which the reference does not read. Each arrow is one transaction
that is on disk before the question is answered. A name is taken in every state and for all providers; only active keys
are found and listed, and only by the provider that owns them. Repeating a question whose answer was lost succeeds.

A row that cannot be interpreted is quarantined: it stays in place and keeps its name, but it is neither found nor
listed until it has been repaired and the store has been opened again.
"""

import itertools
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Final

from msgspec.structs import replace

from cofferdam_contracts.identity import Application, KeyIdentity
from cofferdam_contracts.ipc.keystore import ID_TAKEN, PENDING_STATES, ROWS_AT_ONCE, PendingState
from cofferdam_contracts.registry import INTERNAL_AUTHENTICATOR
from cofferdam_contracts.settings import ProviderEntry
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_kim import codes, location, schema
from cofferdam_kim.catalogue import Catalogue
from cofferdam_kim.errors import DamagedError
from cofferdam_kim.mapping_mirror import FileMirror
from cofferdam_kim.presence import Loss, Presence
from cofferdam_kim.report import StoreReport, inspect
from cofferdam_kim.row_source import RowSource
from cofferdam_kim.rows import (
    ATTRIBUTES_VERSION,
    COLUMNS,
    IDENTITY,
    PROVIDER_UUID,
    KeyRecord,
    RawRow,
    belongs,
    fault,
    full_name,
    identity_of,
    record_of,
)
from cofferdam_kim.salvage import salvage
from cofferdam_kim.whereabouts import Whereabouts

_KEY_ID: Final = 5
"""Index of the key id in a row of `COLUMNS`."""
_STATE: Final = 9
"""Index of the state in a pending row, after `COLUMNS`."""
_WHERE: Final = "authenticator_id = ? AND application_name = ? AND key_name = ?"
# The row is read by its number, so that all of it comes from the table: SQLite would take the name from the index, and
# a damaged index could pass another client's row off as the one asked for.
_FIND_KEY: Final = (
    f"SELECT {COLUMNS}, rowid FROM key_mapping WHERE rowid = (SELECT rowid FROM key_mapping WHERE {_WHERE})"  # noqa: S608
)
_FIND_PENDING: Final = f"SELECT {COLUMNS}, state FROM cofferdam_pending WHERE {_WHERE}"  # noqa: S608
_OWNED: Final = "FROM key_mapping WHERE authenticator_id = ? AND application_name = ?"
_ANY: Final = f"SELECT 1 {_OWNED} LIMIT 1"
_NAMES: Final = "SELECT DISTINCT application_name FROM key_mapping WHERE authenticator_id = ?"
_COUNT_KEYS: Final = (
    f"SELECT (SELECT count(*) {_OWNED})"  # noqa: S608
    " + (SELECT count(*) FROM cofferdam_pending WHERE authenticator_id = ? AND application_name = ?)"
)
_COUNT_ALL: Final = "SELECT provider_uuid, count(*) FROM key_mapping WHERE authenticator_id <> ? GROUP BY provider_uuid"
_TAKEN: Final = " UNION ALL ".join(
    f"SELECT 1 FROM {table} WHERE provider_uuid = ? AND key_id IN (?, ?)"  # noqa: S608
    for table in ("key_mapping", "cofferdam_pending")
)
_UNIQUE: Final = 16
"""Bytes from which a random identifier is taken to be unique."""
_ROWS_AFTER: Final = (
    f"SELECT {COLUMNS}, rowid FROM key_mapping NOT INDEXED WHERE rowid > ? AND provider_uuid = ? ORDER BY rowid"  # noqa: S608
)
_ROW: Final = f"SELECT {COLUMNS}, rowid FROM key_mapping NOT INDEXED WHERE rowid = ?"  # noqa: S608
_OWN_ROWS: Final = " UNION ALL ".join(
    f"SELECT 1 FROM {table} WHERE provider_uuid = ? AND key_id_version = ?"  # noqa: S608
    for table in ("key_mapping", "cofferdam_pending")
)
_OWN_FORM: Final = 2
"""`key_id_version` of rows in a provider's own format."""
_PENDING_OF: Final = f"SELECT {COLUMNS}, state FROM cofferdam_pending WHERE provider_uuid = ? ORDER BY rowid"  # noqa: S608
_INSERT_KEY: Final = f"INSERT INTO key_mapping ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_INSERT_PENDING: Final = f"INSERT INTO cofferdam_pending ({COLUMNS}, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_DELETE_KEY: Final = f"DELETE FROM key_mapping WHERE {_WHERE}"  # noqa: S608
_DELETE_PENDING: Final = f"DELETE FROM cofferdam_pending WHERE {_WHERE} AND provider_uuid = ? AND state = ?"  # noqa: S608
_NOTE_BAD: Final = (
    "INSERT OR IGNORE INTO cofferdam_quarantine (table_name, row_id, reason) VALUES ('key_mapping', ?, ?)"
)
_LOST_WRITES: Final = frozenset({"SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC"})


class _LostError(ServiceError):
    """Raised when a file of the database is not in its place: what is written now may be gone after a restart."""


class MappingStore:
    """The mapping of one service; every method may raise `ServiceError`."""

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        connection: sqlite3.Connection,
        path: str,
        providers: Sequence[ProviderEntry],
        report: StoreReport,
        max_keys: int | None = None,
        files: FileMirror | None = None,
    ) -> None:
        """Serve the database that `open` has opened and checked; call `open` instead."""
        self._files = files if report.damage is None else None
        self._connection = connection
        self.path = path
        self._quarantined = {bad.row_id for bad in report.quarantined if bad.table == "key_mapping"}
        self._partial = report.damage is not None
        self._max_keys = max_keys
        self._read_only = None if report.damage is None else report.damage.found
        # A damaged database is served from memory.
        self._presence = None if self._partial else Presence(path)
        self.report = report
        refusal = f"{path} is damaged: nobody can tell which keys are missing" if report.incomplete else None
        self.source = RowSource(connection, providers, self._fault, self._failed, self._misled, refusal=refusal)
        self.catalogue = Catalogue((self.source,), providers)
        self.whereabouts = Whereabouts(connection, path, files, frozen=self._partial)
        self._others: tuple[MappingStore, ...] = ()

    @classmethod
    def open(
        cls,
        path: str,
        providers: Sequence[ProviderEntry],
        max_keys: int | None = None,
        files: FileMirror | None = None,
    ) -> "MappingStore":
        """Open a prepared database, create missing tables, and check every row.

        No application gets more than `max_keys` keys; one that already has more keeps them. Keys in the reference's
        form also have mapping files, if there are `files`.

        Raises:
            StoreError: The database cannot be used, or only with loss of keys.
        """
        location.check_file(path)
        uuids = frozenset(provider.uuid for provider in providers)
        try:
            connection = schema.open_sound(path)
            with schema.closed_on_error(connection):
                stray = files.reconcile(connection) if files is not None else ()
                report = inspect(connection, path, uuids, stray)
                if files is not None:
                    report = replace(report, unconfigured=report.unconfigured + files.left.total())
        except DamagedError as damage:
            found = salvage(path, damage)
            connection = found.connection
            report = replace(
                inspect(connection, path, uuids), damage=damage, dropped=found.dropped, incomplete=not found.complete
            )
        return cls(connection, path, providers, report, max_keys, files)

    def join(self, catalogue: Catalogue, others: Iterable["MappingStore"]) -> None:
        """Be one of several stores, with a catalogue of all of them."""
        self.catalogue = catalogue
        self._others = tuple(others)

    def close(self) -> None:
        """Write everything into the database file itself and close it."""
        if self._files is not None:
            self._files.close(self._connection)
        self._tidy()
        self._connection.close()

    def loss(self) -> Loss | None:
        """Return which file of the database is not in its place any more, None if all are; nothing is changed then."""
        return None if self._presence is None else self._presence.loss()

    def flush(self) -> None:
        """Write everything into the database file itself, as far as that is possible."""
        self._tidy()

    def lookup(self, provider: ProviderEntry, identity: KeyIdentity) -> KeyRecord:
        """Return the record of a provider's active key; `PSA_ERROR_DOES_NOT_EXIST` when there is none."""
        try:
            row = self._find(_FIND_KEY, identity)
            if row is None or not belongs(row, provider):
                raise self._absent()
            self._refuse_bad(row)
            return replace(self._coded(row, codes.ACTIVE), number=row[-1])
        except schema.FAILURES as error:
            raise self._failed(error) from error

    def reserve(self, provider: ProviderEntry, identity: KeyIdentity, planned: KeyRecord) -> None:
        """Reserve a name for a key that is about to be created.

        `PSA_ERROR_ALREADY_EXISTS` when any provider has the name, `ID_TAKEN` when another key has the identifier.
        """
        wanted = _row(provider, identity, planned)
        if self._files is not None:
            self._files.check_name(identity)
        with self._transaction():
            if self._find(_FIND_KEY, identity) is not None:
                raise ServiceError(Status.PSA_ERROR_ALREADY_EXISTS, "a key has this name")
            pending = self._find(_FIND_PENDING, identity)
            if pending is None:
                self._check_quota(identity)
                self._refuse_taken(provider, planned)
                self._connection.execute(_INSERT_PENDING, (*wanted, PendingState.RESERVED))
                codes.put(self._connection, identity, PendingState.RESERVED, provider, planned.code)
            elif not (_is(pending, provider, PendingState.RESERVED) and record_of(pending) == planned):
                raise ServiceError(Status.PSA_ERROR_ALREADY_EXISTS, "a key of this name is being made or destroyed")

    def activate(self, provider: ProviderEntry, identity: KeyIdentity, record: KeyRecord, seal: bytes = b"") -> None:
        """Make a reserved key usable, with its final record; `seal` covers the set of codes that includes its own.

        `PSA_ERROR_BAD_STATE` without a reservation, `PSA_ERROR_ALREADY_EXISTS` when another key has the name,
        `ID_TAKEN` when another key has an identifier that is not the planned one, `KEY_INFO_MANAGER_ERROR` when a
        seal comes from a provider that is not enrolled.
        """
        wanted = _row(provider, identity, record)
        with self._filed(wanted), self._transaction(identity):
            live = self._find(_FIND_KEY, identity)
            if live is not None:
                if live[PROVIDER_UUID] != provider.uuid or record_of(live) != record:
                    raise ServiceError(Status.PSA_ERROR_ALREADY_EXISTS, "another key has this name")
                return
            pending = self._find(_FIND_PENDING, identity)
            if not self._delete_pending(provider, identity, PendingState.RESERVED):
                raise ServiceError(Status.PSA_ERROR_BAD_STATE, "the name is not reserved")
            # A provider that plans no identifiers makes them unique itself; a planned one is reserved already.
            if pending is not None and pending[_KEY_ID] not in (b"", record.key_id, record.key_id[::-1]):
                self._refuse_taken(provider, record)
            self._connection.execute(_INSERT_KEY, wanted)
            codes.put(self._connection, identity, codes.ACTIVE, provider, record.code)
            codes.set_seal(self._connection, provider, seal)
            if self._files is not None:
                self._files.put(self._connection, wanted)
        self.catalogue.add(wanted)

    def cancel(self, provider: ProviderEntry, identity: KeyIdentity) -> None:
        """Release a reserved name; nothing happens when it is not reserved."""
        with self._transaction():
            self._delete_pending(provider, identity, PendingState.RESERVED)

    def mark_deleting(
        self, provider: ProviderEntry, identity: KeyIdentity, code: bytes = b"", seal: bytes = b""
    ) -> None:
        """Make a key permanently unusable; `PSA_ERROR_DOES_NOT_EXIST` when the provider has no key of this name.

        `code` authenticates the row in its new state, `seal` the set of the remaining codes.
        """
        with self._filed(self._served(provider, identity)), self._transaction(identity):
            live = self._find(_FIND_KEY, identity)
            pending = self._find(_FIND_PENDING, identity)
            if live is None or not belongs(live, provider):
                if pending is None or not _is(pending, provider, PendingState.DELETING):
                    raise self._absent()
                return
            self._refuse_bad(live)
            if pending is not None:
                # Possible only after the reference service used the database: it does not read pending names.
                raise ServiceError(Status.PSA_ERROR_BAD_STATE, "an earlier key of this name is not resolved yet")
            self._connection.execute(_INSERT_PENDING, (*live[:_STATE], PendingState.DELETING))
            self._connection.execute(_DELETE_KEY, live[IDENTITY])
            codes.drop(self._connection, identity, codes.ACTIVE)
            codes.put(self._connection, identity, PendingState.DELETING, provider, code)
            codes.set_seal(self._connection, provider, seal)
            if self._files is not None:
                self._files.drop(self._connection, live)
        self.catalogue.remove(live)

    def remove(self, provider: ProviderEntry, identity: KeyIdentity) -> None:
        """Delete the row of a key that was marked and destroyed; nothing happens when it is not marked."""
        with self._transaction():
            removed = self._delete_pending(provider, identity, PendingState.DELETING)
        if removed:
            self._tidy()

    def pending(self, provider: ProviderEntry) -> list[tuple[PendingState, KeyIdentity, KeyRecord]]:
        """Return the provider's keys whose creation or destruction is unfinished, oldest first."""
        with self._translated():
            rows = self._connection.execute(_PENDING_OF, (provider.uuid,)).fetchall()
            sound = [row for row in rows if row[_STATE] in PENDING_STATES and fault(row[:_STATE]) is None]
            return [(PendingState(row[_STATE]), identity_of(row), self._coded(row, row[_STATE])) for row in sound]

    def state(self, provider: ProviderEntry) -> tuple[bytes, bytes, bytes]:
        """Return the check value of a provider's key, the seal of its codes, and the codes of its active rows."""
        with self._translated():
            return codes.state_of(self._connection, provider)

    def sealed(self, provider: ProviderEntry) -> tuple[bool, bool]:
        """Tell whether a provider's key has a check value, and whether it has rows in its own format."""
        with self._translated():
            found = self._connection.execute(_OWN_ROWS, (provider.uuid, _OWN_FORM) * 2).fetchone()
            return bool(codes.state_of(self._connection, provider)[0]), found is not None

    def enrol(self, provider: ProviderEntry, check: bytes, seal: bytes, *, anew: bool) -> None:
        """Store the check value of a provider's key and the first seal; `anew` deletes the codes of its active rows.

        `PSA_ERROR_BAD_STATE` when another key has been enrolled, unless the codes are made anew. With a damaged
        database the change is kept in memory until the service ends.
        """
        with self._transaction(even_partial=True):
            if codes.state_of(self._connection, provider)[0] not in (b"", check) and not anew:
                raise ServiceError(Status.PSA_ERROR_BAD_STATE, "the provider has enrolled another key")
            codes.enrol(self._connection, provider, check, seal, anew=anew)

    def rows(self, provider: ProviderEntry, after: int) -> list[tuple[int, KeyIdentity, KeyRecord]]:
        """Return number, identity and record of the provider's next active rows after a row number."""
        with self._translated():
            found = self._connection.execute(_ROWS_AFTER, (after, provider.uuid))
            # Bad rows are skipped, however many there are: an empty answer means that there are no more rows.
            sound = itertools.islice((row for row in found if self._fault(row) is None), ROWS_AT_ONCE)
            return [(row[-1], identity_of(row), record_of(row)) for row in sound]

    def adopt(self, provider: ProviderEntry, coded: Iterable[tuple[int, bytes]], seal: bytes) -> None:
        """Assign codes to rows, by their numbers, and store the seal that covers them.

        `PSA_ERROR_DOES_NOT_EXIST` when there is no such row, `PSA_ERROR_ALREADY_EXISTS` when it has another code.
        With a damaged database the change is kept in memory until the service ends.
        """
        with self._transaction(even_partial=True):
            for number, code in coded:
                row = self._connection.execute(_ROW, (number,)).fetchone()
                if row is None or not belongs(row, provider):
                    raise self._absent()
                self._refuse_bad(row)
                if codes.find(self._connection, identity_of(row), codes.ACTIVE) not in (b"", code):
                    raise ServiceError(Status.PSA_ERROR_ALREADY_EXISTS, f"row {number} has another code")
                codes.put(self._connection, identity_of(row), codes.ACTIVE, provider, code)
            codes.set_seal(self._connection, provider, seal)

    def _coded(self, row: RawRow, state: int) -> KeyRecord:
        return replace(record_of(row), code=codes.find(self._connection, identity_of(row), state))

    def names(self, authenticator: int) -> list[object]:
        """Return the application names that have rows under an authenticator; in unsound rows they may not be text."""
        with self._translated():
            return [name for (name,) in self._connection.execute(_NAMES, (authenticator,))]

    def has_keys(self, application: Application) -> bool:
        """Tell whether an application has rows."""
        with self._translated():
            return self._connection.execute(_ANY, (application.authenticator, application.name)).fetchone() is not None

    def count_keys(self) -> dict[object, int]:
        """Return how many keys each provider has, by its UUID; rows of the service itself are none."""
        with self._translated():
            return dict(self._connection.execute(_COUNT_ALL, (INTERNAL_AUTHENTICATOR,)))

    def count_of(self, identity: KeyIdentity) -> int:
        """Return how many keys the application of a key has here, finished or not."""
        with self._translated():
            (count,) = self._connection.execute(_COUNT_KEYS, full_name(identity)[:2] * 2).fetchone()
        return int(count)

    def _refuse_taken(self, provider: ProviderEntry, planned: KeyRecord) -> None:
        """Refuse an identifier that another key has; that key's object may merely be invisible at the moment."""
        if not 0 < len(planned.key_id) < _UNIQUE:
            return
        # The two formats of an identifier differ in their byte order.
        either = (provider.uuid, planned.key_id, planned.key_id[::-1])
        if self._connection.execute(_TAKEN, either * 2).fetchone() is not None:
            raise ServiceError(
                ID_TAKEN,
                f"another key of the provider has the identifier {planned.key_id.hex()}; try again for another one",
            )

    def _check_quota(self, identity: KeyIdentity) -> None:
        count = sum(store.count_of(identity) for store in (self, *self._others))
        if self._max_keys is not None and count >= self._max_keys:
            raise ServiceError(Status.PSA_ERROR_INSUFFICIENT_STORAGE, f"an application has limits.max_keys = {count}")

    def _find(self, statement: str, identity: KeyIdentity) -> RawRow | None:
        wanted = full_name(identity)
        row: RawRow | None = self._connection.execute(statement, wanted).fetchone()
        if row is not None and row[IDENTITY] != wanted:
            raise self._misled()
        return row

    def _delete_pending(self, provider: ProviderEntry, identity: KeyIdentity, state: PendingState) -> bool:
        if self._connection.execute(_DELETE_PENDING, (*full_name(identity), provider.uuid, state)).rowcount != 1:
            return False
        codes.drop(self._connection, identity, state)
        return True

    def _fault(self, row: RawRow) -> str | None:
        """Return what is wrong with a row, and quarantine it when the fault appeared while the store was open."""
        number = row[-1]
        reason = fault(row[:_STATE])
        if number in self._quarantined:
            return reason or "quarantined until the store is opened again"
        if reason is not None:
            self._quarantined.add(number)
            self.catalogue.listings.forget_all()
            # The entry is for the operator's tools; if it cannot be written, the row is withheld all the same.
            with suppress(*schema.FAILURES):
                self._connection.execute(_NOTE_BAD, (number, reason))
        return reason

    def _refuse_bad(self, row: RawRow) -> None:
        reason = self._fault(row)
        if reason is not None:
            raise ServiceError(Status.PSA_ERROR_DATA_CORRUPT, f"row {row[-1]} of key_mapping: {reason}")

    def _absent(self) -> ServiceError:
        if self._partial:
            return ServiceError(
                Status.KEY_INFO_MANAGER_ERROR, f"{self.path} is damaged: nobody can tell what it does not hold"
            )
        return ServiceError(Status.PSA_ERROR_DOES_NOT_EXIST, "no such key")

    def _failed(self, error: Exception) -> ServiceError:
        name = schema.error_name(error)
        return ServiceError(Status.KEY_INFO_MANAGER_ERROR, f"{name} in {self.path}: {schema.in_words(name)}")

    def _misled(self) -> ServiceError:
        return ServiceError(Status.KEY_INFO_MANAGER_ERROR, f"{self.path}: an index points at another row")

    def _tidy(self) -> None:
        """Write the log back into the database and truncate it, so that no file holds deleted rows."""
        # Everything is already safe in the log; a full disk only postpones this.
        with suppress(*schema.FAILURES), closing(self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")) as cursor:
            cursor.fetchall()

    def _served(self, provider: ProviderEntry, identity: KeyIdentity) -> RawRow | None:
        """Return a provider's active row whose mapping file is about to be removed; None if there are no files."""
        if self._files is None:
            return None
        with self._translated():
            live = self._find(_FIND_KEY, identity)
        return live if live is not None and belongs(live, provider) and self._fault(live) is None else None

    @contextmanager
    def _filed(self, row: RawRow | None) -> Iterator[None]:
        """Keep the mapping file of a row in line with the row, whether or not the block changes the row."""
        if row is None or self._files is None or not self._files.concerns(row):
            yield
            return
        self._refuse_read_only()
        with self._translated():
            self._files.announce(self._connection, row)
        try:
            yield
        except BaseException:
            # After lost writes nobody knows what the row will be.
            if self._read_only is None:
                self._files.settle(self._connection, row)
            raise

    def _refuse_read_only(self) -> None:
        if self._read_only is not None:
            raise ServiceError(Status.KEY_INFO_MANAGER_ERROR, f"{self.path} is read only: {self._read_only}")
        self._refuse_lost()

    def _refuse_lost(self) -> None:
        if (loss := self.loss()) is not None:
            raise _LostError(
                Status.KEY_INFO_MANAGER_ERROR, f"found {loss.found} at {loss.file}, expected the file that is open"
            )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except schema.FAILURES as error:
            raise self._failed(error) from error

    @contextmanager
    def _transaction(self, changed: KeyIdentity | None = None, *, even_partial: bool = False) -> Iterator[None]:
        if not (even_partial and self._partial):
            self._refuse_read_only()
        with self._translated():
            try:
                with schema.transaction(self._connection):
                    yield
                self._refuse_lost()
            except (*schema.FAILURES, _LostError) as error:
                if changed is not None:
                    # Only the disk can tell whether the change was written.
                    self.catalogue.listings.forget(Application(changed.authenticator, changed.application))
                if schema.error_name(error) in _LOST_WRITES:
                    # The kernel has dropped the pages and will report success next time: nothing may rely on them.
                    self._read_only = f"{schema.error_name(error)}; restart the service"
                raise


def _row(provider: ProviderEntry, identity: KeyIdentity, record: KeyRecord) -> RawRow:
    names = (*full_name(identity), provider.uuid, provider.name)
    row = (*names, record.key_id, record.version, record.attributes, ATTRIBUTES_VERSION)
    reason = fault(row)
    if reason is not None:
        raise ValueError(reason)
    return row


def _is(pending: RawRow, provider: ProviderEntry, state: PendingState) -> bool:
    return bool(pending[PROVIDER_UUID] == provider.uuid and pending[_STATE] == state)
