"""What the parts of `./dev bench` share: programs in C, the figures of one operation, tables in Markdown."""

import hashlib
import json
import os
import statistics
import subprocess
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.harness import wire
from tests.harness.configuration import Tables
from tests.harness.lab import LabMissingError, lab_file
from tests.harness.service import Service

CLIENTS: Final = (1, 4, 16)
QUIET: Final[Tables] = {"core_settings": {"log_level": "warn"}}
"""What a service under measurement logs."""
DIGEST: Final = hashlib.sha256(b"a message").digest()
_WARM_UP_S: Final = 0.2
_CIPHER: Final = "encrypt AES-256-GCM, 1 KiB"
"""An operation that not all providers have."""


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

    folder: str
    """Where the generator is, and what else is compiled."""
    seconds: float
    runs: int

    def compile(self) -> None:
        """Compile the generator.

        Raises:
            UnavailableError: It is missing, or cannot be compiled.
        """
        try:
            source = lab_file("parsec_load.c")
        except LabMissingError as error:
            raise UnavailableError(str(error)) from error
        cc(source, self._program)

    def row(self, name: str, path: str, request: bytes, names: Mapping[int, str]) -> Row:
        """Measure one request at a socket, and the processes behind it, by process id."""
        runs = {clients: [self.run(path, request, names, clients) for _ in range(self.runs)] for clients in CLIENTS}
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

    def run(self, path: str, request: bytes, processes: Iterable[int], clients: int) -> dict[str, Any]:  # JSON
        """Replay a request from some clients at once; return what the generator says, also of these processes."""
        file = Path(self.folder, "request")
        file.write_bytes(request)
        watched = [word for pid in processes for word in ("-P", str(pid))]
        words = [self._program, "-s", path, "-f", str(file), "-t", str(clients)]
        return output_of([*words, "-d", str(self.seconds), "-w", str(_WARM_UP_S), *watched])

    @property
    def _program(self) -> str:
        return os.path.join(self.folder, "parsec_load")


def cc(source: Path, program: str) -> None:
    """Compile a program.

    Raises:
        UnavailableError: It cannot be compiled.
    """
    words = [os.environ.get("CC", "cc"), "-O2", "-pthread", "-o", program, str(source), "-ldl"]
    try:
        subprocess.run(words, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UnavailableError(f"{source.name} cannot be compiled: {error}") from error


def output_of(words: Sequence[str], environment: Mapping[str, str] | None = None) -> dict[str, Any]:  # JSON
    """Run a program that prints JSON.

    Raises:
        UnavailableError: It fails.
    """
    done = subprocess.run(words, check=False, capture_output=True, text=True, env={**os.environ, **(environment or {})})
    if done.returncode:
        raise UnavailableError(f"{os.path.basename(words[0])} failed: {done.stderr or done.stdout}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def requests(path: str, caller: wire.Caller, wanted: Collection[str] = ()) -> dict[str, wire.Request]:
    """Make the keys that the operations need, and return the operations, each tried once.

    Args:
        path: Of the service's socket.
        caller: Whose keys they are, and in which provider.
        wanted: Names of operations, in place of all.

    Raises:
        UnavailableError: An operation fails.
    """

    def done(request: wire.Request) -> wire.Response:
        response = wire.call(path, request)
        if response.status:
            raise UnavailableError(f"operation {request.opcode} fails with status {response.status}")
        return response

    keys = {"ecc": wire.P256_SIGN, "rsa": wire.RSA_SIGN}
    if not wanted or _CIPHER in wanted:
        keys["aes"] = wire.AES_256_GCM
    for name, attributes in keys.items():
        done(caller.generate(name, attributes))
    sign = caller.sign("ecc", wire.ECDSA_SHA_256, DIGEST)
    signature = wire.first_blob(done(sign).body)
    found = {
        "sign ECDSA P-256": sign,
        "verify ECDSA P-256": caller.verify("ecc", wire.ECDSA_SHA_256, DIGEST, signature),
        "sign RSA-2048": caller.sign("rsa", wire.RSA_SIGN_SHA_256, DIGEST),
        _CIPHER: caller.encrypt_aead("aes", bytes(12), bytes(1024)),
        "32 random bytes": caller.random(32),
    }
    found = {name: request for name, request in found.items() if not wanted or name in wanted}
    for request in found.values():
        done(request)
    return found


def time_to_ready(start: Callable[[], Service]) -> float:
    """Return the seconds from the execution of a service to its first answer, and close it."""
    service = start()
    try:
        wire.call(service.socket_path, wire.Request())
        return service.ready_s
    finally:
        service.close()


def names_of(service: Service) -> dict[int, str]:
    """Return what the processes are called; of the frontends, only the one of this uid."""
    rows = [
        row
        for row in service.status()["processes"]
        if not row["role"].startswith("frontend") or row["principal"] is not None
    ]
    return {service.pid: "broker", **{row["pid"]: row["role"].partition("[")[0] for row in rows}}


def memory_of(service: Service) -> dict[str, int]:
    """Return the proportional set size of every process in KiB; only root may read it of confined processes."""
    sizes: dict[str, int] = {}
    if os.geteuid():
        return sizes
    for pid, name in names_of(service).items():
        with open(f"/proc/{pid}/smaps_rollup") as file:
            sizes[name] = next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    return sizes


def megabytes(kibibytes: int) -> str:
    """Return a size of /proc in words."""
    return f"{kibibytes * 1024 / 1e6:.1f}"


def markdown(cells: Sequence[str]) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(cells)} |"


def markdown_head(cells: Sequence[str]) -> list[str]:
    """Return the first two lines of a table."""
    return [markdown(cells), markdown(["---"] * len(cells))]
