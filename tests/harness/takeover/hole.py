"""Make the shipped processes execute an attacker's code: copied to where the broker of one test looks for packages.

The broker, its children, their `main`, policies and confinement are the shipped ones. Only their packages are found by
another name, whose `main` plants a hole and then calls the shipped one: a frontend executes what a client sends after
`MAGIC`, a worker and the key store what comes over a channel behind `NUMBER`. Nothing of this is installed.

`settings.json` beside this file: `roots`, the folders of all packages; `confined`, false to let the same attempts
succeed where nothing is confined.
"""

# ruff: noqa: PLC0415  the search path and the patches come before what they are for

import _socket
import importlib
import json
import mmap
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

MAGIC: Final = b"\x7fTAKEOVER"
NUMBER: Final = 0x7A
"""First element of a message that is code; no opcode and no question to the key store has it."""
LENGTH: Final = 8
HELD: Final[dict[str, Any]] = {}
"""What an attacker may be lucky to find, made before confinement: sockets, a terminal, a folder, executable memory."""


def settings() -> dict[str, Any]:
    """Return what the test wrote beside this file."""
    return dict(json.loads(Path(__file__).with_name("settings.json").read_text()))


def run_broker() -> int:
    """Run the shipped broker, whose children are to be found by other names."""
    from cofferdam_broker import __main__ as shipped
    from cofferdam_contracts.roles import TABLE, Role
    from cofferdam_runtime.backoff import History
    from cofferdam_runtime.sandbox import broker

    names = {Role.KIM: "kim", Role.SOFTWARE_WORKER: "software", Role.FRONTEND: "frontend"}
    TABLE.update({role: role.row._replace(package=f"hole.{name}") for role, name in names.items()})  # type: ignore[attr-defined]
    # A process that is killed for an attempt is replaced at once.
    setattr(History, "delay", lambda _self, _now: 0.0)  # noqa: B010
    if not settings()["confined"]:
        # Its children would have no more capabilities than it has.
        setattr(broker, "trim_broker_capabilities", lambda: None)  # noqa: B010
    return shipped.main()


def run_child(package: str) -> int:
    """Plant the hole, and run the shipped process of a package."""
    chosen = settings()
    sys.path.extend(chosen["roots"])
    attacks = importlib.import_module("tests.runtime.sandbox.attacks")
    importlib.import_module("tests.harness.takeover.forgeries")
    if not chosen["confined"]:
        _leave_unconfined()
    # What is passed on by `import` inside `main` must see the patched functions.
    main = importlib.import_module(f"{package}.__main__").main
    _plant()
    _hold(chosen["folder"])
    HELD["code"].write(attacks.I386_CODE)
    HELD["confined"] = chosen["confined"]
    return int(main())


def _hold(folder: str) -> None:
    HELD["spare"] = [_socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM) for _ in range(8)]
    HELD["terminal"] = os.openpty()
    HELD["directory"] = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    HELD["code"] = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)


def _leave_unconfined() -> None:
    from cofferdam_contracts.ipc.control import Level
    from cofferdam_runtime import entry
    from cofferdam_runtime.sandbox.enter import Achieved

    def confine(*_arguments: object, prepare: Callable[[], object] | None = None, **_named: object) -> Achieved:
        if prepare is not None:
            prepare()
        return Achieved(level=Level.NONE, landlock_abi=0, notes=())

    entry.confine = confine


def _plant() -> None:
    from cofferdam_runtime.channel import Channel

    shipped = Channel.receive

    def receive(self: Channel) -> tuple[Any, ...] | None:
        message = shipped(self)
        while message is not None and message[0] == NUMBER:
            self.send((NUMBER, run(message[1], self)))
            message = shipped(self)
        return message

    Channel.receive = receive  # type: ignore[method-assign]
    if "cofferdam_frontend.connection" in sys.modules:
        _plant_in_the_parser()


def _plant_in_the_parser() -> None:
    from cofferdam_runtime.loop import READ

    connection = sys.modules["cofferdam_frontend.connection"].ClientConnection
    shipped = connection._receive

    def receive(self: Any) -> Any:  # noqa: ANN401  the shipped class and its events
        while (begin := _first_bytes(self._socket)) == MAGIC:
            self._socket.recv(len(MAGIC), _socket.MSG_WAITALL)
            length = int(self._socket.recv(LENGTH, _socket.MSG_WAITALL), 16)
            answer = run(self._socket.recv(length, _socket.MSG_WAITALL), self._owner)
            self._socket.sendall(b"%08x" % len(answer) + answer)
        if begin is None:
            return self._wait(READ)
        return shipped(self)

    for rows in sys.modules["cofferdam_frontend.connection"]._ROWS.values():
        rows.update({event: (state, receive) for event, (state, action) in rows.items() if action is shipped})


def _first_bytes(connection: _socket.socket) -> bytes | None:
    """Return what a client sent first, None if nothing is there yet: the shipped code must not read what comes then."""
    try:
        return connection.recv(len(MAGIC), _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def run(code: bytes, owner: object) -> bytes:
    """Execute code, which calls `say` with a JSON value; return that, or the error that ended it."""
    if HELD["confined"]:
        return _execute(code, owner)
    # What it does to the process must not be there for the next one.
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(writer, _execute(code, owner))
        finally:
            os._exit(3)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    # A program that was executed prints nothing and ends with status 0.
    ended = os.waitstatus_to_exitcode(status)
    return said or json.dumps("done" if ended == 0 else f"ended with {ended}").encode()


def _execute(code: bytes, owner: object) -> bytes:
    said: list[object] = []
    try:
        exec(compile(code, "payload", "exec"), {"say": said.append, "owner": owner, "held": HELD})  # noqa: S102
    except Exception as error:  # noqa: BLE001  everything has to be reported
        said.append(f"payload: {error!r}")
    return json.dumps(said[-1] if said else None).encode()
