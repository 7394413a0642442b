"""The authentication codes of rows, stored for the workers: the key store can neither create nor verify one.

Every function runs within the transaction of its caller. A value of the wrong type or of excessive length is returned
as a code that no row has, so that the worker refuses the row.
"""

import sqlite3
from contextlib import suppress
from typing import Final

from cofferdam_contracts.identity import KeyIdentity
from cofferdam_contracts.ipc.limits import MAX_CHECK, MAX_CODE, MAX_SEAL
from cofferdam_contracts.settings import ProviderEntry
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_kim import schema
from cofferdam_kim.rows import full_name

ACTIVE: Final = 0
"""State of a usable row; the other states are those of `PendingState`."""
_BROKEN: Final = b"\0"
_NAMED: Final = "authenticator_id = ? AND application_name = ? AND key_name = ? AND state = ?"
_FIND: Final = f"SELECT code FROM cofferdam_codes WHERE {_NAMED}"  # noqa: S608
_PUT: Final = "INSERT OR REPLACE INTO cofferdam_codes VALUES (?, ?, ?, ?, ?, ?)"
_DROP: Final = f"DELETE FROM cofferdam_codes WHERE {_NAMED}"  # noqa: S608
_ALL: Final = "SELECT code FROM cofferdam_codes WHERE provider_uuid = ? AND state = 0"
_FORGET: Final = "DELETE FROM cofferdam_codes WHERE provider_uuid = ? AND state = 0"
_PROVIDER: Final = "SELECT key_check, seal FROM cofferdam_providers WHERE provider_uuid = ?"
_ENROL: Final = "INSERT OR REPLACE INTO cofferdam_providers VALUES (?, ?, ?)"
_COLUMNS: Final = {"cofferdam_codes": 6, "cofferdam_providers": 3}
"""How many columns each table has."""
Kept = dict[str, list[tuple[object, ...]]]
"""Rows of these tables."""
_SEAL: Final = "UPDATE cofferdam_providers SET seal = ? WHERE provider_uuid = ?"


def find(connection: sqlite3.Connection, identity: KeyIdentity, state: int) -> bytes:
    """Return the code of a row in a state, empty when the row has none."""
    found = connection.execute(_FIND, (*full_name(identity), state)).fetchone()
    return b"" if found is None else _bytes(found[0], MAX_CODE) or _BROKEN


def put(
    connection: sqlite3.Connection, identity: KeyIdentity, state: int, provider: ProviderEntry, code: bytes
) -> None:
    """Store the code of a row; an empty code means that there is none."""
    if code:
        connection.execute(_PUT, (*full_name(identity), state, provider.uuid, code))


def drop(connection: sqlite3.Connection, identity: KeyIdentity, state: int) -> None:
    """Delete the code of a row that has left a state."""
    connection.execute(_DROP, (*full_name(identity), state))


def state_of(connection: sqlite3.Connection, provider: ProviderEntry) -> tuple[bytes, bytes, bytes]:
    """Return the check value of a provider's key, the seal of its codes, and the joined codes of its active rows."""
    check, seal = connection.execute(_PROVIDER, (provider.uuid,)).fetchone() or (b"", b"")
    joined = b"".join(_bytes(code, MAX_CODE) for (code,) in connection.execute(_ALL, (provider.uuid,)))
    return _bytes(check, MAX_CHECK), _bytes(seal, MAX_SEAL), joined


def enrol(connection: sqlite3.Connection, provider: ProviderEntry, check: bytes, seal: bytes, *, anew: bool) -> None:
    """Store the check value of a provider's key and its first seal; delete its codes if they are made anew."""
    _, kept, _ = state_of(connection, provider)
    if anew:
        connection.execute(_FORGET, (provider.uuid,))
    connection.execute(_ENROL, (provider.uuid, check, seal if anew else kept or seal))


def set_seal(connection: sqlite3.Connection, provider: ProviderEntry, seal: bytes) -> None:
    """Store the seal that covers changed codes; an empty seal means that they did not change.

    Raises:
        ServiceError: `KEY_INFO_MANAGER_ERROR`: the provider is not enrolled, so it has no row for the seal. Codes
            without their seal would look as if some had been removed.
    """
    if seal and connection.execute(_SEAL, (seal, provider.uuid)).rowcount != 1:
        raise ServiceError(
            Status.KEY_INFO_MANAGER_ERROR, f"{provider.name} is not enrolled; start the service anew once there is room"
        )


def read(connection: sqlite3.Connection) -> Kept:
    """Return the readable part of the code tables of a damaged database."""
    kept: Kept = {table: [] for table in _COLUMNS}
    for table, rows in kept.items():
        with suppress(*schema.FAILURES):
            rows.extend(connection.execute(f"SELECT * FROM {table} NOT INDEXED"))  # noqa: S608
    return kept


def write(connection: sqlite3.Connection, kept: Kept) -> None:
    """Write those rows into a database, leaving out what does not fit."""
    for table, rows in kept.items():
        marks = ", ".join("?" * _COLUMNS[table])
        for row in rows:
            with suppress(*schema.FAILURES):
                connection.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)  # noqa: S608


def _bytes(value: object, most: int) -> bytes:
    return value if isinstance(value, bytes) and len(value) <= most else _BROKEN
