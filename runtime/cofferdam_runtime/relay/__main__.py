"""The relay's process: its stdin is the other end of the broker's stderr, its stderr is the original one.

The broker does not manage it as a child: it outlives the broker to write the last lines, and exits when no sender is
left. If it dies, the service goes on without a log.
"""

import _socket
import sys

from cofferdam_contracts.settings import LogSettings
from cofferdam_runtime.log import Log
from cofferdam_runtime.relay.relay import Relay
from cofferdam_runtime.sandbox.enter import enter_sandbox
from cofferdam_runtime.sandbox.errors import SandboxError
from cofferdam_runtime.sandbox.policies import RELAY
from cofferdam_runtime.sandbox.title import set_title


def main() -> int:
    """Give up all privileges but two descriptors, and relay messages."""
    (uid,) = sys.argv[1:]
    set_title("relay")
    log = Log("relay", LogSettings(timestamp=False))
    relay = Relay(_socket.socket(fileno=0), log)
    try:
        enter_sandbox(RELAY, uid=None if uid == "-" else int(uid), parent=None)
    except (SandboxError, OSError) as error:
        log.error("the process cannot be confined", cause=error)
        return 1
    relay.run()
    return 0
