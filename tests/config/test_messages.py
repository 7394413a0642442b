"""Every message that a document can lead to, word for word: `mistakes/NAME.toml` leads to `mistakes/NAME.txt`.

A message belongs here when it is written, and a change of its words shows up in a diff that can be read. What a PKCS#11
URI or a TCTI may not say is in the tests of those, syntax errors are in the tests of the source.
"""

from pathlib import Path

import pytest
from tests.config.documents import read_text

from cofferdam_config.source import ConfigError
from cofferdam_config.tables import TABLES

MISTAKES = Path(__file__).with_name("mistakes")
CREDENTIALS = "# credentials:"


def _messages(document: str) -> tuple[str, ...]:
    """Return what an operator is told about a document."""
    first, _, _ = document.partition("\n")
    names = first.removeprefix(CREDENTIALS).split() if first.startswith(CREDENTIALS) else []
    try:
        return read_text(
            document, path="/config", credentials={name: f"/credentials/{name}" for name in names}
        ).warnings
    except ConfigError as error:
        return error.problems


@pytest.mark.parametrize("name", sorted(path.stem for path in MISTAKES.glob("*.toml")))
def test_the_messages_are_these(name: str) -> None:
    found = _messages((MISTAKES / f"{name}.toml").read_text())
    assert "\n".join([*found, ""]) == (MISTAKES / f"{name}.txt").read_text()


def test_every_setting_is_refused_once() -> None:
    """So that a new setting comes with its message."""
    refused = _messages((MISTAKES / "every_setting.toml").read_text())
    for table in TABLES:
        for setting in table.settings:
            assert any(f": {table.table_name}" in line and f".{setting.name}" in line for line in refused), setting.name
