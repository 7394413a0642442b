"""A source in the loop of a test."""

import time
from collections.abc import Callable
from typing import Final

from cofferdam_fetcher.source import Reports, Source
from cofferdam_runtime.loop import Loop

_PATIENCE_S: Final = 30.0


def forget(sources: list[Source]) -> None:
    """Close the sources of a test."""
    for source in sources:
        source.close()
    sources.clear()


class Heard:
    """What a source reported."""

    def __init__(self) -> None:
        self.found: list[tuple[str, bytes]] = []
        self.failed: list[str] = []

    @property
    def reports(self) -> Reports:
        return Reports(lambda name, document: self.found.append((name, document)), self.failed.append)


def turn(loop: Loop, source: Source, until: Callable[[], bool]) -> None:
    """Turn the loop of a source until something has happened."""
    end = time.monotonic() + _PATIENCE_S
    while not until():
        assert time.monotonic() < end, "it did not happen"
        loop.look(min(source.tick(), 0.05))
