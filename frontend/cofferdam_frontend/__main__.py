"""The process of a frontend: give up all privileges, then serve the principal that the broker names."""

import os

from cofferdam_contracts.ipc.control import Role, ToChild
from cofferdam_contracts.settings import FrontendSettings
from cofferdam_frontend.frontend import Frontend
from cofferdam_runtime.entry import Child, begin, confine
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import Loop
from cofferdam_runtime.sandbox.policies import POLICIES


def main() -> int:
    """Run a frontend."""
    start = begin("frontend")
    settings = start.settings(FrontendSettings)
    log = Log(f"frontend[{start.number}]", settings.log)
    loop = Loop()
    frontend = Frontend(settings, loop, log)
    achieved = confine(start, log, POLICIES[Role.FRONTEND])
    handlers = {
        ToChild.CHANNEL: frontend.add_channel,
        ToChild.ASSIGN: frontend.assign,
        ToChild.CLIENT: frontend.add_client,
    }
    child = Child(start, log, loop, handlers, frontend.drain)
    frontend.watch(child)
    child.ready(achieved)
    loop.run(frontend.tick)
    os._exit(0)
