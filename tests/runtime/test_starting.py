"""Whether a start gets on, by what the kernel says of real processes; the time is the tests' own."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.harness.running import started
from tests.harness.watch import wait_for

from cofferdam_contracts.ipc.control import Pong
from cofferdam_runtime.pulse import DOUBLINGS, STARVED_AT_MOST, Patience, Pulse
from cofferdam_runtime.starting import AT_MOST, Starting, Usage, usage_of

SILENCE_S = 10.0
COMPUTES = "while True: pass"
SLEEPS = "import time\nwhile time.process_time() < 0.1: pass\ntime.sleep(1000)"
NAMED = "import ctypes; ctypes.CDLL(None).prctl(15, b') R 1 (', 0, 0, 0); import time; time.sleep(1000)"
Run = Callable[[str], int]


@pytest.fixture
def run() -> Iterator[Run]:
    """Start a program, and return its pid."""
    with ExitStack() as running:
        yield lambda program: running.enter_context(started([sys.executable, "-I", "-S", "-c", program])).pid


def rests(pid: int) -> bool:
    """Tell whether a process has begun to do nothing."""
    before = usage_of(pid)
    time.sleep(0.2)
    return before.state in {"S", "T"} and before.cpu_s > 0 and usage_of(pid) == before


def has_used_more(pid: int, than: float) -> Callable[[], bool]:
    return lambda: usage_of(pid).cpu_s > than


def test_who_computes_is_never_silent(run: Run) -> None:
    pid = run(COMPUTES)
    starting, now = Starting(pid, 0.0, SILENCE_S), 0.0
    for _ in range(5):
        wait_for(has_used_more(pid, usage_of(pid).cpu_s))
        now += 2 * SILENCE_S
        assert not starting.overdue(now)


def test_who_computes_for_ever_is_late_at_last(run: Run) -> None:
    starting = Starting(run(COMPUTES), 0.0, SILENCE_S)
    assert not starting.overdue(AT_MOST * SILENCE_S)
    found = starting.overdue(AT_MOST * SILENCE_S + 1)
    assert (found["allowed_s"], found["took_s"]) == (SILENCE_S, AT_MOST * SILENCE_S + 1)
    assert starting.late_s == found["took_s"]


@pytest.mark.parametrize("stop", [False, True])
def test_who_waits_for_too_long_is_late(run: Run, stop: bool) -> None:
    pid = run(COMPUTES if stop else SLEEPS)
    if stop:
        wait_for(has_used_more(pid, 0.0))
        os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: rests(pid))
    starting = Starting(pid, 0.0, SILENCE_S)
    starting.overdue(1.0)
    assert not starting.overdue(1.0 + SILENCE_S)
    assert starting.overdue(1.1 + SILENCE_S)["silent_s"] == pytest.approx(SILENCE_S + 0.1)


def test_who_is_slowed_down_is_not_late(run: Run) -> None:
    """A process that gets a fraction of a processor, in steps that are each shorter than the silence."""
    pid = run(COMPUTES)
    starting, now = Starting(pid, 0.0, SILENCE_S), 0.0
    for _ in range(20):
        os.kill(pid, signal.SIGCONT)
        wait_for(has_used_more(pid, usage_of(pid).cpu_s))
        os.kill(pid, signal.SIGSTOP)
        wait_for(lambda: usage_of(pid).state == "T")
        assert not starting.overdue(now := now + 0.1)
        assert not starting.overdue(now := now + 0.9 * SILENCE_S)
    assert now > 10 * SILENCE_S
    assert starting.overdue(now + SILENCE_S)


def test_who_waits_for_the_key_store_is_not_late_before_its_time(run: Run) -> None:
    pid = run(SLEEPS)
    starting = Starting(pid, 0.0, SILENCE_S)
    assert not any(starting.overdue(now * SILENCE_S, waits=True) for now in range(1, AT_MOST + 1))
    assert starting.overdue((AT_MOST + 1) * SILENCE_S, waits=True)


def test_no_name_of_a_program_is_taken_for_its_state(run: Run) -> None:
    pid = run(NAMED)
    wait_for(lambda: b") R 1 (" in Path(f"/proc/{pid}/stat").read_bytes())
    wait_for(lambda: usage_of(pid).state == "S")


def test_of_who_is_gone_nothing_is_known(run: Run) -> None:
    pid = run("pass")
    os.waitid(os.P_PID, pid, os.WEXITED)
    assert usage_of(pid) == Usage(0.0, "")


def test_a_start_after_a_late_one_has_twice_the_time_up_to_a_limit() -> None:
    patience = Patience(1.0, 2.0, SILENCE_S)
    allowed = [patience.for_start(late).start_s for late in range(DOUBLINGS + 3)]
    assert allowed[: DOUBLINGS + 1] == [SILENCE_S * (1 << late) for late in range(DOUBLINGS + 1)]
    assert set(allowed[DOUBLINGS:]) == {SILENCE_S * (1 << DOUBLINGS)}


def overdue() -> Pulse:
    """Return the pulse of a process that should have answered at 110."""
    pulse = Pulse(100.0, Patience(10.0, 20.0, 1.0))
    pulse.ask(100.0, sent=True)
    assert pulse.is_overdue(110.1)
    return pulse


@pytest.mark.parametrize("state", ["S", "T", "D", ""])
def test_who_does_not_answer_and_could_not_run_hangs(state: str) -> None:
    assert not overdue().is_starved(110.1, Usage(5.0, state))


def test_who_computes_and_does_not_answer_hangs() -> None:
    pulse = overdue()
    assert pulse.is_starved(110.1, Usage(5.0, "R"))
    assert not pulse.is_starved(111.1, Usage(5.3, "R"))


def test_who_gets_no_processor_does_not_hang_before_its_time() -> None:
    pulse, longest = overdue(), STARVED_AT_MOST * 10
    assert all(pulse.is_starved(100.0 + waited, Usage(5.0 + waited / 100, "R")) for waited in range(11, longest))
    assert not pulse.is_starved(101.0 + longest, Usage(5.0, "R"))


def test_an_answer_ends_it() -> None:
    pulse = overdue()
    assert pulse.is_starved(120.0, Usage(5.0, "R"))
    pulse.answer(Pong(pulse.pings, 0, 0, 0), 130.0)
    pulse.ask(200.0, sent=True)
    assert pulse.is_starved(210.1, Usage(50.0, "R")), "what it used meanwhile does not count"
