"""The process of the broker: serves the configuration at a path, in the foreground. `cofferdam serve` starts it."""

import gc
import os
import sys

from cofferdam_broker.broker import Broker
from cofferdam_contracts.settings import LogSettings
from cofferdam_runtime.listener import ListenError
from cofferdam_runtime.log import Log
from cofferdam_runtime.sandbox.broker import become_broker, no_uids
from cofferdam_runtime.sandbox.title import set_title


def main() -> int:
    """Give up the privileges that a broker does not need, then serve."""
    (path,) = sys.argv[1:]
    gc.enable()
    set_title("broker")
    log = Log("broker", LogSettings(level="info", timestamp=False))
    become_broker()
    if os.geteuid() == 0 and (why := no_uids()):
        log.warning("root starts the service, but its processes have no uids of their own", cause=why)
    try:
        return Broker(path, log).run()
    except ListenError as error:
        log.error("the service cannot start", cause=error)
        return 1
