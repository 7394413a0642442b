"""The reference page is the one that is rendered from the tables."""

import re
from pathlib import Path

from tests.config.documents import read_text
from tools.render_configuration import EXAMPLE, render_configuration

from cofferdam_config.host_facts import STATE_FOLDER
from cofferdam_config.places import PROVIDER_TYPES
from cofferdam_config.plan import REQUEST_TIMEOUT_MS
from cofferdam_config.tables import AUDIENCE, STATUS_SOCKET, TABLES, UID_BLOCK
from cofferdam_config.tcti import ADDRESS, BUS_NAME, DEVICE, PORT
from cofferdam_config.tokens import CREDENTIAL, REVOCATIONS
from cofferdam_contracts.registry import PROVIDERS
from cofferdam_contracts.roles import Role

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "configuration.md"


def test_the_page_is_up_to_date() -> None:
    """Run `python -m tools.render_configuration > docs/reference/configuration.md` when this fails."""
    assert PAGE.read_text() == render_configuration()


def test_the_page_has_every_key_with_what_is_allowed() -> None:
    rows = [line for line in render_configuration().splitlines() if line.startswith("| `")]
    for table in TABLES:
        for setting in table.settings:
            found = [row for row in rows if row.startswith(f"| `{setting.name}` |") and setting.kind.allowed in row]
            assert found, setting.name
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 6 for row in rows)
    assert all(re.search(r"[a-z0-9`*)]\.\s*\|$", row) for row in rows), "each has a sentence about its meaning"


def test_the_page_has_the_constants_of_the_code() -> None:
    """The texts below the settings are plain strings, so only this test compares them with the constants."""
    page = render_configuration()
    words = [STATUS_SOCKET, STATE_FOLDER, DEVICE, ADDRESS, BUS_NAME]
    for kind in PROVIDER_TYPES.values():
        words += [PROVIDERS[kind.id].name, kind.kek.credential, kind.kek.default_file]
        words += [secret.credential for secret in kind.secrets]
    words += [CREDENTIAL, REVOCATIONS, AUDIENCE]
    assert [word for word in words if f"`{word}`" not in page and f'`["{word}"]`' not in page] == []
    assert f"`isolation.uid_base` + {Role.FETCHER.row.uid_offset}," in page
    assert f", {PORT}, " in page
    assert f"First of the {UID_BLOCK} uids" in page
    assert f"| {REQUEST_TIMEOUT_MS}, or `listener.timeout`" in page


def test_keys_without_effect_say_so() -> None:
    rows = [line for line in render_configuration().splitlines() if "**No effect**" in line]
    assert [row.split("`")[1] for row in rows] == [
        "allow_root",
        "thread_pool_size",
        "idle_listener_sleep_duration",
    ]


def test_the_example_is_a_plan_without_warnings() -> None:
    assert read_text(EXAMPLE).warnings == ()
