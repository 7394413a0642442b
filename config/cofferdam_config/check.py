"""`cofferdam check`: what the reader of the configuration would log, said to whoever asks; nothing is started."""

import os
import sys
from typing import Final

from cofferdam_config.devices import try_providers
from cofferdam_config.host_facts import gather, read_file
from cofferdam_config.plan import Plan, read
from cofferdam_config.source import ConfigError

LACKING: Final = 1
"""Exit status when the service would start and a provider of it would be down."""
UNUSABLE: Final = 3
"""Exit status when a provider was tried and cannot be used, or that remains unknown."""
DEVICES, LOGIN = "devices", "login"
"""Words after the path that ask for rehearsals."""


def check(path: str, *, devices: bool = False, login: bool = False) -> int:
    """Check the file at a path; return the exit status (docs/howto/operate.md, "Check the configuration").

    Args:
        path: Of the configuration.
        devices: Whether the providers are tried as well.
        login: Whether a PIN is tried also where that may be one of the last attempts.
    """
    try:
        plan = _read(path)
    except ConfigError as error:
        _say("warning", error.warnings)
        _say("error", error.problems)
        sys.stdout.write(f"{path}: cannot be used\n")
        return os.EX_CONFIG
    _say("warning", plan.warnings)
    _say("provider down", plan.lacks)
    if devices and not try_providers(plan, _say, login=login):
        sys.stdout.write(f"{path}: can be used, but not all of its providers\n")
        return UNUSABLE
    sys.stdout.write(f"{path}: can be used{', but not all of its providers' if plan.lacks else ''}\n")
    return LACKING if plan.lacks else os.EX_OK


def _read(path: str) -> Plan:
    """Read a configuration as the service would that this user started.

    Raises:
        ConfigError: It cannot be used.
    """
    try:
        # The path may be a FIFO, on which a blocking open would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        problem = f"{path}: cannot be opened ({error.strerror}), allowed: a file that this user can read"
        raise ConfigError([problem]) from error
    document = read_file(descriptor, path)
    credentials_folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    facts = gather(document, path=path, credentials_folder=credentials_folder, is_root=os.geteuid() == 0)
    return read(document, path=path, facts=facts)


def _say(what: str, texts: tuple[str, ...]) -> None:
    for text in texts:
        sys.stdout.write(f"{what}: {text}\n")
    # The rehearsals write to the same terminal.
    sys.stdout.flush()
