"""The status: one JSON document."""

import json

from cofferdam_broker.generation import Generation
from cofferdam_broker.process import Process


def render(generation: Generation, now: float) -> bytes:
    """Return the status document: phase of the service, and every process with its role, confinement and work."""
    histories = generation.children.histories
    rows = [
        {
            "role": process.title,
            "pid": process.spawned.pid,
            "uid": process.uid,
            "principal": process.principal,
            "level": process.level.name.lower() if process.ready else None,
            "landlock_abi": process.landlock_abi if process.ready else None,
            "state": _state(process),
            "requests": process.pulse.served,
            "in_flight": process.pulse.in_flight,
            "restarts": histories[process.key].total if process.key in histories else 0,
            "uptime_s": round(now - process.started, 1),
        }
        for process in generation.children
    ]
    return json.dumps({"phase": generation.phase.value, "processes": rows}).encode()


def _state(process: Process) -> str:
    if process.stopping:
        return "stopping"
    if not process.ready:
        return "starting"
    return "asked" if process.pulse.asked else "ready"
