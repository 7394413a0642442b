"""Fixtures of the key store's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kim.support import open_store

from cofferdam_kim.store import MappingStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kim" / "kim.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[MappingStore]:
    opened = open_store(path)
    yield opened
    opened.close()
