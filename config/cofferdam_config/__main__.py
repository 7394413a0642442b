"""The configuration reader: parses one open file, sends the settings of every process to the broker, and ends.

Started with the word `check`, it only says what is wrong with a file (`check`).
"""

import fcntl
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from cofferdam_config.check import DEVICES, LOGIN, check
from cofferdam_config.host_facts import gather, read_file
from cofferdam_config.notices import refuse_harm, take_over, unknown
from cofferdam_config.plan import Plan, read
from cofferdam_config.source import ConfigError
from cofferdam_contracts.ipc.control import Refusal, SettingsDocument
from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import LogSettings, dump
from cofferdam_runtime.control import ControlError
from cofferdam_runtime.entry import Start, begin, confine
from cofferdam_runtime.log import Log
from cofferdam_runtime.sandbox.policies import POLICIES

_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_MOST_REFUSED: Final = 16
"""Mistakes that the status shows."""
_BROKER: Final = 0
"""Role number of the broker's own settings."""


def main() -> int:
    """Read the configuration and hand its parts to the broker, or check it for an operator."""
    if sys.argv[1] == "check":
        path, *words = sys.argv[2:]
        return check(path, devices=DEVICES in words, login=LOGIN in words)
    start = begin("config")
    path, credentials_folder, variables, said = start.arguments
    known = take_over(said)
    log = Log("config", LogSettings(level="info", timestamp=False))
    try:
        document = read_file(start.document, path)
        facts = gather(
            document,
            path=path,
            credentials_folder=credentials_folder,
            is_root=start.uid is not None,
            variables=frozenset(variables.split()),
        )._replace(known=known)
        confine(start, log, POLICIES[Role.CONFIG])
        plan = read(document, path=path, facts=facts)
        refuse_harm(plan.lacks, path, known)
    except ConfigError as error:
        for warning in unknown(error.warnings, path, known):
            log.warning(warning)
        for problem in error.problems:
            log.error(problem)
        _refuse(start, error.problems)
        os._exit(os.EX_CONFIG)
    for warning in unknown((*plan.warnings, *plan.lacks), path, known):
        log.warning(warning)
    _hand_over(start, plan)
    os._exit(0)


def _refuse(start: Start, problems: Sequence[str]) -> None:
    """Hand the first mistakes to the broker, for the status; the log has all of them."""
    rest = len(problems) - _MOST_REFUSED
    more = [f"and {rest} more, which the log has"] if rest > 0 else []
    with suppress(ControlError):  # the broker is gone
        for text in (*problems[:_MOST_REFUSED], *more):
            start.control.send(Refusal(text))


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
