"""The figures of `./dev bench --fairness`, what they are held to, and their tables."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tools.attacks import NEWCOMER
from tools.crowd import Tally
from tools.measure import markdown, markdown_head

MOST_RATIO: Final = 2.0
LEAST_INDEX: Final = 0.95
MOST_LISTING_MS: Final = 15.0
MOST_MEMORY_MB: Final = 64.0
LISTED: Final = 5000
"""Keys of a listing that the bar is about."""
SHARERS: Final = 8
HEAVY: Final = 16
"""Connections of the one sharer that has many."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a victim noticed of an attack; tallies by round."""

    attack: str
    victim: str
    alone: list[Tally]
    elsewhere: list[Tally]
    attacked: list[Tally]
    attackers: list[float]
    """Answers per second that the attackers got."""

    @property
    def ratio(self) -> float:
        """Return the victim's p99 under attack to that alone."""
        return _ratio(self.attacked, self.alone)

    @property
    def ratio_elsewhere(self) -> float:
        """Return the victim's p99 while the attack runs against another service to that alone."""
        return _ratio(self.elsewhere, self.alone)

    @property
    def failures(self) -> tuple[int, int]:
        """Return how many connects and how many requests failed under attack."""
        return sum(tally.failed_connects for tally in self.attacked), sum(
            tally.failed_requests for tally in self.attacked
        )

    @property
    def holds(self) -> bool:
        """Tell whether the bar is reached; a newcomer only has to be served."""
        served = all(tally.answers for tally in self.attacked) and not any(self.failures)
        return served and (self.victim == NEWCOMER or self.ratio <= MOST_RATIO)


@dataclass(frozen=True, slots=True)
class Share:
    """How uids shared the service, one of them with many connections."""

    text: str
    index: list[float]
    """Jain's, by round."""
    heavy: list[float]
    """Rate of the one with many, to the mean of the others."""
    rate: list[float]


@dataclass(slots=True)
class Fairness:
    """All figures."""

    rows: list[Row] = field(default_factory=list)
    shares: list[Share] = field(default_factory=list)
    listing_ms: dict[int, float] = field(default_factory=dict)
    """p50 of one client that lists its keys, by their number."""
    memory_mb: dict[int, float] = field(default_factory=dict)
    """Largest frontend by the number of connections that held a body."""


def jain(rates: Sequence[float]) -> float:
    """Return Jain's index of fairness: 1 where all are equal, 1/n where one has everything."""
    squares = sum(rate**2 for rate in rates)
    return sum(rates) ** 2 / (len(rates) * squares) if squares else 0.0


def report(figures: Fairness) -> str:
    """Return the tables, in Markdown."""
    parts = []
    if figures.rows:
        head = ["attack", "victim", "req/s", "p50 ms", "p99 ms", "p99 ratio", "(elsewhere)"]
        head += ["failed connects", "failed requests", "attackers' req/s", "bar", ""]
        parts.append([*markdown_head(head), *map(_line, figures.rows)])
    if figures.shares:
        head = [f"{SHARERS} uids, one with {HEAVY} connections", "Jain's index", "that one to the others", "req/s"]
        parts.append([*markdown_head([*head, "bar", ""]), *map(_share_line, figures.shares)])
    if lines := [*_listing_lines(figures.listing_ms), *_memory_lines(figures.memory_mb)]:
        parts.append([*markdown_head(["alone", "measured", "bar", ""]), *lines])
    return "\n\n".join("\n".join(lines) for lines in parts)


def _line(row: Row) -> str:
    connects, requests = row.failures
    cells = [row.attack, row.victim]
    for name, digits in (("rate", 0), ("p50_ms", 2), ("p99_ms", 2)):
        cells.append(f"{_of(row.alone, name):,.{digits}f} → {_of(row.attacked, name):,.{digits}f}")
    cells += [f"{row.ratio:.2f}", f"{row.ratio_elsewhere:.2f}", f"{connects}", f"{requests}"]
    bar = "served" if row.victim == NEWCOMER else f"≤ {MOST_RATIO:g}"
    return markdown([*cells, f"{statistics.median(row.attackers):,.1f}", bar, _verdict(holds=row.holds)])


def _share_line(share: Share) -> str:
    index = statistics.median(share.index)
    cells = [
        share.text,
        f"{index:.3f}",
        f"{statistics.median(share.heavy):.2f}",
        f"{statistics.median(share.rate):,.0f}",
    ]
    return markdown([*cells, f"≥ {LEAST_INDEX}", _verdict(holds=index >= LEAST_INDEX)])


def _listing_lines(found: Mapping[int, float]) -> Iterator[str]:
    for count, p50_ms in found.items():
        bar = [f"≤ {MOST_LISTING_MS:g}", _verdict(holds=p50_ms <= MOST_LISTING_MS)]
        counts = count == LISTED
        yield markdown([f"list {count:,} keys, p50 ms", f"{p50_ms:.1f}", *(bar if counts else ["", ""])])


def _memory_lines(found: Mapping[int, float]) -> Iterator[str]:
    for count, size in found.items():
        text = f"largest frontend, {count:,} bodies of 1 MiB that lack their last byte, MiB"
        yield markdown([text, f"{size:.0f}", f"≤ {MOST_MEMORY_MB:g}", _verdict(holds=size <= MOST_MEMORY_MB)])


def _verdict(*, holds: bool) -> str:
    return "holds" if holds else "does not hold"


def _of(tallies: Sequence[Tally], name: str) -> float:
    values: list[float] = [getattr(tally, name) for tally in tallies]
    return statistics.median(values)


def _ratio(some: Sequence[Tally], others: Sequence[Tally]) -> float:
    """Return the median of the rounds' ratios of p99; a request that was never answered counts with its wait."""
    pairs = zip(some, others, strict=True)
    return statistics.median(one.p99_ms / other.p99_ms if other.p99_ms else math.inf for one, other in pairs)
