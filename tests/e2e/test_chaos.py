"""Kill every process under load, the broker too: acknowledged changes survive, and no client reaches foreign keys."""

import random
import sys

import pytest
from tests.harness.chaos import ROLES, unleash


@pytest.mark.timeout(300)
def test_what_was_acknowledged_holds_whoever_is_killed() -> None:
    seed = random.randrange(1 << 32)
    sys.stdout.write(f"seed {seed}\n")  # pytest shows it when the test fails
    killed, done = unleash(seed, lambda killed: killed < 2 * len(ROLES))
    assert killed == 2 * len(ROLES)
    assert done > killed
