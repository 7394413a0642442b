"""Random bytes."""

import pytest

from cofferdam_providers.software.generate_random import random_bytes


@pytest.mark.parametrize("size", [0, 1, 32, 1 << 20])
def test_as_many_bytes_as_asked_for_come(size: int) -> None:
    assert len(random_bytes(size)) == size


def test_no_two_answers_are_the_same() -> None:
    assert len({random_bytes(16) for _ in range(100)}) == 100
