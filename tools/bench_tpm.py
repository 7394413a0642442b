"""The TPM part of `./dev bench`: the service with an swtpm, beside another swtpm without a service (tpm_floor.py).

Both swtpms do one command after the other, each in a process of its own. So a service cannot be faster than its own,
and `swtpm µs` tells how much of a request that is. Service and loops are measured in rounds, one right after the other,
and the ratio is taken of each round: what else the machine does changes within minutes.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from statistics import median
from typing import Final

from tests.harness import wire
from tests.harness.tpm.service import PROVIDER, TpmService
from tests.harness.tpm.swtpm import Swtpm
from tools.measure import (
    CLIENTS,
    QUIET,
    Load,
    Row,
    markdown,
    markdown_head,
    memory_of,
    names_of,
    output_of,
    requests,
)

PREFIX: Final = "TPM: "
BARE: Final[Mapping[str, str]] = {
    "sign ECDSA P-256": "ecdsa-sign",
    "verify ECDSA P-256": "ecdsa-verify",
    "sign RSA-2048": "rsa-sign",
    "32 random bytes": "random",
}
"""What the loops call the operations."""
LOOPS: Final[Mapping[str, str]] = {
    "password": "TSS, password",
    "session": "TSS, session",
    "reference": "Parsec's way",
    "own": "own, session",
}
"""The loops, and what the report calls them."""


@dataclass(frozen=True, slots=True)
class Bare:
    """One operation in a loop without a service."""

    rate: float
    p50_us: float
    cpu_us: float
    """Processor time of the process that asks the TPM."""


@dataclass(frozen=True, slots=True)
class Measured:
    """An operation of the service, and what it costs without one: medians of all rounds."""

    row: Row
    bare: dict[str, Bare]
    ratios: dict[str, float]
    """The rate with many clients as a multiple of that of each loop."""


@dataclass(frozen=True, slots=True)
class TpmFigures:
    """All figures of the provider."""

    ready_s: list[float]
    measured: list[Measured]
    pss_kb: dict[str, int]

    def by_name(self) -> dict[str, float]:
        """Return the figures that goals are about."""
        return {f"{one.row.operation}/to_{loop}": one.ratios[loop] for one in self.measured for loop in LOOPS}


def measure(load: Load) -> TpmFigures:
    """Measure the provider with swtpm.

    Raises:
        UnavailableError: Something that is needed is not there.
    """
    ready = [_time_to_ready() for _ in range(load.runs)]
    once = replace(load, runs=1)
    measured = []
    with TpmService(tables=QUIET) as harness, Swtpm() as other:
        service = harness.service
        caller = wire.Caller(os.geteuid(), provider=PROVIDER)
        wanted = requests(service.socket_path, caller, BARE)
        names = {**names_of(service), harness.swtpm.pid: "swtpm"}
        for name, request in wanted.items():
            rounds = []
            for _ in range(load.runs):
                row = once.row(f"{PREFIX}{name}", service.socket_path, request.to_bytes(), names)
                rounds.append((row, _bare(load, other, BARE[name])))
            measured.append(_measured(rounds))
        return TpmFigures(ready, measured, memory_of(service))


def report(figures: TpmFigures) -> str:
    """Return what the service makes of the TPM, in Markdown."""
    most = CLIENTS[-1]
    head = ["operation", "p50 ms", *(f"req/s {clients} cl." for clients in (1, most))]
    head += [f"{title} /s" for title in LOOPS.values()]
    lines = markdown_head([*head, f"{most} cl. to password", f"{most} cl. to Parsec's way"])
    for one in figures.measured:
        rates = (one.row.rates[1], one.row.rates[most], *(one.bare[loop].rate for loop in LOOPS))
        ratios = (one.ratios["password"], one.ratios["reference"])
        cells = [f"{one.row.p50_ms:.3f}", *(f"{rate:,.0f}" for rate in rates), *(f"{ratio:.2f}" for ratio in ratios)]
        lines.append(markdown([one.row.operation, *cells]))
    return "\n".join([*lines, "", *_costs(figures.measured)])


def _costs(measured: Sequence[Measured]) -> list[str]:
    """Return the processor time of one process per operation, where it matters."""
    most = CLIENTS[-1]
    lines = markdown_head([f"µs, {most} cl.", "swtpm", "worker", *(f"loop: {title}" for title in LOOPS.values())])
    for one in measured:
        costs = [one.row.cpu_us["swtpm"], one.row.cpu_us["worker"], *(one.bare[loop].cpu_us for loop in LOOPS)]
        lines.append(markdown([one.row.operation, *(f"{cost:.0f}" for cost in costs)]))
    return lines


def _measured(rounds: Sequence[tuple[Row, dict[str, Bare]]]) -> Measured:
    rows, bares = [row for row, _ in rounds], [bare for _, bare in rounds]
    first, most = rows[0], CLIENTS[-1]
    return Measured(
        row=Row(
            operation=first.operation,
            p50_ms=median(row.p50_ms for row in rows),
            p99_ms=median(row.p99_ms for row in rows),
            rates={clients: median(row.rates[clients] for row in rows) for clients in first.rates},
            cpu_us={role: median(row.cpu_us[role] for row in rows) for role in first.cpu_us},
        ),
        bare={loop: Bare(*map(median, zip(*(astuple(bare[loop]) for bare in bares), strict=True))) for loop in LOOPS},
        ratios={loop: median(row.rates[most] / bare[loop].rate for row, bare in rounds) for loop in LOOPS},
    )


def _bare(load: Load, tpm: Swtpm, operation: str) -> dict[str, Bare]:
    words = [sys.executable, "-m", "tools.tpm_floor", str(tpm.address), operation]
    found = output_of([*words, str(load.seconds)])
    return {loop: Bare(**found[loop]) for loop in LOOPS}


def _time_to_ready() -> float:
    """Return what `time_to_ready` does, of a service whose TPM goes after it."""
    with TpmService(tables=QUIET) as harness:
        wire.call(harness.service.socket_path, wire.Request())
        return harness.service.ready_s
