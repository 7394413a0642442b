"""The reference page is the one that the tables give."""

import re
from pathlib import Path

from tests.config.documents import read_text

from cofferdam_config.reference import EXAMPLE, render_reference
from cofferdam_config.tables import TABLES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "configuration.md"


def test_the_page_is_up_to_date() -> None:
    """Write what `render_reference` returns to the page when this fails."""
    assert PAGE.read_text() == render_reference()


def test_the_page_has_every_key_with_what_the_tables_say_of_it() -> None:
    rows = [line for line in render_reference().splitlines() if line.startswith("| `")]
    for table in TABLES:
        for key in table.keys:
            assert any(row.startswith(f"| `{key.name}` |") and key.meaning in row for row in rows), key.name
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 6 for row in rows)


def test_keys_without_effect_say_so() -> None:
    rows = [line for line in render_reference().splitlines() if "**No effect**" in line]
    assert [row.split("`")[1] for row in rows] == [
        "allow_root",
        "thread_pool_size",
        "idle_listener_sleep_duration",
    ]


def test_the_example_is_a_plan_without_warnings() -> None:
    assert read_text(EXAMPLE).warnings == ()
