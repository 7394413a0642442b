"""What the service knows of its providers, and of the key store: a row for each, for the status; that one is the last.

A provider is up or down as its worker says; the words are the worker's own. What the worker cannot say, because it is
gone, follows from how it ended. All of it outlives the worker: a provider that is down keeps its cause, and the time
since when, until a successor says that it is up.
"""

from collections.abc import Sequence
from typing import Any, Final

from cofferdam_contracts.ipc.control import Condition, KeyCount
from cofferdam_contracts.settings import ConfiguredProvider
from cofferdam_runtime.pulse import MOST

_STARTING: Final = "its process is starting"


class _Provider:
    """One provider; times are those of the monotonic clock in seconds."""

    def __init__(self, entry: ConfiguredProvider, now: float) -> None:
        self.entry = entry
        self.up = self.has_said = False
        self.since, self.next_try = now, None if entry.absent else now
        self.cause, self.device = entry.absent or _STARTING, ""
        self.keys: int | None = None

    def become(self, cause: str, next_try: float | None, now: float, *, up: bool, said: bool = True) -> None:
        if up != self.up or self.cause == _STARTING:
            self.since = now
        self.up, self.cause, self.next_try, self.has_said = up, cause, next_try, said

    def row(self, now: float) -> dict[str, Any]:
        return {
            "name": self.entry.name,
            "type": self.entry.type,
            "id": self.entry.id,
            "state": "up" if self.up else "down",
            "since_s": round(now - self.since, 1),
            "cause": self.cause,
            "next_try_s": None if self.up or self.next_try is None else round(max(0.0, self.next_try - now), 1),
            "device": self.device,
            "keys": self.keys,
        }


class Conditions:
    """The providers of one configuration, in its order; a place is role and number of a process."""

    def __init__(self, entries: Sequence[ConfiguredProvider], now: float) -> None:
        """Take all of them for down until their workers have said something."""
        self._providers = [_Provider(entry, now) for entry in entries]
        self._by_place = {(one.entry.role, 0): one for one in self._providers if not one.entry.absent}

    def note(self, place: tuple[int, int], said: Condition, now: float) -> None:
        """Keep what the worker of a provider says."""
        if (provider := self._by_place.get(place)) is not None:
            provider.device = said.device or provider.device
            next_try = now + said.retry_ms / 1000 if said.retry_ms else None
            provider.become(said.cause, next_try, now, up=said.up)

    def count(self, said: KeyCount) -> None:
        """Keep what the key store says."""
        for provider in self._providers:
            if provider.entry.id == said.provider:
                provider.keys = min(said.keys, MOST)

    def end(self, place: tuple[int, int], how: str, now: float) -> None:
        """Note that a worker is gone, and how; no other is started, unless `wait` follows."""
        if (provider := self._by_place.get(place)) is not None:
            why = provider.cause if provider.has_said and not provider.up else f"its process died: {how}"
            provider.become(why, None, now, up=False, said=False)

    def wait(self, place: tuple[int, int], next_try: float) -> None:
        """Note when the successor of a worker is started."""
        if (provider := self._by_place.get(place)) is not None:
            provider.next_try = next_try

    def rows(self, now: float) -> list[dict[str, Any]]:
        """Return the rows of the status (docs/reference/status.md)."""
        return [provider.row(now) for provider in self._providers]

    def summary(self, place: tuple[int, int] | None = None) -> str:
        """Return what is down, or only whether the provider of a worker is, and why, in one line."""
        down = [one for one in self._providers if not one.up and place in {None, (one.entry.role, 0)}]
        return "".join(f"; {one.entry.name} down: {one.cause}" for one in down)
