"""Events in the life of a running service: processes die, the configuration is reloaded, the service restarts."""

import os
import signal

from tests.harness.service import Service
from tests.harness.watch import wait_for


def replace(service: Service, role: str) -> None:
    """Kill every process of a role, and wait until a successor is ready."""
    before = set(service.pids(role))
    assert before, role
    for pid in before:
        os.kill(pid, signal.SIGKILL)

    def are_there() -> bool:
        rows = service.rows(role)
        return not before & {row["pid"] for row in rows} and any(row["state"] == "ready" for row in rows)

    wait_for(are_there)


def reload(service: Service) -> None:
    """Reload the configuration, and wait until the new processes serve."""
    kim = service.pids("kim")
    service.signal(signal.SIGHUP)
    wait_for(lambda: service.status()["phase"] == "running" and service.pids("kim") != kim)


def restart(service: Service) -> None:
    """Kill the broker, and restart it as a service manager does."""
    service.kill()
    service.start()
