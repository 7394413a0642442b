"""The broker's own privileges: what starting, owning and signalling children needs, and nothing else."""

import os
import resource
from typing import Final

from cofferdam_runtime.sandbox import inspect, prctl
from cofferdam_runtime.sandbox.errors import SandboxError
from cofferdam_runtime.sandbox.rank import take_precedence

CAPABILITIES: Final = {
    # linux/capability.h: the number of each.
    "chown": 0,
    "dac_override": 1,
    "fowner": 3,
    "kill": 5,
    "setgid": 6,
    "setuid": 7,
    "setpcap": 8,
}
"""Kept: folders and sockets get their owners, children their uids and an empty bounding set, signals reach them."""


def become_broker() -> None:
    """Take the rank, the limits and the privileges of a broker.

    Raises:
        SandboxError: Some privilege is left.
    """
    prctl.forbid_dumps()
    take_precedence()
    trim_broker_capabilities()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def trim_broker_capabilities() -> None:
    """Give up every other capability for good, and new privileges by exec; a broker of a normal user has none.

    Raises:
        SandboxError: The kernel shows that something else is left.
    """
    if prctl.may_change_bounding_set():
        prctl.limit_bounding_set(CAPABILITIES)
    prctl.limit_capabilities(CAPABILITIES)
    prctl.forbid_new_privileges()
    kept = sum(1 << number for number in CAPABILITIES.values())
    for thread in inspect.observe(os.getpid()):
        extra = (thread.permitted | thread.effective | thread.inheritable | thread.ambient) & ~kept
        if extra or not thread.no_new_privs:
            raise SandboxError(f"the broker keeps capabilities {extra:#x}, no_new_privs is {thread.no_new_privs}")
