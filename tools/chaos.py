"""Kill every process of a service at random under load for as long as you like, and check what is left.

`./dev chaos [--seconds N] [--seed N]`: rounds of twenty deaths each, every one with a service of its own. The exit
status is 1 if anything was lost, forged or shown to somebody else; the seed repeats the choices of the round.
"""

import argparse
import secrets
import sys
import time
from typing import Final

from tests.harness.chaos import unleash

DEATHS: Final = 20


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="./dev chaos", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, metavar="N", help="begin no round later (default: 60)")
    parser.add_argument("--seed", type=int, default=None, help="of the first round (default: another each time)")
    options = parser.parse_args()
    until = time.monotonic() + options.seconds
    seed = secrets.randbits(32) if options.seed is None else options.seed
    deaths = answers = 0
    while not deaths or time.monotonic() < until:
        print(f"seed {seed}", flush=True)
        try:
            killed, done = unleash(seed, lambda killed: killed < DEATHS)
        except AssertionError as error:
            print(error)
            return 1
        deaths, answers, seed = deaths + killed, answers + done, secrets.randbits(32)
    print(f"{deaths} deaths, {answers} answers that bind, nothing lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
