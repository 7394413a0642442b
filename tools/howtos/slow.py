"""See that the service, as it is shipped, comes up by itself on a machine that is slow and busy while it boots.

    python3 -m tools.howtos.slow measure    print how many milliseconds a computation takes on this machine
    python3 -m tools.howtos.slow see MS     on the slow one, which starts the service at boot: wait for it, use, reload
                                            and restart it; MS is what the computation takes on the fast one

Standard library only. It is run by `tools/howtos/machine.sh`, and judges by what happened, never by how long that took.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

_MOST_S: Final = 1200.0
_STATE: Final = ("ActiveState", "NRestarts", "StatusText")
_UNIT: Final = "cofferdam"


class FailedError(Exception):
    """Raised when the service did not come up, or anything else failed; the text says what."""


def measure() -> float:
    """Return how many milliseconds a certain computation takes."""
    began = time.monotonic()
    sum(number * number for number in range(1_000_000))
    return (time.monotonic() - began) * 1000


def _run(*words: str) -> str:
    done = subprocess.run(words, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise FailedError(f"{' '.join(words)}: exit status {done.returncode}\n{done.stdout}")
    return done.stdout


def _state() -> dict[str, str]:
    lines = _run("systemctl", "show", _UNIT, *(f"-p{name}" for name in _STATE)).splitlines()
    return dict(line.split("=", 1) for line in lines)


def _step(what: str, do: Callable[[], object]) -> None:
    began = time.monotonic()
    do()
    print(f"{what}: {time.monotonic() - began:.0f} s", flush=True)


def _wait() -> None:
    """Wait for the start that systemd began at boot.

    Raises:
        FailedError: It failed, or takes longer than `_MOST_S`.
    """
    end = time.monotonic() + _MOST_S
    while (state := _state())["ActiveState"] != "active":
        if state["NRestarts"] != "0" or state["ActiveState"] == "failed" or time.monotonic() > end:
            raise FailedError(f"the service did not come up by itself: {state}")
        time.sleep(2)


def see(fast_ms: float) -> None:
    """Follow the service from the boot on.

    Raises:
        FailedError: A step failed, or a process or the whole service was started more than once for it.
    """
    _step("up, after the boot", _wait)
    slow_ms = measure()
    print(
        f"the machine is {slow_ms / fast_ms:.0f} times slower: {slow_ms:.0f} ms in place of {fast_ms:.0f}", flush=True
    )
    for words in (
        ["cofferdam", "create-ecc-key", "-k", "slow"],
        ["cofferdam", "sign", "-k", "slow", "the tide is out"],
        ["systemctl", "reload", _UNIT],
        ["systemctl", "restart", _UNIT],
        ["cofferdam", "status"],
    ):
        _step(" ".join(words), lambda words=words: _run(*words))  # type: ignore[misc]
    state = _state()
    print(" ".join(f"{name}={value}" for name, value in state.items()), flush=True)
    if state != {"ActiveState": "active", "NRestarts": "0", "StatusText": "Serving"}:
        raise FailedError("the service is not as it should be")


def main(arguments: Sequence[str]) -> int:
    """Measure, or see; return the exit status."""
    if arguments[0] == "measure":
        print(f"{min(measure() for _ in range(5)):.0f}")
        return 0
    try:
        see(float(arguments[1]))
    except FailedError as error:
        print(error)
        return 1
    finally:
        print(_run("journalctl", "-u", _UNIT, "-o", "short-monotonic", "--no-pager"), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
