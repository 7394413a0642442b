"""The TPM part of `./dev bench`: the service with an swtpm, beside another swtpm without a service (tpm_floor.py).

Both swtpms do one command after the other, each in a process of its own. So a service cannot be faster than its own,
and `swtpm µs` tells how much of a request that is.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.harness import wire
from tests.harness.tpm.service import PROVIDER, TpmService
from tests.harness.tpm.swtpm import Swtpm
from tests.tools.measure import (
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
    """An operation of the service, and what it costs without one."""

    row: Row
    bare: dict[str, Bare]

    def to(self, loop: str) -> float:
        """Return the rate with many clients as a multiple of that of a loop."""
        return self.row.rates[CLIENTS[-1]] / self.bare[loop].rate


@dataclass(frozen=True, slots=True)
class TpmFigures:
    """All figures of the provider."""

    ready_s: list[float]
    measured: list[Measured]
    pss_kb: dict[str, int]

    def by_name(self) -> dict[str, float]:
        """Return the figures that goals are about."""
        return {f"{one.row.operation}/to_{loop}": one.to(loop) for one in self.measured for loop in LOOPS}


def measure(load: Load) -> TpmFigures:
    """Measure the provider with swtpm.

    Raises:
        UnavailableError: Something that is needed is not there.
    """
    ready = [_time_to_ready() for _ in range(load.runs)]
    measured = []
    with TpmService(tables=QUIET) as harness, Swtpm() as other:
        service = harness.service
        caller = wire.Caller(os.geteuid(), provider=PROVIDER)
        wanted = requests(service.socket_path, caller, BARE)
        names = {**names_of(service), harness.swtpm.pid: "swtpm"}
        for name, request in wanted.items():
            row = load.row(f"{PREFIX}{name}", service.socket_path, request.to_bytes(), names)
            measured.append(Measured(row, _bare(load, other, BARE[name])))
        return TpmFigures(ready, measured, memory_of(service))


def report(figures: TpmFigures) -> str:
    """Return what the service makes of the TPM, in Markdown."""
    most = CLIENTS[-1]
    head = ["operation", "p50 ms", *(f"req/s {clients} cl." for clients in (1, most))]
    head += [f"{title} /s" for title in LOOPS.values()]
    lines = markdown_head([*head, f"{most} cl. to password", f"{most} cl. to Parsec's way"])
    for one in figures.measured:
        rates = (one.row.rates[1], one.row.rates[most], *(one.bare[loop].rate for loop in LOOPS))
        ratios = (one.to("password"), one.to("reference"))
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


def _bare(load: Load, tpm: Swtpm, operation: str) -> dict[str, Bare]:
    words = [sys.executable, "-m", "tests.tools.tpm_floor", str(tpm.address), operation]
    found = output_of([*words, str(load.seconds), str(load.runs)])
    return {loop: Bare(**found[loop]) for loop in LOOPS}


def _time_to_ready() -> float:
    """Return what `time_to_ready` does, of a service whose TPM goes after it."""
    with TpmService(tables=QUIET) as harness:
        wire.call(harness.service.socket_path, wire.Request())
        return harness.service.ready_s
