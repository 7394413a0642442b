"""The PKCS#11 part of `./dev bench`: the service with SoftHSM, beside SoftHSM itself without a service.

What the module itself costs is measured in a process of its own, with one thread and a token of its own: a bare loop in
C (pkcs11_floor.c), and one through python-pkcs11 (pkcs11_floor.py).
"""

import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.harness import wire
from tests.harness.pkcs11.service import PROVIDER, TokenService
from tests.harness.pkcs11.token import Token, softhsm
from tests.harness.service import Service
from tools.measure import (
    CLIENTS,
    QUIET,
    Load,
    Row,
    cc,
    markdown,
    markdown_head,
    memory_of,
    names_of,
    output_of,
    requests,
    time_to_ready,
)

PREFIX: Final = "PKCS#11: "
BARE: Final[Mapping[str, str]] = {
    "sign ECDSA P-256": "ecdsa-sign",
    "verify ECDSA P-256": "ecdsa-verify",
    "sign RSA-2048": "rsa-sign",
    "encrypt AES-256-GCM, 1 KiB": "gcm-encrypt",
    "32 random bytes": "random",
}
"""What the two loops call the operations."""
_HERE: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Bare:
    """One operation in a loop without a service."""

    p50_ms: float
    rate: float


@dataclass(frozen=True, slots=True)
class Measured:
    """An operation of the service, and what it costs without one."""

    row: Row
    c: Bare
    python: Bare

    @property
    def above_ms(self) -> float:
        """Return what one client waits for beyond the module."""
        return self.row.p50_ms - self.c.p50_ms

    @property
    def of_bare(self) -> float:
        """Return the rate with many clients as a part of that of the loop in C."""
        return self.row.rates[CLIENTS[-1]] / self.c.rate


@dataclass(frozen=True, slots=True)
class TokenFigures:
    """All figures of the provider."""

    ready_s: list[float]
    measured: list[Measured]
    pss_kb: dict[str, int]

    def by_name(self) -> dict[str, float]:
        """Return the figures that goals are about."""
        figures: dict[str, float] = {}
        for one in self.measured:
            name = one.row.operation
            figures |= {f"{name}/above_ms": one.above_ms, f"{name}/of_bare": one.of_bare}
        return figures


def measure(load: Load) -> TokenFigures:
    """Measure the provider with SoftHSM.

    Raises:
        UnavailableError: Something that is needed is not there.
    """
    program = os.path.join(load.folder, "pkcs11_floor")
    cc(_HERE / "pkcs11_floor.c", program)
    token = softhsm(Path(load.folder, "token"))
    ready = [time_to_ready(_start) for _ in range(load.runs)]
    measured = []
    with TokenService(alone=True, tables=QUIET) as harness:
        service = harness.service
        for name, request in requests(service.socket_path, wire.Caller(os.geteuid(), provider=PROVIDER)).items():
            row = load.row(f"{PREFIX}{name}", service.socket_path, request.to_bytes(), names_of(service))
            c = _bare(load, token, [program], BARE[name])
            python = _bare(load, token, [sys.executable, "-I", str(_HERE / "pkcs11_floor.py")], BARE[name])
            measured.append(Measured(row, c, python))
        return TokenFigures(ready, measured, memory_of(service))


def report(figures: TokenFigures) -> str:
    """Return what the service adds to the module, in Markdown."""
    most = CLIENTS[-1]
    head = ["operation", "p50 ms", "bare C ms", "python-pkcs11 ms", "above bare C, ms", f"req/s {most} cl."]
    lines = markdown_head([*head, "bare C /s", "python-pkcs11 /s", "part of bare C"])
    for one in figures.measured:
        waits = (one.row.p50_ms, one.c.p50_ms, one.python.p50_ms, one.above_ms)
        rates = (one.row.rates[most], one.c.rate, one.python.rate)
        cells = [*(f"{value:.3f}" for value in waits), *(f"{value:,.0f}" for value in rates), f"{one.of_bare:.2f}"]
        lines.append(markdown([one.row.operation, *cells]))
    return "\n".join(lines)


def _start() -> Service:
    harness = TokenService(alone=True, tables=QUIET)
    harness.__enter__()
    return harness.service


def _bare(load: Load, token: Token, program: Sequence[str], operation: str) -> Bare:
    words = [*program, str(token.library), str(token.slot), token.pin, operation, str(load.seconds)]
    runs = [output_of(words, token.environment) for _ in range(load.runs)]
    return Bare(
        p50_ms=statistics.median(run["p50_us"] for run in runs) / 1000,
        rate=statistics.median(run["rate"] for run in runs),
    )
