"""A child's liveness and load, from its answers to pings. Plain data, no I/O; times are seconds of one clock."""

from typing import Final, NamedTuple

from cofferdam_contracts.ipc.control import Pong
from cofferdam_runtime.starting import Usage

MOST: Final = 1 << 53
"""Largest count accepted from a child: above it, readers of the status may not parse the JSON number as an integer."""
DOUBLINGS: Final = 3
"""Starts that were too late, in a row, after each of which the next one has twice the time."""
STARVED: Final = 0.1
"""Share of a processor below which others keep a process from it that could run."""
STARVED_AT_MOST: Final = 10
"""Times the usual time for an answer: the longest time for one."""


class Patience(NamedTuple):
    """How long a child may be silent, in seconds."""

    usual_s: float
    """Until it answers a ping."""
    busy_s: float
    """The same, while a device generates a key."""
    start_s: float
    """While it starts, see `starting`."""

    def for_start(self, late: int) -> "Patience":
        """Return the patience with a start that follows so many that were too late."""
        return self._replace(start_s=self.start_s * (1 << min(late, DOUBLINGS)))


class Pulse:
    """The pings sent to a child and what it answered."""

    def __init__(self, now: float, patience: Patience) -> None:
        """Start without pings."""
        self._patience = patience
        self.pings = 0
        self.asked = 0.0
        """When the oldest unanswered ping was sent, or failed to be sent; 0 when all are answered."""
        self._starved: tuple[float, float] | None = None
        """When the child was first found overdue, and the processor time that it had used by then."""
        self.busy = False
        """Whether a device generates a key for the child, so that its answer may take longer."""
        self.served = self.in_flight = self.connections = 0
        self.begin(now)

    def begin(self, now: float) -> None:
        """Count the child as active at this time."""
        self.heard = self.active = now
        """Times of the last answer, and of the last one with newly served requests or some in flight."""

    @property
    def silent_s(self) -> float:
        """How long the child had been inactive at its last answer."""
        return self.heard - self.active

    def is_to_be_asked(self) -> bool:
        """Tell whether to send another ping; a busy child does not read its control socket."""
        return not (self.busy and self.asked)

    def ask(self, now: float, *, sent: bool) -> None:
        """Count a ping; one that could not be sent also counts as unanswered, since the child does not read."""
        self.pings += sent
        self.asked = self.asked or now

    def answer(self, pong: Pong, now: float) -> None:
        """Process an answer; only one to the latest ping counts as a sign of life."""
        if pong.sequence == self.pings:
            self.asked, self._starved = 0.0, None
        if pong.served != self.served or pong.in_flight:
            self.active = now
        self.heard = now
        self.served, self.in_flight, self.connections = (min(count, MOST) for count in pong[1:])

    def be_busy(self, busy: bool, now: float) -> None:  # noqa: FBT001  the record's field
        """Note that the child is busy, or no longer; then the time for an unanswered ping starts again."""
        self.busy, self.asked = busy, now if self.asked and not busy else self.asked

    def is_overdue(self, now: float) -> bool:
        """Tell whether an answer takes longer than allowed."""
        return bool(self.asked) and now - self.asked > self._allowed_s

    def is_starved(self, now: float, usage: Usage) -> bool:
        """Tell whether a child that is overdue cannot answer because others have the processors."""
        since, before = self._starved = self._starved or (now, usage.cpu_s)
        has_little = usage.cpu_s - before <= (now - since) * STARVED
        return usage.state == "R" and has_little and now - self.asked <= STARVED_AT_MOST * self._allowed_s

    @property
    def _allowed_s(self) -> float:
        return max(self._patience[:2]) if self.busy else self._patience.usual_s
