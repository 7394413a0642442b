"""`cofferdam serve`: become the broker, in a fresh isolated interpreter that has our own packages on its path."""

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from cofferdam_runtime.boot import BOOT
from cofferdam_runtime.relay.start import start

_OURS: Final = (
    "cofferdam_contracts",
    "cofferdam_runtime",
    "cofferdam_broker",
    "cofferdam_config",
    "cofferdam_frontend",
    "cofferdam_kim",
    "cofferdam_providers",
)
_LIBRARIES: Final = ("msgpack", "cryptography", "google.protobuf", "pkcs11", "prctl", "setproctitle", "tpm2_pytss")
"""What our packages import. The broker looks for them on its path when it makes that of a child."""


class MissingPackageError(Exception):
    """Raised when a part of the service is not installed, or is where no search path can name it."""


def main(words: Sequence[str]) -> int:
    """Run `cofferdam serve` with these words after it; return only when that failed."""
    parser = argparse.ArgumentParser(
        prog="cofferdam serve", description="Start the service, in the foreground.", allow_abbrev=False
    )
    add_options(parser)
    options = parser.parse_args(words)
    try:
        serve(options.config)
    except (MissingPackageError, OSError) as error:
        sys.stderr.write(f"cofferdam: serve: {error}\n")
        return 1


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `cofferdam serve`."""
    parser.add_argument("-c", "--config", default="config.toml", metavar="PATH", help="its configuration (%(default)s)")


def serve(config: str) -> NoReturn:
    """Replace this process by the broker with a configuration file.

    Raises:
        MissingPackageError: A part of the service is missing.
        OSError: The interpreter cannot be executed.
    """
    become(command(config))


def become(words: list[str]) -> NoReturn:
    """Replace this process by the broker that these words start, with a relay between it and stderr.

    Raises:
        OSError: The relay or the interpreter cannot be executed.
    """
    start()
    os.execve(words[0], words, dict(os.environ))  # noqa: S606  no shell is what is wanted


def command(config: str) -> list[str]:
    """Return the words that start the broker with a configuration file.

    Raises:
        MissingPackageError: A part of the service is missing.
    """
    path = ":".join(dict.fromkeys(_root_of(name) for name in (*_OURS, *_LIBRARIES)))
    isolated = [sys.executable, "-I", "-S", "-B", "-X", "utf8"]
    return [*isolated, "-c", BOOT, path, "cofferdam_broker", os.path.abspath(config)]


def _root_of(name: str) -> str:
    """Return the folder to put on the path for a module, without importing it."""
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise MissingPackageError(f"the package {name} is not installed")
    # A package's origin is its __init__.py, one level below the folder of a plain module.
    levels = name.count(".") + 1 + (spec.submodule_search_locations is not None)
    root = os.path.abspath(spec.origin)
    for _ in range(levels):
        root = os.path.dirname(root)
    if ":" in root:
        raise MissingPackageError(f"{root} cannot be on a search path: there is a colon in it")
    return root
