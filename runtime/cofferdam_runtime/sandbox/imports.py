"""Forbids imports after confinement: they would need files that are out of reach, and could run other code.

This finds mistakes and makes attacks harder. The actual barrier is that no file can be opened and no memory can be made
executable.
"""

import codecs
import importlib
import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Final

MODULES: Final = (
    # Tracebacks and warnings.
    *("io", "linecache", "tokenize", "traceback", "warnings"),
    # Imported by the interpreter itself when it exits or a thread fails.
    *("atexit", "threading", "weakref"),
)
"""Modules that the standard library imports lazily; a role that needs others (time.strptime) names them itself."""
CODECS: Final = ("ascii", "latin-1", "utf-8")
"""Encodings, which are modules too."""


class FrozenImportsError(ImportError):
    """Raised by every import after `freeze`."""


class _Refuser:
    """The only finder left after `freeze`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raise FrozenImportsError."""
        del path, target
        raise FrozenImportsError(f"{fullname} was not imported before confinement", name=fullname)


def preload(modules: Iterable[str] = ()) -> None:
    """Import the modules and codecs that are imported lazily otherwise, and the named modules."""
    for module in (*MODULES, *modules):
        importlib.import_module(module)
    for codec in CODECS:
        codecs.lookup(codec)


def freeze() -> None:
    """Refuse every import from now on."""
    sys.meta_path[:] = [_Refuser()]
    sys.path_hooks.clear()
    sys.path.clear()
    sys.path_importer_cache.clear()
