"""A process that does what its settings say, in any role; the tests of the broker put it in the place of a package."""

import json
import os
import time
from pathlib import Path

from cofferdam_contracts.ipc.control import Failure, FromChild, Record, ToChild
from cofferdam_contracts.settings import LogSettings
from cofferdam_runtime.entry import Child, begin, confine, give_up
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import Loop
from cofferdam_runtime.sandbox.policies import POLICIES

_TAKEN = (ToChild.CHANNEL, ToChild.CLIENT, ToChild.ASSIGN, ToChild.SEALED)
_REASONS = {"fails": Failure.CONFIGURATION, "lacks its key": Failure.CREDENTIAL}


def main() -> int:
    """Take the next word of the script: the last one holds for all further lives of the role."""
    start = begin("actor")
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
    channels: list[int | None] = []
    child = Child(start, log, loop, dict.fromkeys(_TAKEN, lambda _record, descriptor: channels.append(descriptor)))
    child.ready(achieved, *script["ready"])
    if word == "is busy":
        start.control.send(Record(FromChild.BUSY, 1))
    loop.run(lambda: 60.0)
    return 0
