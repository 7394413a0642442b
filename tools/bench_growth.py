"""`./dev bench --growth`: the cost of signatures as a token holds more and more keys, which are used in turn.

The keys are the service's own, made through it. For each number of keys the service is started anew, so that the first
use of a key is one: it asks the key store, and looks the key up among what the worker has listed of the token.
"""

import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.harness import wire
from tests.harness.pkcs11.service import PROVIDER, TokenService
from tests.harness.service import Service
from tools.measure import (
    CLIENTS,
    DIGEST,
    QUIET,
    Load,
    cc,
    markdown,
    markdown_head,
    megabytes,
    memory_of,
    names_of,
    output_of,
)

KEYS: Final = (10, 100, 1000, 5000)
_MAKERS: Final = 4


@dataclass(frozen=True, slots=True)
class Size:
    """The figures with one number of keys."""

    keys: int
    made_s: float
    """Duration of the generation of the keys added since the previous size."""
    ready_s: list[float]
    first_p50_ms: float
    """Of every key's first use after a start."""
    p50_ms: float
    rate: float
    """Requests per second with 16 clients."""
    cpu_us: dict[str, float]
    """Processor time per request with 16 clients."""
    pss_kb: dict[str, int]


def measure(load: Load) -> list[Size]:
    """Measure one token as it fills.

    Raises:
        UnavailableError: Something that is needed is not there.
    """
    cc(Path(__file__).with_name("keys_in_turn.c"), _program(load))
    caller = wire.Caller(os.geteuid(), provider=PROVIDER)
    sizes = []
    with TokenService(alone=True, tables=QUIET) as harness:
        service, there = harness.service, 0
        for keys in KEYS:
            before = time.monotonic()
            _send(load, service, [caller.generate(f"key {n}", wire.P256_SIGN) for n in range(there, keys)], _MAKERS)
            made_s, there = time.monotonic() - before, keys
            ready = [_restart(service) for _ in range(load.runs)]
            sizes.append(_size(load, service, caller, (keys, made_s, ready)))
            print(f"{keys} keys are measured", file=sys.stderr, flush=True)
    return sizes


def report(sizes: Sequence[Size]) -> str:
    """Return the figures in Markdown."""
    roles = list(dict.fromkeys(role for size in sizes for role in size.cpu_us))
    head = ["keys", "first use p50 ms", "p50 ms", f"req/s {CLIENTS[-1]} cl.", *(f"{role} µs" for role in roles)]
    lines = markdown_head([*head, "ready s", "worker PSS MB", "kim PSS MB", "made in s"])
    for size in sizes:
        costs = [f"{size.cpu_us[role]:.0f}" for role in roles]
        memory = [megabytes(size.pss_kb[role]) if role in size.pss_kb else "" for role in ("worker", "kim")]
        ready = f"{statistics.median(size.ready_s):.2f}"
        figures = [f"{size.first_p50_ms:.3f}", f"{size.p50_ms:.3f}", f"{size.rate:,.0f}", *costs, ready, *memory]
        lines.append(markdown([f"{size.keys:,}", *figures, f"{size.made_s:.0f}"]))
    return "\n".join(lines)


def _size(load: Load, service: Service, caller: wire.Caller, made: tuple[int, float, list[float]]) -> Size:
    signs = [caller.sign(f"key {n}", wire.ECDSA_SHA_256, DIGEST) for n in range(made[0])]
    first = _send(load, service, signs, 1)
    one = [_send(load, service, signs, 1, load.seconds) for _ in range(load.runs)]
    names = names_of(service)
    before = _cpu(names)
    many = [_send(load, service, signs, CLIENTS[-1], load.seconds) for _ in range(load.runs)]
    after = _cpu(names)
    sent = sum(run["requests"] for run in many)
    return Size(
        *made,
        first_p50_ms=first["p50_us"] / 1000,
        p50_ms=statistics.median(run["p50_us"] for run in one) / 1000,
        rate=statistics.median(run["rate"] for run in many),
        cpu_us={name: (after[name] - before[name]) * 1e6 / sent for name in before},
        pss_kb=memory_of(service),
    )


def _restart(service: Service) -> float:
    service.stop()
    service.start()
    return service.ready_s


def _program(load: Load) -> str:
    return os.path.join(load.folder, "keys_in_turn")


def _send(
    load: Load, service: Service, requests: Sequence[wire.Request], clients: int, seconds: float = 0.0
) -> dict[str, Any]:  # the program's JSON
    """Send requests in turn for a time, or each of them once."""
    path = Path(load.folder, "requests")
    path.write_bytes(b"".join(request.to_bytes() for request in requests))
    return output_of([_program(load), service.socket_path, str(path), str(clients), str(seconds)])


def _cpu(names: Mapping[int, str]) -> dict[str, float]:
    """Return the seconds of processor time of each process (clock_getcpuclockid(3))."""
    return {name: time.clock_gettime(~pid << 3 | 2) for pid, name in names.items()}
