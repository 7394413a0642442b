"""The check of all rows when the store is opened, and its report to the operator."""

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from msgspec import Struct

from cofferdam_contracts.ipc.keystore import PENDING_STATES
from cofferdam_contracts.registry import INTERNAL_AUTHENTICATOR
from cofferdam_kim import schema
from cofferdam_kim.errors import DamagedError
from cofferdam_kim.rows import COLUMNS, PROVIDER_UUID, RawRow, fault

_ROW_ID: Final = 9
"""Index of the row number in a scanned row, after `COLUMNS`."""
_STATE: Final = 10
FILE: Final = "file"
_SHOWN: Final = 10
"""Quarantined rows that are logged one by one."""
# While the reference service uses the database, it may give the id of a pending key to a new key. Resolving the pending
# key would then destroy the new one.
_DROP_STALE: Final = """
    DELETE FROM cofferdam_pending WHERE length(key_id) > 0 AND EXISTS (
        SELECT 1 FROM key_mapping
        WHERE key_mapping.provider_uuid = cofferdam_pending.provider_uuid
        AND key_mapping.key_id = cofferdam_pending.key_id
    )"""


class Quarantined(NamedTuple):
    """A row or a mapping file that is not served, and why."""

    table: str
    """`file` for a mapping file."""
    row_id: int
    """Of a mapping file its inode."""
    reason: str

    def __str__(self) -> str:
        """Return it for the log, without a name."""
        what = f"the file with inode {self.row_id}" if self.table == FILE else f"row {self.row_id} of {self.table}"
        return f"{what} is not served: {self.reason}"


class StoreReport(Struct, frozen=True, kw_only=True):
    """How many keys there are, and what is wrong."""

    keys: int
    """Active keys of configured providers."""
    unconfigured: int
    """Keys of providers that are not configured; they are kept but not served."""
    pending: int
    """Keys whose creation or destruction is unfinished."""
    quarantined: tuple[Quarantined, ...]
    damage: DamagedError | None = None
    """What is wrong with the database as a whole; it is then served from memory and not changed."""
    dropped: int = 0
    """Rows of a damaged database that cannot be served."""
    incomplete: bool = False
    """Whether a damaged database may have held keys that can no longer be read."""

    def damaged(self) -> str:
        """Return the log line about a damaged database, which is an error; empty if it is sound."""
        if self.damage is None:
            return ""
        rest = "others cannot be read, so that nothing is listed" if self.incomplete else f"{self.dropped} are not"
        return (
            f"the database is damaged: its {self.keys} sound keys are served, {rest}, and no key can be made or"
            f" destroyed; {self.damage}"
        )

    def warnings(self) -> Iterator[str]:
        """Yield the log's warnings for the operator; no line names a client or a key."""
        for bad in self.quarantined[:_SHOWN]:
            yield str(bad)
        if len(self.quarantined) > _SHOWN:
            yield f"{len(self.quarantined) - _SHOWN} more rows are not served, see the table cofferdam_quarantine"
        if self.unconfigured:
            yield f"{self.unconfigured} keys belong to providers that are not configured; they are kept and not served"


def inspect(
    connection: sqlite3.Connection, path: str, uuids: Collection[str], stray: Collection[Quarantined] = ()
) -> StoreReport:
    """Check every row and update the quarantine, to which `stray` mapping files belong too.

    Raises:
        StoreError: The rows cannot be read.
    """
    try:
        served, unconfigured, bad = _scan_keys(connection, uuids)
        pending, bad_pending = _scan_pending(connection)
    except schema.FAILURES as error:
        raise schema.unusable(path, error) from error
    quarantined = tuple(sorted((*bad, *bad_pending, *stray)))
    # The quarantine table is for the operator's tools only; a full disk must not prevent the service from starting.
    with suppress(*schema.FAILURES):
        _record(connection, quarantined)
    return StoreReport(keys=served, unconfigured=unconfigured, pending=pending, quarantined=quarantined)


def _scan_keys(connection: sqlite3.Connection, uuids: Collection[str]) -> tuple[int, int, list[Quarantined]]:
    served = unconfigured = 0
    bad: list[Quarantined] = []
    for row in connection.execute(f"SELECT {COLUMNS}, rowid FROM key_mapping NOT INDEXED"):  # noqa: S608
        reason = fault(row[:_ROW_ID])
        if reason is not None:
            bad.append(Quarantined("key_mapping", row[_ROW_ID], reason))
        elif row[PROVIDER_UUID] in uuids:
            served += 1
        elif row[0] != INTERNAL_AUTHENTICATOR:
            unconfigured += 1
    return served, unconfigured, bad


def _scan_pending(connection: sqlite3.Connection) -> tuple[int, list[Quarantined]]:
    connection.execute(_DROP_STALE)
    sound = 0
    bad: list[Quarantined] = []
    for row in connection.execute(f"SELECT {COLUMNS}, rowid, state FROM cofferdam_pending NOT INDEXED"):  # noqa: S608
        reason = _pending_fault(row)
        if reason is None:
            sound += 1
        else:
            bad.append(Quarantined("cofferdam_pending", row[_ROW_ID], reason))
    return sound, bad


def _pending_fault(row: RawRow) -> str | None:
    if row[_STATE] not in PENDING_STATES:
        return "unknown state"
    return fault(row[:_ROW_ID])


def _record(connection: sqlite3.Connection, quarantined: tuple[Quarantined, ...]) -> None:
    stored = connection.execute("SELECT table_name, row_id, reason FROM cofferdam_quarantine ORDER BY 1, 2").fetchall()
    if stored == list(quarantined):
        return
    with schema.transaction(connection):
        connection.execute("DELETE FROM cofferdam_quarantine")
        connection.executemany(
            "INSERT INTO cofferdam_quarantine (table_name, row_id, reason) VALUES (?, ?, ?)", quarantined
        )
