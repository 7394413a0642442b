"""Renders the reference page of the configuration from the tables that validate it."""

from collections.abc import Iterator
from typing import Final

from cofferdam_config.errors import show
from cofferdam_config.schema import Key, Origin, Table
from cofferdam_config.source import MAX_DOCUMENT
from cofferdam_config.tables import TABLES

EXAMPLE: Final = """\
[core_settings]
log_level = "info"

[listener]
listener_type = "DomainSocket"
timeout = 200

[authenticator]
auth_type = "UnixPeerCredentials"
admins = [{ name = "1000" }]

[[key_manager]]
name = "sqlite-manager"
manager_type = "SQLite"

[[provider]]
provider_type = "MbedCrypto"
key_info_manager = "sqlite-manager"

# What follows is Cofferdam's; Parsec ignores it.
[isolation]
require = "landlock"

[limits]
max_frontends = 64
"""

_HEAD: Final = f"""\
# Configuration

Cofferdam reads the `config.toml` of Parsec as it is. What is its own stands in tables and keys that Parsec ignores, so
one file serves both services. The file is TOML in UTF-8, of at most {MAX_DOCUMENT // 1024} KiB.

A small complete file:

```toml
{EXAMPLE}```

## What happens to mistakes

- A value that is not allowed, or a required one that is missing, is an error. The service does not start; on a reload
  it goes on with the configuration it has. All errors are reported at once, one line each, with file, line, key, what
  was found and what is allowed:

  ```text
  config.toml:12: provider[0].provider_type: found "Mbed", allowed: "MbedCrypto", "Pkcs11", "Tpm"
  ```

- Text that is no TOML is reported with line and column.
- Unknown tables and keys are ignored with a warning, which has file, line and key as well. So are keys that mean
  nothing with the type that their table has.
- Of a provider only its type, its name and the name of its key manager are ever printed, because the rest can be
  secret.

## How to read the tables

*Of* says whose key it is: *P* is Parsec's, *C* is Cofferdam's. A key of Parsec's that changes nothing here says *No
effect* and why; its value is checked all the same. *Required* holds within its table. Keys that belong to one type
say so; for a type that this build does not have, they are known so that their values can be checked.
"""

_ROW: Final = "| Key | Of | Allowed (unit) | Default | Meaning |\n|---|---|---|---|---|"
_ORIGINS: Final = {Origin.PARSEC: "P", Origin.COFFERDAM: "C"}


def render_reference() -> str:
    """Return the page in Markdown."""
    return "\n".join([_HEAD, *(line for table in TABLES for line in _table(table, "", table.origin))])


def _table(table: Table, parent: str, origin: Origin) -> Iterator[str]:
    name = f"{parent}{table.name}"
    header = f"[[{name}]]" if table.is_array else f"[{name}]"
    need = "required" if table.required else "optional"
    yield f"## `{header}`\n"
    yield f"{origin.value}'s, {need}. {table.meaning}\n"
    yield _ROW
    yield from (_row(key, origin) for key in table.keys)
    yield ""
    for array in table.arrays:
        yield from _table(array, f"{name}.", origin)


def _row(key: Key, table_origin: Origin) -> str:
    only = f"Only with `{'`, `'.join(key.only_for)}`. " if key.only_for else ""
    effect = f" **No effect**: {key.no_effect}." if key.no_effect else ""
    # In a table that Parsec ignores, even a key that it has elsewhere is none of its own.
    origin = _ORIGINS[key.origin if table_origin is Origin.PARSEC else table_origin]
    return f"| `{key.name}` | {origin} | {key.kind.allowed} | {_default(key)} | {only}{key.meaning}{effect} |"


def _default(key: Key) -> str:
    if key.required:
        return "required"
    if isinstance(key.default, str):
        return f'`"{key.default}"`'
    if key.default is not None:
        return f"`{show(key.default)}`"
    return key.default_note or "none"
