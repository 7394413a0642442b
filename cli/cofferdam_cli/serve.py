"""`cofferdam serve` and `check`: replace this process by the broker, or by the checker of the configuration.

Either runs in an isolated interpreter that finds the service's packages.

The broker's search path holds the folders of the service's packages and of the libraries they import, and nothing
else. In a checkout each package has a folder of its own, so a process finds only the packages that are named for it.
In an installation all packages are in one folder, site-packages, and every process finds all of them; there it is the
sandbox that separates the processes, not the search path.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from cofferdam_contracts.roles import Role
from cofferdam_runtime.command import command as interpret
from cofferdam_runtime.command import root_of
from cofferdam_runtime.faults import exhausted
from cofferdam_runtime.relay.start import start

_PACKAGES: Final = (
    *("cofferdam_contracts", "cofferdam_runtime", "cofferdam_broker"),
    *dict.fromkeys(role.row.package.partition(".")[0] for role in Role),
)
_LIBRARIES: Final = ("cryptography", "jwt", "msgpack", "msgspec", "pkcs11", "prctl", "setproctitle", "tpm2_pytss")
"""What the service's packages import. The broker searches its own path for them to make the path of a child."""


def main(words: Sequence[str]) -> int:
    """Run `cofferdam serve` with the words that follow it; return only on failure."""
    parser = argparse.ArgumentParser(
        prog="cofferdam serve", description="Start the service in the foreground.", allow_abbrev=False
    )
    add_options(parser)
    options = parser.parse_args(words)
    try:
        serve(options.config)
    except OSError as error:
        sys.stderr.write(f"cofferdam: serve: {exhausted(error) or error}\n")
        return 1


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `cofferdam serve`."""
    parser.add_argument(
        "-c", "--config", default="config.toml", metavar="PATH", help="the configuration file (%(default)s)"
    )


def serve(config: str) -> NoReturn:
    """Replace this process by the broker, with the path of a configuration file.

    Raises:
        OSError: A part of the service is missing, or the interpreter cannot be executed.
    """
    become(command(config))


def check(config: str, *options: str) -> NoReturn:
    """Replace this process by the one that checks a configuration file; it says what is wrong, and ends.

    Args:
        config: The path of the file.
        options: `devices` to try the providers as well, `login` to do so where a PIN may have few tries left.

    Raises:
        OSError: A part of the service is missing, or the interpreter cannot be executed.
    """
    words = [*command(config, "cofferdam_config", "check"), *options]
    os.execve(words[0], words, dict(os.environ))  # noqa: S606  no shell is wanted


def become(words: list[str]) -> NoReturn:
    """Replace this process by the broker that this command line starts, with a relay between it and stderr.

    Raises:
        OSError: The relay or the interpreter cannot be executed.
    """
    start()
    os.execve(words[0], words, dict(os.environ))  # noqa: S606  no shell is wanted


def command(config: str, *program: str) -> list[str]:
    """Return the command that runs the broker, or another package with its arguments, for a configuration file.

    Raises:
        FileNotFoundError: A part of the service is not installed.
        NotADirectoryError: A part of it is in a folder that no search path can name.
    """
    roots = [root_of(name) for name in (*_PACKAGES, *_LIBRARIES)]
    for root in roots:
        if ":" in root:
            raise NotADirectoryError(f"{root} cannot be on a search path: it contains a colon")
    return interpret(*(program or ("cofferdam_broker",)), os.path.abspath(config), roots=roots)
