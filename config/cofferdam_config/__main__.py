"""The configuration reader: parses one open file, sends the settings of every process to the broker, and ends."""

import fcntl
import os
import stat
from typing import Final

from cofferdam_config.host_facts import gather
from cofferdam_config.plan import Plan, read
from cofferdam_config.source import ConfigError
from cofferdam_contracts.ipc.control import Failure, SettingsDocument
from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import LogSettings, dump
from cofferdam_runtime.entry import Start, begin, confine, give_up
from cofferdam_runtime.log import Log
from cofferdam_runtime.sandbox.policies import POLICIES

_MAX_FILE: Final = 1 << 20
_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_BROKER: Final = 0
"""Role number of the broker's own settings."""


def main() -> int:
    """Read the configuration and hand its parts to the broker."""
    start = begin("config")
    path, credentials_folder = start.arguments
    log = Log("config", LogSettings(level="info", timestamp=False))
    if not stat.S_ISREG(os.fstat(start.document).st_mode):
        log.error("the configuration is not a regular file", file=path)
        give_up(start.control, Failure.CONFIGURATION)
    with os.fdopen(start.document, "rb") as file:
        document = file.read(_MAX_FILE + 1)
    facts = gather(document, credentials_folder=credentials_folder, is_root=start.uid is not None)
    confine(start, log, POLICIES[Role.CONFIG])
    if len(document) > _MAX_FILE:
        log.error("the configuration file is too large", file=path, limit_bytes=_MAX_FILE)
        give_up(start.control, Failure.CONFIGURATION)
    try:
        plan = read(document, path=path, facts=facts)
    except ConfigError as error:
        for problem in error.problems:
            log.error(problem)
        give_up(start.control, Failure.CONFIGURATION)
    for warning in plan.warnings:
        log.warning(warning)
    _hand_over(start, plan)
    os._exit(0)


def _hand_over(start: Start, plan: Plan) -> None:
    for role, number, settings in ((_BROKER, 0, plan.broker), *plan.documents):
        descriptor = os.memfd_create("settings", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.write(descriptor, dump(settings))
        # The broker hands it to several processes, none of which may change what the next one reads.
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        if not start.control.send(SettingsDocument(role, number, descriptor)):
            # The broker takes them when this process has ended, so all of them have to fit into the socket.
            raise OSError("the control socket takes no more settings documents")
        os.close(descriptor)
