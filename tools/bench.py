"""Measure the service: latency, rate, processor time and memory of each process, time to start.

`./dev bench [--json FILE] [--seconds S] [--runs N] [--tpm | --growth]`
`./dev bench --against FOLDER [--json FILE] [--seconds S] [--runs N]`
`./dev bench --fairness [--only NAME]... [--checkout FOLDER] [--json FILE] [--seconds S] [--runs N]`

The hot loop is parsec_load.c, one connection per request, in C so that the client costs less than the service. It is
looked for beside the checkout and in COFFERDAM_LAB. Every figure is the median of the runs. Goals that are missed are
said to be missed; the exit status tells only whether everything could be measured.

With --tpm nothing is measured but the TPM provider, with --growth nothing but signatures by a token with ever more
keys, which takes minutes. With --fairness, what a client notices while others attack is measured, with --against this
checkout beside another in alternating rounds, and nothing else.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tests.harness import wire
from tests.harness.service import Service
from tools import attacks, bench_against, bench_fairness, bench_growth, bench_token, bench_tpm, fairness_report
from tools.measure import (
    CLIENTS,
    QUIET,
    Load,
    Row,
    UnavailableError,
    cc,
    markdown,
    markdown_head,
    megabytes,
    memory_of,
    names_of,
    requests,
    time_to_ready,
)

_RUN_S: Final = 1.0
_FAIRNESS_S: Final = 0.7


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal: a figure and its bound."""

    name: str
    figure: str
    limit: float
    unit: str
    at_most: bool

    def is_met(self, value: float) -> bool:
        """Tell whether a measured value reaches the goal."""
        return value <= self.limit if self.at_most else value >= self.limit


GOALS: Final = (
    Goal("ping, p50 with 1 client", "ping/p50_ms", 0.10, "ms", at_most=True),
    Goal("ECDSA P-256 sign, p50 with 1 client", "sign ECDSA P-256/p50_ms", 0.20, "ms", at_most=True),
    Goal("ping with 16 clients", "ping/rate_16", 25_000, "requests/s", at_most=False),
    Goal("ECDSA P-256 sign with 16 clients", "sign ECDSA P-256/rate_16", 12_000, "requests/s", at_most=False),
    Goal("from execution to serving", "ready_s", 0.5, "s", at_most=True),
    Goal("PSS of the largest process", "largest_pss_mb", 25, "MB", at_most=True),
    *(
        Goal(f"{name}, p50 with 1 client above the bare call", f"{name}/above_ms", 0.15, "ms", at_most=True)
        for name in map(bench_token.PREFIX.__add__, bench_token.BARE)
    ),
    Goal(
        f"{bench_token.PREFIX}sign ECDSA P-256 with 16 clients",
        f"{bench_token.PREFIX}sign ECDSA P-256/rate_16",
        8000,
        "requests/s",
        at_most=False,
    ),
    Goal(
        f"{bench_tpm.PREFIX}sign ECDSA P-256, 16 clients to a bare loop",
        f"{bench_tpm.PREFIX}sign ECDSA P-256/to_password",
        0.8,
        "",
        at_most=False,
    ),
    Goal(
        f"{bench_tpm.PREFIX}sign ECDSA P-256, 16 clients to Parsec's way",
        f"{bench_tpm.PREFIX}sign ECDSA P-256/to_reference",
        10,
        "",
        at_most=False,
    ),
)


def main() -> int:
    """Measure, print tables in Markdown, and write the figures."""
    arguments = _arguments()
    # SIGTERM, too, has to end the processes that were started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    before = _stolen()
    try:
        with tempfile.TemporaryDirectory(prefix="cofferdam-bench-") as folder:
            seconds = arguments.seconds or (_FAIRNESS_S if arguments.fairness else _RUN_S)
            load = Load(folder, seconds, arguments.runs)
            document = _measured(arguments, load)
    except UnavailableError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    after = _stolen()
    stolen = (after[0] - before[0]) / max(1, after[1] - before[1])
    print(f"\nThe hypervisor kept {stolen:.0%} of the processor time.")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps({"machine": _machine(), **document}, indent=1) + "\n")
    return 0


def _measured(arguments: argparse.Namespace, load: Load) -> dict[str, object]:
    if arguments.fairness:
        return _fairness(load, arguments.only, arguments.checkout)
    if arguments.against:
        return _against(load, arguments.against)
    return _growth(load) if arguments.growth else _tpm(load) if arguments.tpm else _all(load)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    parser.add_argument("--seconds", type=float, help="length of one run (default: 1; with --fairness 0.7)")
    parser.add_argument("--runs", type=int, default=3, help="runs per figure (default: 3)")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--tpm", action="store_true", help="measure the TPM provider, and nothing else")
    only.add_argument("--growth", action="store_true", help="measure a token with ever more keys, and nothing else")
    only.add_argument("--fairness", action="store_true", help="measure clients under attack, and nothing else")
    only.add_argument("--against", metavar="FOLDER", type=Path, help="measure this checkout beside another")
    parser.add_argument("--only", action="append", choices=attacks.NAMES, help="this attack, instead of all")
    parser.add_argument("--checkout", metavar="FOLDER", type=Path, help="measure the service of another checkout")
    return parser.parse_args()


def _all(load: Load) -> dict[str, object]:
    load.compile()
    ready = [time_to_ready(_start) for _ in range(load.runs)]
    with Service(tables=QUIET) as service:
        wanted = {"ping": wire.Request(), **requests(service.socket_path, wire.Caller(os.geteuid()))}
        rows = [
            load.row(name, service.socket_path, request.to_bytes(), names_of(service))
            for name, request in wanted.items()
        ]
        memory = memory_of(service)
    floor = _floor(load)
    token = bench_token.measure(load)
    tpm = bench_tpm.measure(load)
    rows = [*rows, floor, *(one.row for one in token.measured), *(one.row for one in tpm.measured)]
    processes = {**memory, **{f"{role} with a token": size for role, size in token.pss_kb.items()}}
    processes |= {f"{role} with a TPM": size for role, size in tpm.pss_kb.items()}
    figures = _figures(rows, statistics.median(ready), memory) | token.by_name() | tpm.by_name()
    print(_report(rows, processes))
    print(f"\n{bench_token.report(token)}\n\n{bench_tpm.report(tpm)}\n")
    print(f"From execution to serving: {_seconds(ready)}; with a token: {_seconds(token.ready_s)}; ", end="")
    print(f"with a TPM: {_seconds(tpm.ready_s)}\n")
    print(_verdicts(figures))
    ratio = figures["ping/rate_16"] / floor.rates[CLIENTS[-1]]
    print(f"\nPings with {CLIENTS[-1]} clients, service to bare loop: {ratio:.2f}.")
    return {
        "ready_s": ready,
        "pss_kb": memory,
        "operations": [asdict(row) for row in rows],
        "token": asdict(token),
        "tpm": asdict(tpm),
    }


def _growth(load: Load) -> dict[str, object]:
    rows = bench_growth.measure(load)
    print(f"{_machine()}.\n\n{bench_growth.report(rows)}")
    return {"growth": [asdict(row) for row in rows]}


def _against(load: Load, checkout: Path) -> dict[str, object]:
    load.compile()
    rows = bench_against.measure(load, checkout)
    print(f"{_machine()}.\n\n{bench_against.report(rows)}")
    return {"against": [asdict(row) for row in rows]}


def _fairness(load: Load, chosen: Sequence[str] | None, checkout: Path | None) -> dict[str, object]:
    figures = bench_fairness.measure(load.folder, load.seconds, load.runs, chosen or (), checkout)
    print(f"{_machine()}.\n\n{fairness_report.report(figures)}")
    return {"fairness": asdict(figures)}


def _tpm(load: Load) -> dict[str, object]:
    load.compile()
    figures = bench_tpm.measure(load)
    print(_report([one.row for one in figures.measured], figures.pss_kb))
    print(f"\n{bench_tpm.report(figures)}\n\nFrom execution to serving: {_seconds(figures.ready_s)}\n")
    found = figures.by_name()
    print(_verdicts(found, [goal for goal in GOALS if goal.figure in found]))
    return {"tpm": asdict(figures)}


def _start() -> Service:
    service = Service(tables=QUIET)
    service.__enter__()
    return service


def _floor(load: Load) -> Row:
    """Measure a ping that is answered by nothing but a loop in C: what machine and client allow at this moment."""
    program, path = os.path.join(load.folder, "floor"), os.path.join(load.folder, "floor.sock")
    cc(Path(__file__).with_name("floor.c"), program)
    with subprocess.Popen([program, path]) as server:
        try:
            while not os.path.exists(path):
                if server.poll() is not None:
                    raise UnavailableError("the floor does not start")
                time.sleep(0.01)
            return load.row("(ping, a bare loop in C)", path, wire.Request().to_bytes(), {server.pid: "server"})
        finally:
            server.kill()


def _stolen() -> tuple[int, int]:
    """Return the ticks that a hypervisor kept from this machine, and all ticks (proc_stat(5))."""
    with open("/proc/stat") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    return ticks[7], sum(ticks)


def _figures(rows: Sequence[Row], ready: float, memory: Mapping[str, int]) -> dict[str, float]:
    figures = {"ready_s": ready}
    if memory:
        figures["largest_pss_mb"] = max(memory.values()) * 1024 / 1e6
    for row in rows:
        figures[f"{row.operation}/p50_ms"] = row.p50_ms
        figures |= {f"{row.operation}/rate_{clients}": rate for clients, rate in row.rates.items()}
    return figures


def _machine() -> str:
    return f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"


def _report(rows: Sequence[Row], memory: Mapping[str, int]) -> str:
    roles = list(dict.fromkeys(role for row in rows for role in row.cpu_us))
    head = ["operation", "p50 ms", "p99 ms", *(f"req/s {n} cl." for n in CLIENTS), *(f"{role} µs" for role in roles)]
    lines = [f"{_machine()}. Processor time is per request, with {CLIENTS[-1]} clients.", "", *markdown_head(head)]
    for row in rows:
        rates = [f"{row.rates[clients]:,.0f}" for clients in CLIENTS]
        costs = [f"{row.cpu_us.get(role, 0):.0f}" for role in roles]
        lines.append(markdown([row.operation, f"{row.p50_ms:.3f}", f"{row.p99_ms:.3f}", *rates, *costs]))
    lines += ["", *markdown_head(["process", "PSS MB"])] if memory else ["", "Memory is measured as root only."]
    lines += [markdown([name, megabytes(size)]) for name, size in memory.items()]
    return "\n".join(lines)


def _seconds(times: Sequence[float]) -> str:
    return f"{', '.join(f'{seconds:.3f}' for seconds in times)} s"


def _verdicts(figures: Mapping[str, float], goals: Sequence[Goal] = GOALS) -> str:
    lines = markdown_head(["goal", "limit", "measured", ""])
    for goal in goals:
        value = figures.get(goal.figure)
        limit = f"{'≤' if goal.at_most else '≥'} {goal.limit:g} {goal.unit}".strip()
        verdict = "not measured" if value is None else "met" if goal.is_met(value) else "not met"
        lines.append(markdown([goal.name, limit, "" if value is None else f"{value:.5g}", verdict]))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
