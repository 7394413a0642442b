"""A process that does what its settings say, in any role; the tests of the broker put it in the place of a package."""

import json
import os
import time
from pathlib import Path

from cofferdam_contracts.ipc.control import Failure, FromChild, Record, Role, ToChild
from cofferdam_contracts.settings import LogSettings
from cofferdam_runtime.entry import Child, Start, begin, confine, give_up
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import Loop
from cofferdam_runtime.sandbox.policies import POLICIES

_TAKEN = (ToChild.CHANNEL, ToChild.ASSIGN, ToChild.SEALED)
_REASONS = {"fails": Failure.CONFIGURATION, "lacks its key": Failure.CREDENTIAL}


def read(start: Start) -> None:
    """Say what the configuration says that its reader says."""
    script = json.loads(os.pread(start.document, 1 << 16, 0))
    for kind, role, number, document in script["records"]:
        descriptor = None
        if document is not None:
            descriptor = os.memfd_create("settings")
            os.write(descriptor, document.encode())
        start.control.send(Record(kind, role, number), descriptor)
    time.sleep(script.get("sleeps", 0))
    os._exit(script.get("status", 0))


def main() -> int:
    """Take the next word of the script: the last one holds for all further lives of the role."""
    start = begin("actor")
    if start.role is Role.CONFIG:
        read(start)
    script = json.loads(os.pread(start.document, 4096, 0))
    lives = Path(script["lives"])
    count = lives.stat().st_size if lives.exists() else 0
    lives.write_bytes(bytes(count + 1))
    words = script["words"]
    word = words[min(count, len(words) - 1)]
    if word == "dies":
        os._exit(1)
    if word in _REASONS:
        give_up(start.control, _REASONS[word])
    if word == "waits to hear":
        sealed, _ = start.receive(ToChild.SEALED)
        lives.with_suffix(".heard").write_text(f"{sealed.a} {sealed.b}")
    if word == "sleeps":
        time.sleep(60)
    log, loop = Log("actor", LogSettings(level="off")), Loop()
    achieved = confine(start, log, POLICIES[start.role], groups=tuple(script["groups"]))
    kept: list[int | None] = []

    def keep(_record: Record, descriptor: int | None) -> None:
        kept.append(descriptor)

    def serve(_record: Record, descriptor: int | None) -> None:
        if descriptor is None or word == "keeps its clients":
            clients.append(descriptor)
            return
        os.write(descriptor, b"!")
        os.close(descriptor)
        child.count_one()

    clients: list[int | None] = []
    on_stop = (lambda: None) if word == "does not stop" else None
    child = Child(start, log, loop, {**dict.fromkeys(_TAKEN, keep), ToChild.CLIENT: serve}, on_stop)
    child.count = lambda: len(clients)
    child.ready(achieved, *script.get("ready", ()))
    if word == "is busy":
        start.control.send(Record(FromChild.BUSY, 1))
    if word == "takes nothing":
        loop.remove(start.control.fileno())
    for owner in script["owners"] if word == "owns" else ():
        start.control.send(Record(FromChild.OWNER, owner, 1))
    loop.run(lambda: 60.0)
    return 0
