"""The process of a role that exists in the tests alone: it answers pings, and nothing else."""

from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import LogSettings
from cofferdam_runtime.entry import Child, Reporter, begin, confine
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import IDLE_S, Loop
from cofferdam_runtime.sandbox.policies import POLICIES


def main() -> int:
    """Run it."""
    start = begin("echo")
    log, loop = Log("echo", start.settings(LogSettings)), Loop()
    achieved = confine(start, log, POLICIES[Role(start.role)])
    child = Child(start, log, loop, Reporter(start.control), {})
    child.ready(achieved)
    loop.run(lambda: IDLE_S)
    return 0
