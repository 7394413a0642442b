"""`python -I -S -m cofferdam_broker PATH`: the service, in the foreground. People start it as `cofferdam serve`."""

import gc
import resource
import sys

from cofferdam_broker.broker import Broker
from cofferdam_contracts.settings import LogSettings
from cofferdam_runtime.listener import ListenError
from cofferdam_runtime.log import Log
from cofferdam_runtime.sandbox.broker import trim_broker_capabilities
from cofferdam_runtime.sandbox.limits import take_precedence
from cofferdam_runtime.sandbox.prctl import forbid_dumps
from cofferdam_runtime.sandbox.title import set_title


def main() -> int:
    """Give up what a broker does not need, then serve."""
    (path,) = sys.argv[1:]
    gc.enable()
    set_title("broker")
    log = Log("broker", LogSettings(level="info", timestamp=False))
    forbid_dumps()
    take_precedence()
    trim_broker_capabilities()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        return Broker(path, log).run()
    except ListenError as error:
        log.error("the service cannot start", cause=error)
        return 1
