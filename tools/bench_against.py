"""`./dev bench --against FOLDER`: this checkout beside another, in one run.

Both services are up all the time and are asked in alternating rounds, so that what else the machine does in a minute
meets both. A ratio is of one round, and the median of the rounds is given, with the least and the greatest.
"""

import os
import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.harness import wire
from tests.harness.interpreter import cofferdam_of
from tests.harness.service import Service
from tools.measure import CLIENTS, QUIET, Load, markdown, markdown_head, requests

FEW, MANY = CLIENTS[0], CLIENTS[-1]
_OTHER_UIDS: Final = 61_200
"""First uid of the other service's processes."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One operation of both checkouts, by round."""

    operation: str
    p50_ms: list[tuple[float, float]]
    """With one client: of this checkout, and of the other."""
    rates: list[tuple[float, float]]
    """Requests per second with many clients."""


def measure(load: Load, checkout: Path) -> list[Compared]:
    """Measure signatures, pings and the other operations of both.

    Raises:
        UnavailableError: Something that is needed is not there.
    """
    with ExitStack() as stack:
        services = [Service(tables=QUIET), Service(tables={**QUIET, "isolation": {"uid_base": _OTHER_UIDS}})]
        services[1].command = cofferdam_of(checkout)
        for service in services:
            stack.enter_context(service)
        paths = [service.socket_path for service in services]
        wanted: list[Mapping[str, wire.Request]] = [
            {"ping": wire.Request(), **requests(path, wire.Caller(os.geteuid()))} for path in paths
        ]
        rounds = {name: [_round(load, paths, wanted, name, n) for n in range(load.runs)] for name in wanted[0]}
    return [Compared(name, [few for few, _ in found], [many for _, many in found]) for name, found in rounds.items()]


def _round(
    load: Load, paths: Sequence[str], wanted: Sequence[Mapping[str, wire.Request]], name: str, number: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Ask both, now the one first and now the other."""
    few, many = [0.0, 0.0], [0.0, 0.0]
    for side in (0, 1) if number % 2 == 0 else (1, 0):
        request = wanted[side][name].to_bytes()
        few[side] = load.run(paths[side], request, (), FEW)["latency"]["p50_us"] / 1000
        many[side] = load.run(paths[side], request, (), MANY)["rate"]
    return (few[0], few[1]), (many[0], many[1])


def report(rows: Sequence[Compared]) -> str:
    """Return the figures in Markdown."""
    head = ["operation", f"p50 ms, {FEW} cl.", "other's", "ratio", f"req/s {MANY} cl.", "other's", "ratio"]
    lines = markdown_head(head)
    for row in rows:
        cells = [row.operation]
        for pairs, form in ((row.p50_ms, ".3f"), (row.rates, ",.0f")):
            cells += [format(statistics.median(pair[side] for pair in pairs), form) for side in (0, 1)]
            ratios = [ours / other for ours, other in pairs]
            cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        lines.append(markdown(cells))
    return "\n".join(lines)
