"""The pages of docs/reference that are made from the code are what the code says now."""

import re
from pathlib import Path

import pytest
from tools.render_operations import render_operations
from tools.render_quirks import render_quirks
from tools.render_statuses import MEANINGS, render_statuses
from tools.render_tokens import ask_all, render_tokens, versions_on

from cofferdam_contracts.registry import Opcode
from cofferdam_contracts.status import Status

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"


@pytest.fixture(scope="module")
def operations() -> str:
    return render_operations()


def test_the_page_of_operations_is_up_to_date(operations: str) -> None:
    """Run `python -m tools.render_operations > docs/reference/operations.md` when this fails."""
    assert (REFERENCE / "operations.md").read_text() == operations


def test_the_page_of_operations_has_every_operation_once(operations: str) -> None:
    rows = [line.split(" | ")[0] for line in operations.splitlines() if line.startswith("| 0x")]
    assert rows == [f"| {int(opcode):#04x}" for opcode in Opcode]


def test_the_page_of_statuses_is_up_to_date() -> None:
    """Run `python -m tools.render_statuses > docs/reference/statuses.md` when this fails."""
    assert (REFERENCE / "statuses.md").read_text() == render_statuses()


def test_a_status_that_the_code_names_is_on_the_page() -> None:
    """What is never sent need not be explained; what is raised anywhere has to be."""
    root = REFERENCE.parents[1]
    sources = [path.read_text() for folder in ("contracts", "frontend", "kim", "providers") for path in
               (root / folder).rglob("*.py") if path.name != "status.py"]  # fmt: skip
    named = {status for status in Status if any(re.search(rf"Status\.{status.name}\b", text) for text in sources)}
    assert named == set(MEANINGS)


def test_the_page_of_quirks_is_up_to_date() -> None:
    """Run `python -m tools.render_quirks > docs/reference/quirks.md` when this fails."""
    assert (REFERENCE / "quirks.md").read_text() == render_quirks()


def test_the_page_of_tokens_is_up_to_date() -> None:
    """Run `python -m tools.render_tokens > docs/reference/tokens.md` when this fails."""
    page = (REFERENCE / "tokens.md").read_text()
    asked = ask_all()
    documented, installed = versions_on(page), {one.name: one.version for one in asked}
    assert documented.keys() == installed.keys()
    if documented != installed:
        pytest.skip(f"docs/reference/tokens.md is about {documented}, and installed are {installed}")
    assert page == render_tokens(asked)
