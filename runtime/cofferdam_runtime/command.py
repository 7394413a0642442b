"""The command line of a child. Not for children: they need nothing of what it takes to find a package."""

import importlib.util
import os
import sys
from typing import Final

from cofferdam_runtime.boot import BOOT

_SHARED: Final = ("cofferdam_contracts", "cofferdam_runtime", "msgpack")


def command(package: str, *words: str) -> list[str]:
    """Return the command that runs a package in a fresh isolated interpreter, without importing it."""
    path = ":".join(dict.fromkeys(root_of(name) for name in (*_SHARED, package)))
    return [sys.executable, "-I", "-S", "-B", "-X", "utf8", "-c", BOOT, path, package, *words]


def root_of(package: str) -> str:
    """Return the folder to put on the path for a package, without importing it."""
    spec = importlib.util.find_spec(package.partition(".")[0])
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"the package {package} is not installed")
    return os.path.dirname(os.path.abspath(spec.submodule_search_locations[0]))
