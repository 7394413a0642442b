"""A process that does what its settings say, in any role; the tests of the broker put it in the place of a package."""

import json
import os
import signal
import time
from pathlib import Path

from cofferdam_contracts.ipc import control
from cofferdam_contracts.ipc.control import (
    Assign,
    DownstreamChannel,
    Failure,
    KeyOwner,
    NewClient,
    Sealed,
    UpstreamChannel,
)
from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import LogSettings
from cofferdam_runtime.entry import Child, Handler, Reporter, Start, begin, confine, give_up
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import Loop
from cofferdam_runtime.sandbox.policies import POLICIES

_TAKEN = (UpstreamChannel, DownstreamChannel, Assign, Sealed)
_REASONS = {
    "is misconfigured": Failure.CONFIGURATION,
    "cannot be confined": Failure.SANDBOX,
    "lacks its key": Failure.CREDENTIAL,
}


def compute(seconds: float) -> None:
    """Use so much processor time, and never sleep."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def read(start: Start) -> None:
    """Say what the configuration says that its reader says."""
    script = json.loads(os.pread(start.document, 1 << 16, 0))
    if list(start.arguments) != script.get("arguments", list(start.arguments)):
        os._exit(1)
    for kind, *fields in script["records"]:
        if kind == "SettingsDocument":
            document = fields.pop()
            descriptor = os.pipe()[0] if document is None else os.memfd_create("settings")
            if document is not None:
                os.write(descriptor, document.encode())
            fields.append(descriptor)
        start.control.send(getattr(control, kind)(*fields))
    compute(script.get("computes_s", 0))
    time.sleep(script.get("sleeps", 0))
    os._exit(script.get("status", 0))


def prepare(start: Start, word: str, lives: Path) -> None:
    """Do what the word says that the process does before it is ready."""
    if word == "dies":
        os._exit(1)
    if word == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if word in _REASONS:
        give_up(start.control, _REASONS[word])
    if word == "waits to hear":
        sealed = start.receive(Sealed)
        lives.with_suffix(".heard").write_text(f"{sealed.has_check:d} {sealed.has_rows:d}")
    if word == "waits to be let":
        while not lives.with_suffix(".let").exists():
            time.sleep(0.01)
    if word == "sleeps":
        time.sleep(60)
    if word.startswith("computes "):
        compute(float(word.removeprefix("computes ")))


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
    prepare(start, word, lives)
    log, loop = Log("actor", LogSettings(level="off")), Loop()
    achieved = confine(start, log, POLICIES[start.role], groups=tuple(script["groups"]))
    kept: list[object] = []
    clients: list[int] = []
    reporter = Reporter(start.control)

    def serve(record: NewClient) -> None:
        if word == "keeps its clients":
            clients.append(record.descriptor)
            return
        os.write(record.descriptor, b"!")
        os.close(record.descriptor)
        reporter.count_one()

    on_stop = (lambda: None) if word == "does not stop" else None
    handlers: dict[type, Handler] = {**dict.fromkeys(_TAKEN, kept.append), NewClient: serve}
    child = Child(start, log, loop, reporter, handlers, on_stop=on_stop, connections=lambda: len(clients))
    child.ready(achieved, **script.get("ready", {}))
    if word == "is busy":
        reporter.busy(True)  # noqa: FBT003  what the record says
    if word == "takes nothing":
        loop.remove(start.control.fileno())
    for owner in script["owners"] if word == "owns" else ():
        start.control.send(KeyOwner(owner, owns=True))
    loop.run(lambda: 60.0)
    return 0
