"""What all sources of bundles have in common."""

import os
import time
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from cofferdam_fetcher.limits import Times

_MAX_QUOTE: Final = 200
_JITTER: Final = 0.2
"""The part of a pause that is random, so that many machines do not ask at the same moment."""


class SourceError(Exception):
    """Raised for whatever a source did that ends the connection with it; the text is one line for the operator."""


def _nothing() -> None:
    pass


class Reports(NamedTuple):
    """Whom a source calls back, always from its `tick` or from the loop."""

    found: Callable[[str, bytes], None]
    """The name of a trust domain or issuer, and the document with its keys, as the source has them now. It is called
    again with the same document whenever the source confirms it. An empty document: its keys hold no more."""
    failed: Callable[[str], None]
    """Why there is nothing new, as one line: once until it succeeds or fails for another reason."""
    complete: Callable[[], None] = _nothing
    """All documents that the source has were found since this was called last: whatever was not named holds no more."""


class Source(Protocol):
    """A source of bundles, which does all its work in `tick` and in callbacks of the loop."""

    def start(self) -> None:
        """Begin; must be called once."""

    def tick(self) -> float:
        """Do what is due, and return the seconds until it must run again."""

    def repeat(self) -> None:
        """Report again what was found last, for somebody who was not there."""

    def close(self) -> None:
        """Give up everything, for good."""


class Teller:
    """Passes on what a source finds and why it fails, and remembers the documents."""

    def __init__(self, reports: Reports) -> None:
        """Start with nothing found."""
        self._reports = reports
        self._found: dict[str, bytes] = {}
        self._heard = False
        self._failure = ""

    def found(self, documents: dict[str, bytes]) -> None:
        """Report all documents there are, and those that are no more."""
        gone = self._found.keys() - documents.keys()
        self._failure, self._found, self._heard = "", documents, True
        for name in sorted(gone):
            self._reports.found(name, b"")
        self.repeat()

    def repeat(self) -> None:
        """Report the documents once more."""
        for name, document in self._found.items():
            self._reports.found(name, document)
        if self._heard:
            self._reports.complete()

    def failed(self, text: str) -> None:
        """Report a failure, unless it is the one reported last."""
        if text != self._failure:
            self._failure = text
            self._reports.failed(text)


class Pauses:
    """How long to wait after failures in a row."""

    def __init__(self, times: Times) -> None:
        """Start without failures."""
        self._first, self._longest = times.first_pause_s, times.longest_pause_s
        self.failures = 0

    def succeed(self) -> None:
        """Forget the failures."""
        self.failures = 0

    def fail(self) -> float:
        """Count a failure, and return how long to wait."""
        pause = min(self._longest, self._first * (1 << min(self.failures, 16)))
        self.failures += 1
        return spread(pause)


class Deadline:
    """The one thing that a source waits for, and until when."""

    def __init__(self) -> None:
        """Start with nothing to wait for."""
        self.what = ""
        self._at = 0.0

    def set(self, what: str, seconds: float) -> None:
        """Wait for something else from now on."""
        self.what, self._at = what, time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds until it is over."""
        return max(0.0, self._at - time.monotonic())


def spread(seconds: float) -> float:
    """Return a time with a random part taken off."""
    return seconds * (1 - _JITTER * int.from_bytes(os.urandom(2), "big") / 65536)


def quoted(text: bytes | str) -> str:
    """Return what a peer said as a part of a line: short, and without characters that a terminal would obey."""
    if isinstance(text, bytes):
        text = text[: 4 * _MAX_QUOTE].decode(errors="replace")
    shown = text if len(text) <= _MAX_QUOTE else text[:_MAX_QUOTE] + "…"
    return "".join(character if character.isprintable() else "?" for character in shown)
