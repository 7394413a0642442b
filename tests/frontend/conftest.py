"""A connection for each test that asks for one."""

from collections.abc import Iterator

import pytest
from tests.frontend.talk import Talk


@pytest.fixture
def talk() -> Iterator[Talk]:
    made = Talk()
    yield made
    made.close()
