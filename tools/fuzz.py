"""Feed malformed requests to a running service, or random bytes to its decoders.

`./dev fuzz [--count N] [--seed N]`: N malformed requests (default: a million) over the socket. Each has to get exactly
the answer that the protocol has for it, while another client is served all along; afterwards every process has to be
the one it was, with as many descriptors and as much memory.

`./dev fuzz --decoders SECONDS [--target NAME]`: every decoder for so long under atheris, which looks for input that
takes new ways through it. Anything but a value or the documented error ends the run.
"""

import argparse
import hashlib
import itertools
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from typing import Final

from tests.harness import malformed, wire
from tests.harness.service import Service
from tests.harness.watch import Holdings, drifts, holdings

WARM_UP: Final = 20_000
"""Requests after which memory has to have settled, at most a tenth of all."""
MEMORY_GROWTH: Final = 0.05
MEMORY_SLACK_KB: Final = 512
_SETTLE_S: Final = 5.0
_PAUSE_S: Final = 0.02
_MAX_COMPLAINTS: Final = 20
_PROGRESS: Final = 50_000


class Bystander(threading.Thread):
    """A client that behaves, and writes down how it fares."""

    def __init__(self, path: str, caller: wire.Caller) -> None:
        super().__init__(daemon=True)
        digest = hashlib.sha256(b"bystander").digest()
        self._requests = [wire.Request(), caller.sign("bystander", wire.ECDSA_SHA_256, digest), caller.random(32)]
        self._path = path
        self._done = threading.Event()
        self.waits: list[float] = []
        self.failures: list[str] = []

    def run(self) -> None:
        """Send good requests, one after the other, until told to stop."""
        for request in itertools.cycle(self._requests):
            if self._done.wait(_PAUSE_S):
                return
            started = time.monotonic()
            try:
                status = wire.call(self._path, request).status
            except (OSError, wire.BrokenResponseError) as error:
                self.failures.append(f"operation {request.opcode}: {error}")
            else:
                self.waits.append(time.monotonic() - started)
                if status:
                    self.failures.append(f"operation {request.opcode}: status {status}")

    def finish(self) -> None:
        """Stop, and wait for the end."""
        self._done.set()
        self.join()


def main() -> int:
    """Do what the command line asks for; the exit status tells whether all was well."""
    parser = argparse.ArgumentParser(prog="./dev fuzz", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=1_000_000, help="malformed requests to send (default: 1000000)")
    parser.add_argument("--seed", type=int, default=None, help="to repeat a run (default: another each time)")
    parser.add_argument("--decoders", type=int, metavar="SECONDS", help="feed each decoder for so long instead")
    parser.add_argument("--target", help="only this decoder")
    arguments = parser.parse_args()
    if arguments.decoders is not None:
        return _run_decoders(arguments.decoders, arguments.target)
    seed = secrets.randbits(32) if arguments.seed is None else arguments.seed
    print(f"seed {seed}, {arguments.count} requests", flush=True)
    with Service(tables={"core_settings": {"log_level": "error"}}) as service:
        try:
            complaints = _attack(service, seed, arguments.count)
        except OSError as error:
            complaints = [f"the service cannot be reached any more: {error}"]
        if log := service.log():
            complaints.append(f"the service logged errors:\n{log}")
        if status := service.stop():
            complaints.append(f"the service ended with status {status}")
    for complaint in complaints[:_MAX_COMPLAINTS]:
        print(f"FAILED {complaint}")
    print(f"{len(complaints)} complaints; seed {seed}")
    return 1 if complaints else 0


def prepare(path: str, caller: wire.Caller) -> None:
    """Make the keys that the malformed requests are about, and that of the bystander."""
    for name, attributes in {**malformed.KEYS, "bystander": wire.P256_SIGN}.items():
        status = wire.call(path, caller.generate(name, attributes)).status
        if status:
            raise RuntimeError(f"key {name} cannot be made: status {status}")


def _attack(service: Service, seed: int, count: int) -> list[str]:
    caller = wire.Caller(os.geteuid())
    prepare(service.socket_path, caller)
    alone = _alone(service.socket_path, caller)
    bystander = Bystander(service.socket_path, caller)
    bystander.start()
    complaints: list[str] = []
    before: dict[int, Holdings] = {}
    warm_up = min(WARM_UP, count // 10)
    started = time.monotonic()
    for sent, case in enumerate(itertools.islice(malformed.cases(seed), count)):
        if sent == warm_up:
            before = _settled(service)
        answer, reset = wire.converse(service.socket_path, case.data, half_close=True)
        if (complaint := case.complaint(answer, reset=reset)) is not None:
            complaints.append(f"request {sent} ({case.name}): {complaint}: {case.data[:200].hex()}")
            if len(complaints) >= _MAX_COMPLAINTS:
                break
        if sent and sent % _PROGRESS == 0:
            print(f"{sent} sent, {sent / (time.monotonic() - started):.0f} a second", flush=True)
    bystander.finish()
    complaints += [f"the bystander: {failure}" for failure in bystander.failures]
    after = _settled(service)
    complaints += drifts(before or after, after, growth=MEMORY_GROWTH, slack_kb=MEMORY_SLACK_KB)
    for pid, new in after.items():
        old = before.get(pid, new)
        print(
            f"{new.role}: memory {old.resident_kb} to {new.resident_kb} KiB, descriptors {old.descriptors} to "
            f"{new.descriptors}, {new.restarts} restarts"
        )
    print(
        f"bystander: {len(bystander.waits)} requests, p50 {_quantile(bystander.waits, 0.5)}, "
        f"p99 {_quantile(bystander.waits, 0.99)}; alone p50 {_quantile(alone, 0.5)}, p99 {_quantile(alone, 0.99)}"
    )
    return complaints


def _alone(path: str, caller: wire.Caller) -> list[float]:
    """Return how long the bystander waits when nobody else is there."""
    bystander = Bystander(path, caller)
    bystander.start()
    time.sleep(2.0)
    bystander.finish()
    return bystander.waits


def _settled(service: Service) -> dict[int, Holdings]:
    """Return what the processes hold once two looks in a row find the same descriptors."""
    deadline = time.monotonic() + _SETTLE_S
    last = holdings(service)
    while True:
        time.sleep(_PAUSE_S * 10)
        now = holdings(service)
        same = {pid: found.descriptors for pid, found in now.items()} == {
            pid: found.descriptors for pid, found in last.items()
        }
        if same or time.monotonic() > deadline:
            return now
        last = now


def _quantile(waits: list[float], part: float) -> str:
    return f"{sorted(waits)[int(part * (len(waits) - 1))] * 1000:.2f} ms" if waits else "-"


def _run_decoders(seconds: int, only: str | None) -> int:
    # libFuzzer ends the process that it runs in, hence one process for each.
    words = [sys.executable, "-m", "tools.fuzz_decoders"]
    names = subprocess.run([*words, "--list"], check=True, capture_output=True, text=True).stdout.split()
    chosen = names if only is None else [only]
    failed = []
    for name in chosen:
        with tempfile.TemporaryDirectory(prefix="cofferdam-fuzz-") as folder:
            done = subprocess.run([*words, name, folder, f"-max_total_time={seconds}"], check=False)
        if done.returncode:
            failed.append(name)
    print(f"{len(chosen) - len(failed)} passed, {len(failed)} failed {' '.join(failed)}".rstrip())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
