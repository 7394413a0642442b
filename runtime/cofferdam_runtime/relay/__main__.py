"""The relay's process: stdin is the socket that the broker has as stderr, stderr what it was before.

It is no child of the broker's table: it outlives the broker, for the last lines, and ends when nobody is left who could
write. If it dies, the service goes on without a log.
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
    """Give up everything but two descriptors, and write what comes."""
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
