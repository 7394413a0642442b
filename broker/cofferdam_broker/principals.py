"""Which frontend serves which principal: assigned on demand, from a spare that is kept warm; retired when idle."""

import _socket
import os
import resource
import struct
import time
from collections.abc import Callable, Iterator
from typing import Final

from cofferdam_broker.children import Children
from cofferdam_broker.process import Key, Process
from cofferdam_broker.spawn import PROGRAMS, UID_COUNT
from cofferdam_contracts.ipc.control import Record, Role, ToChild
from cofferdam_contracts.settings import BrokerSettings
from cofferdam_runtime.backoff import History
from cofferdam_runtime.control import ControlError
from cofferdam_runtime.log import Log
from cofferdam_runtime.timers import Timers

CLIENT: Final = Record(ToChild.CLIENT).to_bytes()
OVERFLOW_UID: Final = 65534
"""What the kernel says of a peer whose uid has no number here (user_namespaces(7)): many users in one."""
FRONTENDS: Final = range(UID_COUNT - PROGRAMS[Role.FRONTEND].uid_offset)
"""Numbers of frontends, each with a uid of the block."""
_UCRED: Final = struct.Struct("=iII")
_MAX_WAITING: Final = 1024
"""Connections of a principal that wait for its frontend to start, or to take more."""
_ACCEPTS: Final = 64
"""Connections taken per round of the loop."""


class Principals:
    """The frontends of one configuration."""

    def __init__(self, children: Children, log: Log, settings: BrokerSettings, timers: Timers) -> None:
        """Serve nobody yet."""
        self._children = children
        self._log = log
        self._settings = settings
        self._timers = timers
        self._servers: tuple[Key, ...] = ((Role.KIM, 0), *((Role(w.role), w.index) for w in settings.workers))
        self._assigned: dict[int, Process] = {}
        self._waiting: dict[int, list[int]] = {}
        self._histories: dict[int, History] = {}
        self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        # The rest is for processes and their channels.
        self._most_waiting = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
        children.on_distrust = self._retire
        self.on_demand: Callable[[], None] = self.assign_spares
        """Called when somebody waits for a frontend."""
        self._turned_away = 0
        self._said = 0.0
        uids = range(settings.uid_base, settings.uid_base + UID_COUNT) if os.geteuid() == 0 else range(0)
        self._refused = frozenset({OVERFLOW_UID, *uids})

    def accept(self, listener: _socket.socket) -> None:
        """Hand waiting connections to the frontends of their principals."""
        for _ in range(_ACCEPTS):
            try:
                descriptor, _ = listener._accept()  # type: ignore[attr-defined]  # noqa: SLF001  the plain accept4(2)
            except BlockingIOError:
                return
            except OSError as error:
                self._shed(listener, error)
                return
            connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, descriptor)
            _, uid, _ = _UCRED.unpack(connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _UCRED.size))
            process = self._assigned.get(uid)
            if process is not None and uid not in self._waiting and self._hand_over(process, descriptor):
                connection.close()
            elif process is not None or self._admit(uid):
                self._wait(uid, connection.detach())
            else:
                connection.close()

    def _shed(self, listener: _socket.socket, error: OSError) -> None:
        """Give a descriptor up to hang up on one connection, so that it does not wake the loop for ever."""
        self._log.error("a connection cannot be accepted; raise LimitNOFILE=", cause=error.strerror)
        if self._reserve >= 0:
            os.close(self._reserve)
        try:
            descriptor, _ = listener._accept()  # type: ignore[attr-defined]  # noqa: SLF001
            os.close(descriptor)
        except OSError:
            pass  # it went by itself, or another shortage holds
        try:
            self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._reserve = -1  # somebody was faster; the next shortage tries again

    def assign_spares(self) -> None:
        """Give ready spares to the principals that wait, and see to it that a spare is on its way."""
        for process in list(self._spares()):
            if process.ready and (unassigned := self._unassigned()):
                self._assign(process, unassigned[0])
        if len(list(self._spares())) < max(1, len(self._unassigned())):
            used = {process.number for process in self._children if process.role is Role.FRONTEND}
            number = next((number for number in FRONTENDS if number not in used), None)
            if number is None:
                self._log.error("there are no uids left for another frontend", used=len(used))
            else:
                self._children.start(Role.FRONTEND, number)

    def on_death(self, process: Process) -> None:
        """Forget a frontend; its principal gets another one with its next connection."""
        uid = process.principal
        if uid is not None and self._assigned.get(uid) is process:
            del self._assigned[uid]
            self._histories.setdefault(uid, History()).record(time.monotonic())
            for descriptor in self._waiting.pop(uid, ()):
                os.close(descriptor)

    def flush(self, process: Process) -> None:
        """Hand over what waits for a frontend, as far as it takes it."""
        waiting = self._waiting.get(process.principal, []) if process.principal is not None else []
        while waiting and self._hand_over(process, waiting[0]):
            os.close(waiting.pop(0))
        if process.principal is not None and not waiting:
            self._waiting.pop(process.principal, None)
        self._children.watch_writing(process, writing=bool(waiting))

    def retire(self, now: float) -> None:
        """Stop the frontends that had no client for long."""
        since = now - self._settings.idle_ms / 1000
        for process in list(self._assigned.values()):
            if process.last_client < since and not process.connections and not process.asked:
                self._retire(process)

    def close(self) -> None:
        """Hang up on those that still wait."""
        for descriptors in self._waiting.values():
            for descriptor in descriptors:
                os.close(descriptor)
        self._waiting.clear()
        if self._reserve >= 0:
            os.close(self._reserve)
            self._reserve = -1

    def _count(self) -> int:
        """Return how many principals are served, wait, or still have a frontend that is ending."""
        ending = sum(1 for process in self._children if process.role is Role.FRONTEND and process.stopping)
        return len(self._assigned) + len(self._unassigned()) + ending

    def _unassigned(self) -> list[int]:
        return [uid for uid in self._waiting if uid not in self._assigned]

    def _spares(self) -> Iterator[Process]:
        return (
            process
            for process in self._children
            if process.role is Role.FRONTEND and process.principal is None and not process.stopping
        )

    def _admit(self, uid: int) -> bool:
        if uid in self._refused:
            self._log.warning("a connection of a uid that cannot be a client is refused", uid=uid)
            return False
        history = self._histories.get(uid)
        if history is not None and history.is_closed(time.monotonic()):
            return False
        return uid in self._waiting or self._count() < self._settings.max_frontends or self._make_room(uid)

    def _make_room(self, uid: int) -> bool:
        for process in sorted(self._assigned.values(), key=lambda process: process.last_client):
            if not process.connections and not process.asked:
                self._retire(process)
                return True
        self._log.warning(
            "too many principals at one time; a connection is refused", uid=uid, limit=self._settings.max_frontends
        )
        return False

    def _retire(self, process: Process) -> None:
        if process.principal is not None:
            self._assigned.pop(process.principal, None)
        process.stop()
        # One that does not obey must not stay.
        self._timers.after(self._settings.drain_ms / 1000, process.kill)

    def _assign(self, process: Process, uid: int) -> None:
        process.principal = uid
        for server in self._servers:
            self._children.connect(process, server, uid)
        process.send(Record(ToChild.ASSIGN, uid, process.number))
        self._assigned[uid] = process
        self.flush(process)

    def _wait(self, uid: int, descriptor: int) -> None:
        """Keep a connection until the frontend of its principal takes it."""
        waiting = self._waiting.setdefault(uid, [])
        if len(waiting) >= min(_MAX_WAITING, self._most_waiting - sum(map(len, self._waiting.values()))):
            self._turn_away(uid)
            os.close(descriptor)
            if not waiting:
                del self._waiting[uid]
            return
        waiting.append(descriptor)
        process = self._assigned.get(uid)
        if process is None:
            self.on_demand()
        else:
            self._children.watch_writing(process, writing=True)

    def _turn_away(self, uid: int) -> None:
        """Say it once a second, however often it happens."""
        self._turned_away += 1
        if time.monotonic() > self._said + 1:
            self._log.warning(
                "too many connections wait for their frontends; some are closed", uid=uid, closed=self._turned_away
            )
            self._turned_away, self._said = 0, time.monotonic()

    @staticmethod
    def _hand_over(process: Process, descriptor: int) -> bool:
        """Pass a connection on; return False if the frontend takes no more for now."""
        process.last_client = time.monotonic()
        try:
            return process.spawned.control.send_bytes(CLIENT, descriptor)
        except ControlError:
            # Its death is on the way; the client comes again.
            return True
