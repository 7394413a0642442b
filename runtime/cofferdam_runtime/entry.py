"""Start-up of every child: reading what the broker hands over, confinement, and the control socket.

The broker executes `python -I -S -B -c BOOT <paths> <package> <role> <number> <uid> <parent>` with the control socket
as descriptor 3 and the settings document as descriptor 4; every other descriptor is close-on-exec. `uid` is `-` when a
normal user started the service.
"""

import _socket
import gc
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, NoReturn, TypeVar

from cofferdam_contracts.ipc.control import (
    Broken,
    Busy,
    Condition,
    Failed,
    Failure,
    Ping,
    Pong,
    Ready,
    Record,
    Stop,
    Violation,
)
from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import MAX_DOCUMENT, load
from cofferdam_runtime.boot import CONTROL_DESCRIPTOR, SETTINGS_DESCRIPTOR
from cofferdam_runtime.control import Control, ControlError
from cofferdam_runtime.faults import log_what_nobody_catches
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import READ, Loop
from cofferdam_runtime.relay.join import join
from cofferdam_runtime.sandbox.enter import Achieved, enter_sandbox
from cofferdam_runtime.sandbox.errors import SandboxError
from cofferdam_runtime.sandbox.policy import Policy
from cofferdam_runtime.sandbox.rank import lower_rank
from cofferdam_runtime.sandbox.title import set_title

REHEARSAL: Final = "rehearsal"
"""The first argument of a rehearsal."""
_TURN: Final = 16
"""Control records handled before the loop serves other descriptors."""

Handler = Callable[[Any], None]
"""Handles records of one type."""
T = TypeVar("T")


class Start(NamedTuple):
    """What the broker passed to a child at its start."""

    role: Role
    number: int
    uid: int | None
    """The uid to change to, None to keep the current one."""
    parent: int
    control: Control
    document: int
    """Descriptor of the settings document; in the configuration reader, of the configuration file."""
    arguments: tuple[str, ...]
    """Further arguments: those of the configuration reader, what the predecessor has warned of (`said`), or those of a
    rehearsal."""
    early: deque[Record]
    """Records that arrived before the child serves its control socket."""

    @property
    def is_rehearsal(self) -> bool:
        """Whether this process is to find out whether it could work, and to change nothing (`rehearsal`)."""
        return self.arguments[:1] == (REHEARSAL,)

    def receive(self, kind: type[T], wanted: Callable[[T], bool] = lambda _record: True) -> T:
        """Wait for the first wanted record of a type; others are queued and handled when the child is ready.

        Raises:
            ControlError: The broker is gone.
        """
        for index, found in enumerate(self.early):
            if type(found) is kind and wanted(found):
                del self.early[index]
                return found
        while not (type(received := self.control.receive(blocking=True)) is kind and wanted(received)):
            if received is not None:
                self.early.append(received)
        return received

    def settings(self, kind: type[T]) -> T:
        """Read the settings document and close it."""
        # Processes of a role share the open file and thus its offset, which pread does not change.
        document = os.pread(self.document, MAX_DOCUMENT, 0)
        os.close(self.document)
        return load(kind, document)


def begin(title: str) -> Start:
    """Set the process title and priority, ignore signals, and adopt the descriptors and arguments from the broker."""
    set_title(title)
    log_what_nobody_catches(title)
    _, role, number, uid, parent, *arguments = sys.argv
    # Terminals and supervisors send these to the whole process group; only the broker reacts to them.
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    lower_rank(Role(int(role)))
    join(title, None if uid == "-" else int(uid))
    control = _socket.socket(fileno=CONTROL_DESCRIPTOR)
    os.set_inheritable(CONTROL_DESCRIPTOR, False)  # noqa: FBT003  the standard library's signature
    os.set_inheritable(SETTINGS_DESCRIPTOR, False)  # noqa: FBT003
    return Start(
        role=Role(int(role)),
        number=int(number),
        uid=None if uid == "-" else int(uid),
        parent=int(parent),
        control=Control(control),
        document=SETTINGS_DESCRIPTOR,
        arguments=tuple(arguments),
        early=deque(),
    )


def give_up(control: Control, reason: Failure, why: str = "") -> NoReturn:
    """Tell the broker that a restart would not help, and exit; the caller has logged why, which a worker says, too."""
    try:
        if why:
            control.send(Condition(up=False, retry_ms=0, device="", cause=why))
        control.send(Failed(reason))
    except ControlError:
        pass
    # Skip atexit handlers: a library may hold half-open device state.
    os._exit(1)


def confine(
    start: Start,
    log: Log,
    policy: Policy,
    *,
    groups: tuple[int, ...] = (),
    prepare: Callable[[], object] | None = None,
) -> Achieved:
    """Enter the sandbox, or exit; the arguments are those of `enter_sandbox`."""
    try:
        achieved = enter_sandbox(policy, uid=start.uid, parent=start.parent, groups=groups, prepare=prepare)
    except (SandboxError, OSError) as error:
        why = log.error("the process cannot be confined", cause=error)
        give_up(start.control, Failure.SANDBOX, why if Condition in start.role.row.says else "")
    for note in achieved.notes:
        log.debug(note)
    return achieved


class Reporter:
    """Sends a child's unsolicited reports to the broker and counts served requests."""

    def __init__(self, control: Control) -> None:
        """Report over a control socket."""
        self._control = control
        self.served = 0
        self._busy = 0
        self._said: Condition | None = None

    def count_one(self) -> None:
        """Count a served request."""
        self.served += 1

    def busy(self, busy: bool) -> None:  # noqa: FBT001  the record's field
        """Report that answers to pings may take long from now on (True), or no longer (False); pairs may nest."""
        before, self._busy = self._busy, self._busy + (1 if busy else -1)
        if not (before and self._busy):
            self._control.send(Busy(busy))

    def say(self, condition: Condition) -> None:
        """Report whether the provider can be used, unless the broker knows it; what it cannot take now, it gets later.

        The caller repeats this; only another value counts as news.
        """
        if condition is not self._said and (condition == self._said or self._control.send(condition)):
            self._said = condition

    def violated(self, role: Role, serial: int) -> None:
        """Report that a client of this process broke the protocol of its channel."""
        self._control.send(Violation(role, serial))

    def broken(self, role: Role, number: int, before: int) -> None:
        """Report that the channel to a server is unusable; it is the one that followed `before` others."""
        self._control.send(Broken(role, number, before))


class Child:
    """The receiving side of a child's control socket."""

    def __init__(  # noqa: PLR0913  the parts of a child
        self,
        start: Start,
        log: Log,
        loop: Loop,
        reporter: Reporter,
        handlers: Mapping[type, Handler],
        *,
        on_stop: Callable[[], None] | None = None,
        in_flight: Callable[[], int] = lambda: 0,
        connections: Callable[[], int] = lambda: 0,
    ) -> None:
        """Answer `Ping`, obey `Stop`, and dispatch all other records to the handlers of the role.

        Args:
            start: What the broker passed to the child.
            log: Where a broken control socket is reported.
            loop: The child's event loop.
            reporter: Counts the requests served.
            handlers: Handlers by record type. The child exits at a record that is none of these, `Ping` or `Stop`.
            on_stop: Ends the child once no requests are under way; without it, `Stop` ends the loop at once.
            in_flight: Returns the number of requests under way.
            connections: Returns the number of clients.
        """
        self._control = start.control
        self._early = start.early
        self._log = log
        self._reporter = reporter
        self._in_flight, self._connections = in_flight, connections
        stop = on_stop or loop.stop
        self._handlers: Mapping[type, Handler] = {**handlers, Ping: self._answer, Stop: lambda _record: stop()}
        loop.add(start.control.fileno(), READ, self._on_control)

    def ready(self, achieved: Achieved, *, checks: int = 0, rows: int = 0) -> None:
        """Tell the broker that this child can serve clients; `checks` and `rows` as in `Ready`."""
        # Objects that exist now live as long as the process; the collector need not traverse them.
        gc.freeze()
        gc.enable()
        self._control.send(Ready(achieved.level, achieved.landlock_abi, checks, rows))
        while self._early:
            self._take(self._early.popleft())

    def _on_control(self, _events: int) -> None:
        for _ in range(_TURN):
            try:
                received = self._control.receive()
            except ControlError as error:
                # The broker is gone or cannot be trusted; either way there is no reason to go on.
                self._log.error("the control socket failed", error=error)
                os._exit(1)
            if received is None:
                return
            self._take(received)

    def _take(self, record: Record) -> None:
        handler = self._handlers.get(type(record))
        if handler is None:
            self._log.error("the broker sent an unknown record", kind=type(record).__name__)
            os._exit(1)
        handler(record)

    def _answer(self, ping: Ping) -> None:
        self._control.send(Pong(ping.sequence, self._reporter.served, self._in_flight(), self._connections()))
