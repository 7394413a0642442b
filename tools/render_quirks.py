"""Renders docs/reference/quirks.md from the PKCS#11 provider's table of quirks.

python -m tools.render_quirks > docs/reference/quirks.md
"""

import sys
from collections.abc import Mapping
from typing import Final

from tools.asking import heading, row

from cofferdam_providers.pkcs11.quirks import ROWS, Row, names

MEANINGS: Final[Mapping[str, str]] = {
    "raw-ec-points": "CKA_EC_POINT of an imported key is the bare point. Points that are read may have either form.",
    "der-ec-points": "It is an OCTET STRING that holds the point, as the standard says: the default.",
    "public-in-software": "Public keys are used outside the token; its own public operations are not called.",
    "public-in-token": "They are used in the token, as far as it lists that: the default.",
    "omit-allowed-mechanisms": "New keys are made without CKA_ALLOWED_MECHANISMS.",
    "omit-copyable": "New keys are made without CKA_COPYABLE.",
    "omit-derive": "New keys are made without CKA_DERIVE.",
    "omit-extractable": "New keys are made without CKA_EXTRACTABLE. **The token decides whether they can leave.**",
    "omit-private": "New keys are made without CKA_PRIVATE. **The token decides who sees them.**",
    "omit-sensitive": "New keys are made without CKA_SENSITIVE. **The token decides whether they can be read.**",
    "omit-unwrap": "New keys are made without CKA_UNWRAP.",
    "omit-wrap": "New keys are made without CKA_WRAP.",
    "id-bytes=N": "CKA_ID of a new key has N bytes, 1 to 64; the default is 16. Fewer can be guessed.",
}

_HEAD: Final = """\
# Quirks of PKCS#11 modules

This page is made by `python -m tools.render_quirks` from the provider's table; a test compares the two. How to
configure a token is in [pkcs11.md](../howto/pkcs11.md).

What a module does otherwise than the standard says is found out by trying wherever that is possible: which hashes OAEP
and PSS take, whether OAEP takes a label, which mechanisms, and which lengths of nonces, tags and additional data of
AES-GCM, have the right answers, which public operations there are, whether templates may have CKA_ALLOWED_MECHANISMS
and CKA_COPYABLE. What cannot be found out stands in the table of modules,
and can be configured with `provider.quirks`:

```toml
quirks = ["id-bytes=8", "public-in-software"]
```

## Names
"""
_MODULES: Final = """
## Modules

A row applies to a module by its file name, whose links are followed. What the configuration says is added, and has the
last word. *Tested* says whether this project's tests run against it; all else is from documentation.
"""
_END: Final = """
*Needs* is added to `provider.module_needs`. The configuration file of SoftHSM, and the folders that it names, are made
readable and writable to the worker without being configured.
"""


def render_quirks() -> str:
    """Return the page."""
    lines = [_HEAD, heading("Name", "What it does"), *(row(f"`{name}`", MEANINGS[name]) for name in names())]
    lines += [_MODULES, heading("Module", "File", "Token", "Quirks", "Needs", "Configuration", "Tested")]
    return "".join([*lines, *map(_module, ROWS), _END])


def _module(one: Row) -> str:
    token = " ".join(pattern for pattern in (one.manufacturer, one.model) if pattern != "*") or "any"
    return row(
        one.name,
        f"`{one.module}`",
        token,
        _code(one.quirks),
        _code(sorted(one.needs)),
        f"`{one.configuration}`" if one.configuration else "-",
        "yes" if one.tested else "no",
    )


def _code(words: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f"`{word}`" for word in words) or "-"


if __name__ == "__main__":
    sys.stdout.write(render_quirks())
