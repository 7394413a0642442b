"""Restart back-off: when the successor of a dead process may start."""

from collections import deque
from typing import Final

WINDOW_S: Final = 60.0
FREE_RESTARTS: Final = 3
"""Deaths within the window after which a successor still starts at once."""
BREAKER: Final = 5
"""Deaths within the window that open the circuit breaker: from then on one attempt every `BREAKER_S`."""
BREAKER_S: Final = 30.0
LONGEST_REST_S: Final = 600.0
"""After starts that were too late, which may have kept a processor busy all the time."""


class History:
    """The deaths of a server, or of the frontends of a principal."""

    def __init__(self) -> None:
        """Start without deaths."""
        self.deaths: deque[float] = deque(maxlen=BREAKER)
        self.total = 0
        self.late = 0
        """How many of the last deaths, in a row, ended a start that took too long."""
        self.rest_s = 0.0

    def record(self, now: float, late_s: float = 0.0) -> None:
        """Count a death; `late_s` is how long a start took that was too late, and as long the next one has to wait."""
        self.deaths.append(now)
        self.total += 1
        self.late, self.rest_s = (self.late + 1 if late_s else 0), min(late_s, LONGEST_REST_S)

    def delay(self, now: float) -> float:
        """Return how many seconds after the last death a successor may start."""
        recent = sum(1 for death in self.deaths if death > now - WINDOW_S)
        if recent >= BREAKER:
            return max(BREAKER_S, self.rest_s)
        return max(self.rest_s, float(1 << (recent - FREE_RESTARTS)) if recent > FREE_RESTARTS else 0.0)

    def is_closed(self, now: float) -> bool:
        """Tell whether the successor still has to wait."""
        return bool(self.deaths) and now - self.deaths[-1] < self.delay(now)

    def is_recent(self, now: float) -> bool:
        """Tell whether the last death still matters."""
        return bool(self.deaths) and self.deaths[-1] > now - WINDOW_S
