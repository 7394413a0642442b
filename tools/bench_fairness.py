"""`./dev bench --fairness`: the effect of hostile clients of other uids on a client.

Victim and attackers have uids of their own, and so has each process of the service, so that this needs root. A round of
an attack measures the victim three times: alone, while the attack runs against another service on the same machine,
and while it runs against the victim's own. The second figure shows what the attack costs by the use of the processors
alone, since no queue is shared; the third shows what the service's queues add. Ratios are those of one round, and the
median of the rounds is given.
"""

import contextlib
import itertools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.harness import wire
from tests.harness.pkcs11.service import UID_BASE
from tests.harness.service import acting_as
from tools.attacked import LISTERS, Side
from tools.attacks import (
    ATTACKER_NICE,
    ATTACKS,
    NAMES,
    NEWCOMER,
    VICTIMS,
    Attack,
    Wish,
    large_request,
    list_keys,
    sign,
)
from tools.crowd import Crowd, Crowds, Run, Tally
from tools.fairness_report import HEAVY, SHARERS, Fairness, Row, Share, jain
from tools.measure import UnavailableError, cc

from cofferdam_runtime.listener import CLIENT_MODE

VICTIM: Final = 59001
FIRST_ATTACKER: Final = 59100
FIRST_NEWCOMER: Final = 59400
FIRST_SHARER: Final = 59800
TWIN_UIDS: Final = 61_200
"""First uid of the other service."""
_PAUSE_MS: Final = 2.0
"""Mean pause of a victim between two requests."""
_NEWCOMER_PAUSE_MS: Final = 200.0
_LISTING_STRETCH: Final = 2.0
_LEAST_RATE: Final = 1e-9
_FLOOR_WORK_US: Final = 150
_WARM_UP_S: Final = 0.3
_POLL_S: Final = 0.05
_PATIENCE_S: Final = 20.0
"""After which an attack gets no further round."""
_SETTLED: Final = itertools.count(4096)
"""Numbers that no connection of an attack has."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Where and how long everything is measured."""

    crowds: Crowds
    side: Side
    twin: Side
    """The other service."""
    seconds: float
    rounds: int

    def run(self, crowd: Crowd, stretch: float = 1.0) -> Tally:
        """Run a crowd against the service, and return its tally."""
        return self.crowds.run(self.side.path, crowd, self.seconds * stretch)


def measure(
    folder: str, seconds: float, rounds: int, chosen: Sequence[str] = (), checkout: Path | None = None
) -> Fairness:
    """Measure the chosen attacks, or all of them, on this checkout or another.

    Raises:
        UnavailableError: Something that is needed is not there.
    """
    if os.geteuid():
        raise UnavailableError("clients of several uids need root")
    wanted = set(chosen or NAMES)
    crowds, figures = Crowds(folder), Fairness()
    with _sides(checkout, listers=bool(wanted & {"list", "listing"})) as (side, twin):
        trial = Trial(crowds, side, twin, seconds, rounds)
        if "listing" in wanted:
            figures.listing_ms = {count: _listing(trial, uid) for uid, count in LISTERS.items()}
        if "share" in wanted:
            figures.shares = list(_shares(trial, folder))
        if "memory" in wanted:
            figures.memory_mb = {count: _memory(trial, count) for count in (150, 1000)}
        for number, attack in enumerate(ATTACKS):
            if attack.name in wanted:
                begun = time.monotonic()
                try:
                    figures.rows += _attack(trial, attack, attack.uid or FIRST_ATTACKER + number)
                except (UnavailableError, OSError) as error:
                    print(f"{attack.name} cannot be measured: {error}", file=sys.stderr, flush=True)
                print(f"{attack.name}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    return figures


@contextlib.contextmanager
def _sides(checkout: Path | None, *, listers: bool) -> Iterator[tuple[Side, Side]]:
    with contextlib.ExitStack() as stack:
        sides = []
        for uid_base in (UID_BASE, TWIN_UIDS):
            side = Side(checkout, uid_base)
            stack.callback(side.close)
            side.start(listers=listers)
            sides.append(side)
        yield sides[0], sides[1]


def _listing(trial: Trial, uid: int) -> float:
    crowd = trial.side.crowd(uid, Wish(list_keys), 1)
    return statistics.median(trial.run(crowd, _LISTING_STRETCH).p50_ms for _ in range(trial.rounds))


def _attack(trial: Trial, attack: Attack, uid: int) -> list[Row]:
    rows = [Row(attack.text, victim, [], [], [], []) for victim in attack.victims]
    newcomers = iter(range(FIRST_NEWCOMER, FIRST_SHARER, 20))

    def one(row: Row) -> Tally:
        new = row.victim == NEWCOMER
        crowd = _newcomer(trial.side, next(newcomers)) if new else _victim(trial.side, row.victim)
        return trial.run(crowd, attack.stretch)

    end = time.monotonic() + _PATIENCE_S
    for number in range(attack.rounds or trial.rounds):
        if number and time.monotonic() > end:
            break
        for row in rows:
            row.alone.append(one(row))
        for place in (trial.twin, trial.side):
            with _running(trial.crowds, place, attack, uid) as runs:
                for row in rows:
                    (row.attacked if place is trial.side else row.elsewhere).append(one(row))
                rate = sum(run.end().rate for run in runs)
            if place is trial.side:
                for row in rows:
                    row.attackers.append(rate)
            _settle(place, uid, attack.wish)
    return rows


def _victim(side: Side, name: str) -> Crowd:
    wish = VICTIMS[name]
    # Names of keys are one for all providers, so that a victim of each has a uid.
    crowd = side.crowd(VICTIM + wish.provider, wish, 1)
    return replace(crowd, pause_ms=_PAUSE_MS)


def _newcomer(side: Side, first: int) -> Crowd:
    crowd = side.crowd(first, VICTIMS[NEWCOMER], 1)
    return replace(crowd, pause_ms=_NEWCOMER_PAUSE_MS, first_uid=first)


@contextlib.contextmanager
def _running(crowds: Crowds, place: Side, attack: Attack, uid: int) -> Iterator[list[Run]]:
    crowd = place.crowd(uid, attack.wish, attack.connections)
    crowd = replace(crowd, first_uid=attack.first_uid, nice=attack.nice)
    runs = [crowds.start(place.path, crowd, 60.0) for _ in range(attack.processes)]
    try:
        time.sleep(_WARM_UP_S)
        yield runs
    finally:
        for run in runs:
            run.close()


def _settle(place: Side, uid: int, wish: Wish) -> None:
    """Wait until a service has done what clients that are gone left behind, which comes before their uid's next."""
    if wish.mode != "ask":
        time.sleep(_WARM_UP_S)
        return
    for request in wish.requests(place.ready(uid, wish), next(_SETTLED)):
        with acting_as(uid), contextlib.suppress(OSError, wire.BrokenResponseError):
            wire.call(place.path, request)


SHARES: Final = (
    ("ECDSA, a connection per request", "ecc", "ask"),
    ("ECDSA, connections kept", "ecc", "keep"),
    ("RSA-2048, a connection per request", "rsa-2048", "ask"),
    ("RSA-2048, connections kept", "rsa-2048", "keep"),
)
FLOORS: Final = (
    ("(perfect turns in C, a connection per request)", "ask"),
    ("(perfect turns in C, connections kept)", "keep"),
)


def _shares(trial: Trial, folder: str) -> Iterator[Share]:
    for text, key, mode in SHARES:
        wish = Wish(sign(key), key, mode=mode)
        crowds = [trial.side.crowd(FIRST_SHARER + n, wish, 1 if n else HEAVY) for n in range(SHARERS)]
        yield _share(trial, trial.side.path, text, crowds)
    with _floor(folder) as path:
        for text, mode in FLOORS:
            request = wire.Request(flags=wire.KEEP_ALIVE if mode == "keep" else 0)
            crowds = [Crowd(FIRST_SHARER + n, mode, [request], 1 if n else HEAVY) for n in range(SHARERS)]
            yield _share(trial, path, text, crowds)


def _share(trial: Trial, path: str, text: str, crowds: Sequence[Crowd]) -> Share:
    share = Share(text, [], [], [])
    for _ in range(trial.rounds):
        runs = [trial.crowds.start(path, crowd, trial.seconds * 1.5) for crowd in crowds]
        rates = [run.result().rate for run in runs]
        share.index.append(jain(rates))
        share.heavy.append(rates[0] / max(statistics.mean(rates[1:]), _LEAST_RATE))
        share.rate.append(sum(rates))
    return share


@contextlib.contextmanager
def _floor(folder: str) -> Iterator[str]:
    """Run the fairest possible service: one queue for each uid, and nothing else."""
    program, path = os.path.join(folder, "fair_floor"), os.path.join(folder, "floor.sock")
    cc(Path(__file__).with_name("fair_floor.c"), program)
    with subprocess.Popen([program, path, str(_FLOOR_WORK_US)]) as server:
        try:
            while not os.path.exists(path):
                if server.poll() is not None:
                    raise UnavailableError("the floor does not start")
                time.sleep(_POLL_S)
            os.chmod(path, CLIENT_MODE)
            yield path
        finally:
            server.kill()


def _memory(trial: Trial, connections: int) -> float:
    """Return the largest resident size in MiB of the frontend of a uid whose requests lack their last byte."""
    side, uid = trial.side, FIRST_ATTACKER + len(ATTACKS)
    side.call(wire.Caller(uid).request(wire.PING, provider=wire.CORE), uid)
    (pid,) = (row["pid"] for row in side.service.rows("frontend") if row["principal"] == uid)
    crowd = side.crowd(uid, Wish(large_request, mode="hold"), connections)
    run = trial.crowds.start(side.path, replace(crowd, nice=ATTACKER_NICE), 60.0)
    most, end = 0, time.monotonic() + 2 * trial.seconds
    try:
        while time.monotonic() < end:
            with contextlib.suppress(OSError, StopIteration), open(f"/proc/{pid}/status") as file:
                most = max(most, next(int(line.split()[1]) for line in file if line.startswith("VmRSS:")))
            time.sleep(_POLL_S)
        run.end()
    finally:
        run.close()
    return most / 1024
