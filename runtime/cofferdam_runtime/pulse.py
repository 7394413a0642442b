"""What a child says of itself when it is asked whether it lives. Plain data, no I/O; times are seconds of one clock."""

from typing import Final, NamedTuple

from cofferdam_contracts.ipc.control import Pong

MOST: Final = 1 << 53
"""What a child may say at most: what every reader of the status takes for an integer."""


class Patience(NamedTuple):
    """How long an answer to a ping may take, in seconds."""

    usual_s: float
    busy_s: float
    """While a device makes a key."""


class Pulse:
    """Questions and answers so far."""

    def __init__(self, now: float, patience: Patience) -> None:
        """Begin without any."""
        self._patience = patience
        self.pings = 0
        self.asked = 0.0
        """When the oldest unanswered ping was sent, or could not be; 0 when all are answered."""
        self.busy = False
        """Whether a device makes a key for it, so that its answer may take longer."""
        self.served = self.in_flight = self.connections = 0
        self.begin(now)

    def begin(self, now: float) -> None:
        """Have something to do from now on."""
        self.heard = self.active = now
        """When it last said how much it had served, and when that it had served more, or was about to."""

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

    def answer(self, pong: Pong, now: float) -> None:
        """Take a sign of life; one that was never asked for counts as none."""
        if pong.sequence == self.pings:
            self.asked = 0.0
        if pong.served != self.served or pong.in_flight:
            self.active = now
        self.heard = now
        self.served, self.in_flight, self.connections = (min(count, MOST) for count in pong[1:])

    def be_busy(self, busy: bool, now: float) -> None:  # noqa: FBT001  what the record says
        """Be busy from now on, or no longer; what it was asked in between, it was asked just now."""
        self.busy, self.asked = busy, now if self.asked and not busy else self.asked

    def is_overdue(self, now: float) -> bool:
        """Tell whether an answer takes longer than it may."""
        usual, busy = self._patience
        return bool(self.asked) and now - self.asked > (max(usual, busy) if self.busy else usual)
