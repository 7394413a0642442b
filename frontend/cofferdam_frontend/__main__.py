"""The process of a frontend: give up all privileges, then serve the principal that the broker names."""

import os

from cofferdam_contracts.ipc.control import Assign, NewClient, UpstreamChannel
from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import FrontendSettings
from cofferdam_frontend.frontend import Frontend
from cofferdam_runtime.entry import Child, Handler, Reporter, begin, confine
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import Loop
from cofferdam_runtime.sandbox.policies import POLICIES


def main() -> int:
    """Run a frontend."""
    start = begin("frontend")
    settings = start.settings(FrontendSettings)
    log = Log(f"frontend[{start.number}]", settings.log)
    loop = Loop()
    reporter = Reporter(start.control)
    frontend = Frontend(settings, loop, log, reporter)
    achieved = confine(start, log, POLICIES[Role.FRONTEND])
    handlers: dict[type, Handler] = {
        UpstreamChannel: frontend.add_channel,
        Assign: frontend.assign,
        NewClient: frontend.add_client,
    }
    child = Child(
        start,
        log,
        loop,
        reporter,
        handlers,
        on_stop=frontend.drain,
        in_flight=frontend.in_flight,
        connections=frontend.connections,
    )
    child.ready(achieved)
    loop.run(frontend.tick)
    os._exit(0)
