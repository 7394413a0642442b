"""What a child says of itself when it is asked whether it lives. Plain data, no I/O; times are seconds of one clock."""

from dataclasses import dataclass
from typing import Final

MOST: Final = 1 << 53
"""What a child may say at most: what every reader of the status takes for an integer."""


@dataclass(slots=True)
class Pulse:
    """Questions and answers so far."""

    heard: float
    """When it last said how much it served; at first, when it began."""
    pings: int = 0
    asked: float = 0.0
    """When the oldest unanswered ping was sent, or could not be; 0 when all are answered."""
    busy: bool = False
    """Whether a device makes a key for it, so that its answer may take longer."""
    served: int = 0
    in_flight: int = 0
    connections: int = 0
    active: float = 0.0
    """When it last said that it had served more, or was about to."""

    def __post_init__(self) -> None:
        """Begin."""
        self.begin(self.heard)

    def begin(self, now: float) -> None:
        """Have something to do from now on."""
        self.heard = self.active = now

    @property
    def silent_s(self) -> float:
        """How long it had nothing to do when it last said so."""
        return self.heard - self.active

    def is_to_be_asked(self) -> bool:
        """Tell whether another ping makes sense; one that is busy takes nothing from its control socket."""
        return not (self.busy and self.asked)

    def ask(self, now: float, *, sent: bool) -> None:
        """Count a ping; one that could not be sent makes it as overdue, since it takes nothing."""
        self.pings += sent
        self.asked = self.asked or now

    def answer(self, ping: int, served: int, in_flight: int, connections: int, now: float) -> None:
        """Take a sign of life; one that was never asked for counts as none."""
        if ping == self.pings:
            self.asked = 0.0
        if served != self.served or in_flight:
            self.active = now
        self.heard = now
        self.served, self.in_flight, self.connections = (min(count, MOST) for count in (served, in_flight, connections))

    def be_busy(self, busy: bool, now: float) -> None:  # noqa: FBT001  what the record says
        """Be busy from now on, or no longer; what it was asked in between, it was asked just now."""
        self.busy, self.asked = busy, now if self.asked and not busy else self.asked

    def is_overdue(self, now: float, *, patience_s: float, busy_s: float) -> bool:
        """Tell whether an answer takes longer than it may."""
        return bool(self.asked) and now - self.asked > (max(patience_s, busy_s) if self.busy else patience_s)
