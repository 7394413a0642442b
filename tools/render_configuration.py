"""Renders docs/reference/configuration.md from the tables that validate a configuration.

python -m tools.render_configuration > docs/reference/configuration.md
"""

import ast
import inspect
import sys
from collections.abc import Iterator
from typing import Any, Final

from cofferdam_config import tables
from cofferdam_config.report import show
from cofferdam_config.schema import Setting, Table
from cofferdam_config.source import MAX_DOCUMENT

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

# The rest is Cofferdam's; Parsec ignores it.
[isolation]
require = "landlock"

[limits]
max_frontends = 64
"""

_HEAD: Final = f"""\
# Configuration

Cofferdam reads the `config.toml` of Parsec as it is. Its own settings are in tables and keys that Parsec ignores, so
one file serves both services. The file is TOML in UTF-8, of at most {MAX_DOCUMENT // 1024} KiB.
Relative paths are taken from the working directory of `cofferdam serve`, with a warning. No two settings may name one
file, and nothing else may be in `store_path` and `state_folder`.

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

- Text that is not TOML is reported with line and column.
- Unknown tables and keys are ignored with a warning, which has file, line and key as well. So are keys that
  have no meaning with the type of their table.
- `cofferdam check` says all of this without a start, and `cofferdam check --devices` whether the providers can be used
  with these settings: [operate.md](../howto/operate.md#check-the-configuration).
- Of a provider only its type, its name and the name of its key manager are ever printed, because the rest can be
  secret.

## How to read the tables

*Of* says whose key it is: *P* is Parsec's, *C* is Cofferdam's. A key of Parsec's that changes nothing here says *No
effect* and why; its value is checked all the same. *Required* means within its table. Keys that belong to one type
say so; those of a type that this build does not have are listed because their values are checked as well.
"""

_ROW: Final = "| Key | Of | Allowed (unit) | Default | Meaning |\n|---|---|---|---|---|"


def render_configuration() -> str:
    """Return the page in Markdown."""
    meanings = _meanings()
    sections = (line for table in tables.TABLES for line in _table(table, "", meanings, ours=table.ours))
    return "\n".join([_HEAD, *sections])


def _meanings() -> dict[Setting[Any], str]:
    """Return the texts below the settings, which are there for readers of the source alone."""
    found: dict[Setting[Any], str] = {}
    for part in ast.parse(inspect.getsource(tables)).body:
        if isinstance(part, ast.ClassDef):
            settings = vars(getattr(tables, part.name))
            for statement, text in zip(part.body, part.body[1:], strict=False):
                match statement, text:
                    case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=str(meaning))):
                        found[settings[name]] = " ".join(meaning.split())
                    case _:
                        pass
    return found


def _table(table: type[Table], parent: str, meanings: dict[Setting[Any], str], *, ours: bool) -> Iterator[str]:
    name = f"{parent}{table.table_name}"
    header = f"[[{name}]]" if table.is_array else f"[{name}]"
    need = "required" if table.required else "optional"
    yield f"## `{header}`\n"
    yield f"{'Cofferdam' if ours else 'Parsec'}'s, {need}. {' '.join((table.__doc__ or '').split())}\n"
    yield _ROW
    # In a table that Parsec ignores, even a key that it has elsewhere is none of its own.
    yield from (_row(setting, meanings[setting], ours=ours or setting.ours) for setting in table.settings)
    yield ""
    for inner in table.tables:
        yield from _table(inner, f"{name}.", meanings, ours=ours)


def _row(setting: Setting[Any], meaning: str, *, ours: bool) -> str:
    only = f"Only with `{'`, `'.join(setting.only_for)}`. " if setting.only_for else ""
    origin = "C" if ours else "P"
    return f"| `{setting.name}` | {origin} | {setting.kind.allowed} | {_default(setting)} | {only}{meaning} |"


def _default(setting: Setting[Any]) -> str:
    if setting.required:
        return "required"
    if isinstance(setting.default, str):
        return f'`"{setting.default}"`'
    if isinstance(setting.default, tuple) and setting.default:
        return f"`[{', '.join(map(show, setting.default))}]`"
    if setting.default not in (None, ()):
        return f"`{show(setting.default)}`"
    return setting.default_note or "none"


if __name__ == "__main__":
    sys.stdout.write(render_configuration())
