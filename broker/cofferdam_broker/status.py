"""The status document."""

import json

from cofferdam_broker.deployment import Deployment
from cofferdam_broker.process import ChildProcess


def render(deployment: Deployment, now: float) -> bytes:
    """Return the status as JSON: the phase of the service, and each process with its role, confinement and load."""
    rows = [
        {
            "role": child.title,
            "pid": child.spawned.pid,
            "uid": child.uid,
            "principal": child.principal,
            "level": child.level.name.lower() if child.ready else None,
            "landlock_abi": child.landlock_abi if child.ready else None,
            "state": _state(child),
            "requests": child.pulse.served,
            "in_flight": child.pulse.in_flight,
            "restarts": deployment.children.histories[child.key].total,
            "uptime_s": round(now - child.started, 1),
        }
        for child in deployment.children
    ]
    return json.dumps({"phase": deployment.phase.value, "processes": rows}).encode()


def _state(child: ChildProcess) -> str:
    states = {"stopping": child.stopping, "starting": not child.ready, "asked": child.pulse.asked, "ready": True}
    return next(state for state, holds in states.items() if holds)
