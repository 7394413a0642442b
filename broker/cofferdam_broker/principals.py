"""Assigns frontends to principals on demand, from a spare that is kept ready, and retires idle ones."""

import _socket
import os
import time
from collections.abc import Callable, Iterable
from typing import Final

from cofferdam_broker.children import Children
from cofferdam_broker.process import ChildProcess
from cofferdam_contracts.ipc.control import Assign, NewClient
from cofferdam_contracts.roles import FRONTENDS, Role
from cofferdam_contracts.settings import BrokerSettings
from cofferdam_runtime.intake import Intake
from cofferdam_runtime.listener import Arrival
from cofferdam_runtime.log import Log
from cofferdam_runtime.places import Line, Place
from cofferdam_runtime.timers import Timers

_HAND_OVERS: Final = 16
"""Connections handed over before more are accepted."""
_AT_A_TIME: Final = min(4, max(1, (os.cpu_count() or 1) // 2))
"""Most frontends that start at the same time, so that processors are left for those that serve."""
LOOK_S: Final = 0.25
"""Interval at which the assigned frontends are pinged for their activity while a uid waits for a place."""
_LEAVE_S: Final = 0.2
"""Seconds in which a frontend that has to make room may finish its requests."""


class Principals:
    """The frontends of one configuration."""

    def __init__(
        self, children: Children, log: Log, settings: BrokerSettings, timers: Timers, on_demand: Callable[[], None]
    ) -> None:
        """Start without frontends; `on_demand` is called when a uid waits for one."""
        self._children = children
        self._log = log
        self._settings = settings
        self._timers = timers
        self._line = Line(children.users, children.key_owners)
        self.intake = Intake(log, settings, children.users, self._line.is_welcome)
        self._waiting = self.intake.waiting
        self._assigned: dict[int, ChildProcess] = {}
        self._leaving: ChildProcess | None = None
        """The frontend that was told to make room last."""
        self._looking = False
        self._on_demand = on_demand

    def accept(self, listener: _socket.socket) -> None:
        """Accept some connections; pass them on directly until one has to wait, see `hand_over`."""
        later: list[Arrival] = []
        for count, (uid, connection) in enumerate(self.intake.acceptor.accept(listener)):
            process = None if later or self._waiting or count >= _HAND_OVERS else self._assigned.get(uid)
            if process is None or not process.offer(NewClient(connection.fileno())):
                later.append((uid, connection))
            else:
                connection.close()
        if later:
            self.admit(later)

    def admit(self, arrivals: Iterable[Arrival]) -> None:
        """Queue connections for the frontends of their uids."""
        now = time.monotonic()
        for uid in self.intake.keep(arrivals, now):
            if uid not in self._assigned:
                self._line.join(uid, now)
        if self._line:
            self._on_demand()

    def hand_over(self) -> bool:
        """Pass on one connection of each principal, or several if only one waits; return whether there are more.

        No more at once, because this takes several times as long as accepting, and others wait to be accepted.
        """
        for uid, connection in self._waiting.round(_HAND_OVERS):
            if self._assigned[uid].offer(NewClient(connection.fileno())):
                self._waiting.take(uid).close()
            else:
                self._waiting.shut(uid)
                self._children.watch_writing(self._assigned[uid], writing=True)
        return self._waiting.has_turns

    def assign_spares(self) -> None:
        """Assign ready spares to waiting uids in order, make room if all places are taken, and start new spares."""
        spares = [process for process in self._frontends() if process.principal is None and not process.stopping]
        for spare in [process for process in spares if process.ready]:
            if self._is_full():
                self._make_room()
                break
            if (uid := self._line.first(self._places())) is None:
                break
            spares.remove(spare)
            self._assign(spare, uid)
        if self._line and not self._looking:
            self._looking = True
            self._timers.after(LOOK_S, self._look)
        for _ in range(max(1, min(len(self._line), _AT_A_TIME)) - len(spares)):
            self._start()

    def on_death(self, process: ChildProcess) -> None:
        """Remove a dead frontend; its principal gets another one with its next connection."""
        if (uid := self._leave(process)) is not None:
            self._line.strike(uid, time.monotonic())
            self._turn_away(uid, "the frontend of this uid died")

    def flush(self, process: ChildProcess) -> None:
        """Resume handing over to a frontend that accepts connections again."""
        self._children.watch_writing(process, writing=False)
        if process.principal is not None and self._assigned.get(process.principal) is process:
            self._waiting.open(process.principal)

    def retire(self, now: float) -> None:
        """Stop the frontends that have been idle for `idle_ms`, and drop expired records of the line."""
        since = now - self._settings.idle_ms / 1000
        for process in list(self._assigned.values()):
            pulse = process.pulse
            if pulse.active < since and not pulse.connections and not pulse.asked:
                self._retire(process, self._settings.drain_ms / 1000)
        self._line.forget(now)

    def _frontends(self) -> list[ChildProcess]:
        return [process for process in self._children if process.role is Role.FRONTEND]

    def _is_full(self) -> bool:
        """Tell whether all places are taken; a frontend that is stopping keeps its place until it has ended."""
        return len(self._assigned) + sum(p.stopping for p in self._frontends()) >= self._settings.max_frontends

    def _look(self) -> None:
        """Check again whether there is a place for the waiting uids."""
        self._looking = False
        if self._line:
            for process in self._assigned.values():
                if not process.pulse.asked:
                    process.ping(time.monotonic())
            self._on_demand()

    def _places(self) -> list[Place]:
        return [Place(u, p.pulse.served, p.pulse.connections, p.pulse.silent_s) for u, p in self._assigned.items()]

    def _make_room(self) -> None:
        """Stop one frontend for a waiting uid; if none can be spared, turn away the uids that wait too long."""
        if self._leaving is not None and not self._leaving.closed:
            return
        now = time.monotonic()
        if (found := self._line.find_room(self._places())) is None:
            for late in self._line.give_up(now):
                self._turn_away(late, f"all places are in use, limits.max_frontends = {self._settings.max_frontends}")
            return
        uid, place = found
        self._leaving = self._assigned[place.uid]
        self._log.info("a frontend makes room", uid=place.uid, silent_s=round(place.silent_s, 1), newcomer=uid)
        if place.connections and not place.served:
            self._line.strike(place.uid, now)
        self._retire(self._leaving, _LEAVE_S)

    def _retire(self, process: ChildProcess, patience_s: float) -> None:
        if (uid := self._leave(process)) is not None and uid in self._waiting:
            self._line.join(uid, time.monotonic())
        process.stop()
        why = "a frontend did not end when it was told to and is killed"
        self._timers.after(patience_s, lambda: process.kill(why, self._log.info))

    def _leave(self, process: ChildProcess) -> int | None:
        """Unassign a frontend's principal and return the uid, None if it had none."""
        uid = process.principal
        if uid is None or self._assigned.get(uid) is not process:
            return None
        del self._assigned[uid]
        self._waiting.shut(uid)
        return uid

    def _start(self) -> None:
        used = {process.number for process in self._frontends()}
        number = next((number for number in FRONTENDS if number not in used), None)
        if number is None:
            self._log.error("there are no uids left for another frontend", used=len(used))
        else:
            self._children.start(Role.FRONTEND, number)

    def _assign(self, process: ChildProcess, uid: int) -> None:
        process.principal = uid
        process.pulse.begin(time.monotonic())
        self._children.connect(process)
        process.send(Assign(uid, process.number))
        self._log.info("a frontend has its principal", uid=uid, process=process.title, pid=process.spawned.pid)
        self._line.leave(uid)
        self._assigned[uid] = process
        self._waiting.open(uid)

    def _turn_away(self, uid: int, why: str) -> None:
        self.intake.turn_away(uid, self._waiting.drop(uid), why)
