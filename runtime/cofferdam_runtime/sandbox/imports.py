"""No import after confinement: it would need files that are out of reach, and it would be a way to run other code.

This finds mistakes and makes attacks harder; the barrier itself is that no file can be opened and no memory be made
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
    # What the interpreter itself imports when it ends or when a thread fails.
    *("atexit", "threading", "weakref"),
)
"""Modules that the interpreter imports late; a role that uses more of that kind (time.strptime) names it itself."""
CODECS: Final = ("ascii", "latin-1", "utf-8")
"""Encodings are modules too."""


class FrozenImportsError(ImportError):
    """Raised by every import after `freeze`."""


class _Refuser:
    """The only finder left."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Refuse."""
        del path, target
        raise FrozenImportsError(f"{fullname} was not imported before confinement", name=fullname)


def preload(modules: Iterable[str] = ()) -> None:
    """Import what is imported late otherwise, and the named modules."""
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
