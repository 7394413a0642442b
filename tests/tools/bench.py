"""Measure the service: latency, rate, processor time and memory of each process, time to start.

`./dev bench [--json FILE] [--seconds S] [--runs N]`

The hot loop is parsec_load.c, one connection per request, in C so that the client costs less than the service. It is
looked for beside the checkout and in COFFERDAM_LAB. Every figure is the median of the runs. Goals that are missed are
said to be missed; the exit status tells only whether everything could be measured.
"""

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tests.harness import wire
from tests.harness.lab import LabMissingError, lab_file
from tests.harness.service import Service

CLIENTS: Final = (1, 4, 16)
_MESSAGE: Final = hashlib.sha256(b"a message").digest()
_WARM_UP_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure to reach."""

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
)


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one operation; processor time is per request, with 16 clients."""

    operation: str
    p50_ms: float
    p99_ms: float
    rates: dict[int, float]
    cpu_us: dict[str, float]


class UnavailableError(Exception):
    """Raised when something that a measurement needs is not there; the text says what."""


@dataclass(frozen=True, slots=True)
class Load:
    """The load generator, and how long and how often it runs for a figure."""

    program: str
    request_path: str
    seconds: float
    runs: int

    def run(self, path: str, processes: Iterable[int], clients: int) -> dict[str, Any]:  # the generator's JSON
        """Replay the request from some clients at once."""
        watched = [word for pid in processes for word in ("-P", str(pid))]
        words = [self.program, "-s", path, "-f", self.request_path, "-t", str(clients)]
        words += ["-d", str(self.seconds), "-w", str(_WARM_UP_S), *watched]
        done = subprocess.run(words, check=False, capture_output=True, text=True)
        if done.returncode:
            raise UnavailableError(f"parsec_load failed: {done.stderr or done.stdout}")
        result: dict[str, Any] = json.loads(done.stdout)
        return result


def main() -> int:
    """Measure, print a table in Markdown, and write the figures."""
    arguments = _arguments()
    try:
        with tempfile.TemporaryDirectory(prefix="cofferdam-bench-") as folder:
            load = Load(_compile(folder), os.path.join(folder, "request"), arguments.seconds, arguments.runs)
            before = _stolen()
            ready = [_time_to_ready() for _ in range(arguments.runs)]
            with Service(tables={"core_settings": {"log_level": "warn"}}) as service:
                rows = [_measure(service, load, *operation) for operation in _operations(service).items()]
                memory = _memory(service)
            rows.append(_floor(load, folder))
            after = _stolen()
    except UnavailableError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    figures = _figures(rows, statistics.median(ready), memory)
    print(_report(rows, ready, memory, figures))
    stolen = (after[0] - before[0]) / max(1, after[1] - before[1])
    ratio = figures["ping/rate_16"] / rows[-1].rates[CLIENTS[-1]]
    print(f"\nThe hypervisor kept {stolen:.0%} of the processor time.")
    print(f"Pings with {CLIENTS[-1]} clients, service to bare loop: {ratio:.2f}.")
    if arguments.json:
        operations = [asdict(row) for row in rows]
        document = {"machine": _machine(), "ready_s": ready, "pss_kb": memory, "operations": operations}
        Path(arguments.json).write_text(json.dumps(document, indent=1) + "\n")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of one run (default: 1)")
    parser.add_argument("--runs", type=int, default=3, help="runs per figure (default: 3)")
    return parser.parse_args()


def _compile(folder: str) -> str:
    try:
        source = lab_file("parsec_load.c")
    except LabMissingError as error:
        raise UnavailableError(str(error)) from error
    program = os.path.join(folder, "parsec_load")
    _cc(source, program)
    return program


def _cc(source: Path, program: str) -> None:
    try:
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-pthread", "-o", program, str(source)], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UnavailableError(f"{source.name} cannot be compiled: {error}") from error


def _time_to_ready() -> float:
    with Service(tables={"core_settings": {"log_level": "warn"}}) as service:
        wire.call(service.socket_path, wire.Request())
        return service.ready_s


def _operations(service: Service) -> dict[str, bytes]:
    """Make the keys that the requests need, and return the requests."""
    caller = wire.Caller(os.geteuid())

    def done(request: wire.Request) -> wire.Response:
        response = wire.call(service.socket_path, request)
        if response.status:
            raise UnavailableError(f"operation {request.opcode} fails with status {response.status}")
        return response

    for name, attributes in {"ecc": wire.P256_SIGN, "rsa": wire.RSA_SIGN, "aes": wire.AES_256_GCM}.items():
        done(caller.generate(name, attributes))
    sign = caller.sign("ecc", wire.ECDSA_SHA_256, _MESSAGE)
    signature = wire.first_blob(done(sign).body)
    requests = {
        "ping": wire.Request(),
        "sign ECDSA P-256": sign,
        "verify ECDSA P-256": caller.verify("ecc", wire.ECDSA_SHA_256, _MESSAGE, signature),
        "sign RSA-2048": caller.sign("rsa", wire.RSA_SIGN_SHA_256, _MESSAGE),
        "encrypt AES-256-GCM, 1 KiB": caller.encrypt_aead("aes", bytes(12), bytes(1024)),
        "32 random bytes": caller.random(32),
    }
    for request in requests.values():
        done(request)
    return {name: request.to_bytes() for name, request in requests.items()}


def _measure(service: Service, load: Load, name: str, request: bytes) -> Row:
    Path(load.request_path).write_bytes(request)
    return _row(load, name, service.socket_path, _names(service))


def _row(load: Load, name: str, path: str, names: Mapping[int, str]) -> Row:
    runs = {clients: [load.run(path, names, clients) for _ in range(load.runs)] for clients in CLIENTS}
    most = runs[CLIENTS[-1]]
    return Row(
        operation=name,
        p50_ms=statistics.median(run["latency"]["p50_us"] for run in runs[1]) / 1000,
        p99_ms=statistics.median(run["latency"]["p99_us"] for run in runs[1]) / 1000,
        rates={clients: statistics.median(run["rate"] for run in found) for clients, found in runs.items()},
        cpu_us={
            names.get(row["pid"], "?"): statistics.median(run["procs"][index]["cpu_us_per_req"] for run in most)
            for index, row in enumerate(most[0]["procs"])
        }
        | {"client": statistics.median(run["client_cpu_us_per_req"] for run in most)},
    )


def _floor(load: Load, folder: str) -> Row:
    """Measure a ping that is answered by nothing but a loop in C: what machine and client allow at this moment."""
    program, path = os.path.join(folder, "floor"), os.path.join(folder, "floor.sock")
    _cc(Path(__file__).with_name("floor.c"), program)
    Path(load.request_path).write_bytes(wire.Request().to_bytes())
    with subprocess.Popen([program, path]) as server:
        try:
            while not os.path.exists(path):
                if server.poll() is not None:
                    raise UnavailableError("the floor does not start")
                time.sleep(0.01)
            return _row(load, "(ping, a bare loop in C)", path, {server.pid: "server"})
        finally:
            server.kill()


def _stolen() -> tuple[int, int]:
    """Return the ticks that a hypervisor kept from this machine, and all ticks (proc_stat(5))."""
    with open("/proc/stat") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    return ticks[7], sum(ticks)


def _names(service: Service) -> dict[int, str]:
    """Return what the processes are called; of the frontends, only the one of this uid."""
    rows = [
        row
        for row in service.status()["processes"]
        if not row["role"].startswith("frontend") or row["principal"] is not None
    ]
    return {service.pid: "broker", **{row["pid"]: row["role"].partition("[")[0] for row in rows}}


def _memory(service: Service) -> dict[str, int]:
    """Return the proportional set size of every process in KiB; only root may read it of confined processes."""
    sizes: dict[str, int] = {}
    if os.geteuid():
        return sizes
    for pid, name in _names(service).items():
        with open(f"/proc/{pid}/smaps_rollup") as file:
            sizes[name] = next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    return sizes


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


def _report(
    rows: Sequence[Row], ready: Sequence[float], memory: Mapping[str, int], figures: Mapping[str, float]
) -> str:
    roles = list(dict.fromkeys(role for row in rows for role in row.cpu_us))
    head = ["operation", "p50 ms", "p99 ms", *(f"req/s {n} cl." for n in CLIENTS), *(f"{role} µs" for role in roles)]
    lines = [f"{_machine()}. Processor time is per request, with {CLIENTS[-1]} clients.", "", *_markdown_head(head)]
    for row in rows:
        rates = [f"{row.rates[clients]:,.0f}" for clients in CLIENTS]
        costs = [f"{row.cpu_us.get(role, 0):.0f}" for role in roles]
        lines.append(_markdown([row.operation, f"{row.p50_ms:.3f}", f"{row.p99_ms:.3f}", *rates, *costs]))
    lines += ["", *_markdown_head(["process", "PSS MB"])] if memory else ["", "Memory is measured as root only."]
    lines += [_markdown([name, f"{size * 1024 / 1e6:.1f}"]) for name, size in memory.items()]
    lines += ["", f"From execution to serving: {', '.join(f'{seconds:.3f}' for seconds in ready)} s", ""]
    lines += _markdown_head(["goal", "limit", "measured", ""])
    for goal in GOALS:
        value = figures.get(goal.figure)
        limit = f"{'≤' if goal.at_most else '≥'} {goal.limit:g} {goal.unit}"
        verdict = "not measured" if value is None else "met" if goal.is_met(value) else "not met"
        lines.append(_markdown([goal.name, limit, "" if value is None else f"{value:.5g}", verdict]))
    return "\n".join(lines)


def _markdown(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_head(cells: Sequence[str]) -> list[str]:
    return [_markdown(cells), _markdown(["---"] * len(cells))]


if __name__ == "__main__":
    sys.exit(main())
