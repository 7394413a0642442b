"""The configuration files of test services."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

Value = str | int | bool
Tables = Mapping[str, Mapping[str, Value]]
"""Values by table and key."""


def configuration(
    folder: Path, *, authenticators: Sequence[str], admins: Sequence[str], tables: Tables, extra: str
) -> str:
    """Return a configuration whose files are all in `folder`.

    Args:
        folder: Where socket, key store and key-encryption key are.
        authenticators: The active ones, the default one first.
        admins: Names that every authenticator takes for administrators.
        tables: Values that are added to the tables or replace what stands there; `provider` and `key_manager` are the
            first of these lists.
        extra: TOML that follows all of it, for further tables.
    """
    defaults: dict[str, dict[str, Value]] = {
        "core_settings": {"log_level": "info"},
        "listener": {
            "listener_type": "DomainSocket",
            "timeout": 1000,
            "socket_path": str(folder / "parsec.sock"),
        },
        "key_manager": {
            "name": "kim",
            "manager_type": "SQLite",
            "sqlite_db_path": str(folder / "kim" / "kim.sqlite3"),
        },
        "provider": {
            "provider_type": "MbedCrypto",
            "key_info_manager": "kim",
            "key_encryption_key_file": str(folder / "kek" / "software.kek"),
        },
        "service": {"status_path": str(folder / "status.sock")},
        # Test machines are shared, so that starts and responses may take long.
        "limits": {"start_ms": 60_000, "hang_ms": 20_000},
    }
    for name, values in tables.items():
        defaults.setdefault(name, {}).update(values)
    parts = [_table(_heading(name), values) for name, values in defaults.items()]
    for heading, auth_type in zip(_authenticator_headings(len(authenticators)), authenticators, strict=True):
        name = heading.strip("[]")
        parts.append(_table(heading, {"auth_type": auth_type}))
        parts.extend(_table(f"[[{name}.admins]]", {"name": admin}) for admin in admins)
    return "\n".join([*parts, extra])


def _heading(name: str) -> str:
    return f"[[{name}]]" if name in {"key_manager", "provider"} else f"[{name}]"


def _authenticator_headings(count: int) -> list[str]:
    return ["[authenticator]", *["[[additional_authenticator]]"] * (count - 1)]


def _table(heading: str, values: Mapping[str, Value]) -> str:
    # A JSON string, number or boolean is one of TOML, too.
    return "\n".join([heading, *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""])
