"""The broker's own privileges: those for starting and signalling children and for chown, and no others."""

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
"""Kept: to set the owners of folders and sockets, to give children uids and empty bounding sets, and to signal them."""


def become_broker() -> None:
    """Set the broker's priority and limits, and give up all privileges that it does not need.

    Raises:
        SandboxError: The process still has other privileges.
    """
    prctl.forbid_dumps()
    take_precedence()
    trim_broker_capabilities()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def trim_broker_capabilities() -> None:
    """Give up all other capabilities, and new privileges by exec, for good; a normal user's broker has none to keep.

    Raises:
        SandboxError: According to the kernel, the process still has other privileges.
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
