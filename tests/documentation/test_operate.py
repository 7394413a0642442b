"""docs/howto/operate.md explains every error and warning that the service can log, and no others."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from cofferdam_contracts.status import Status

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "howto" / "operate.md").read_text()
ROOTS = ("broker", "config", "fetcher", "frontend", "identity", "kim", "providers", "runtime")
LEVELS = {"error", "warning"}
KILL = "kill"
"""A method that logs its reason as an error."""
NOTICE = "notice"
"""A method that logs a warning about a state that lasts."""
CHOSEN = "level"
"""What a variable is called that holds one of the two methods."""
TEXTS_OF_KIM = {
    "report.py": {"the database is damaged", "is not served", "keys belong to providers that are not configured"},
    "location.py": {"had mode", "had owner", "belonged to uid", "others may replace the database"},
}
"""Parts of texts that `StoreReport.warnings` and `prepare` compose."""


def _events(tree: ast.AST) -> Iterator[str]:
    """Yield the texts of calls like `log.error("event", …)`, `kill("event")`, `self._write("error", "event", …)`."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute | ast.Name):
            continue
        texts = [word.value if isinstance(word, ast.Constant) else None for word in node.args]
        if isinstance(node.func, ast.Name):
            if node.func.id == CHOSEN and texts and isinstance(texts[0], str):
                yield texts[0]
        elif node.func.attr in {*LEVELS, KILL, NOTICE} and texts and isinstance(texts[0], str):
            yield texts[0]
        elif node.func.attr == "_write" and texts[0] in LEVELS and isinstance(texts[1], str):
            yield texts[1]


def _logged() -> set[str]:
    modules = [path for root in ROOTS for path in (ROOT / root).rglob("*.py")]
    return {event for path in modules for event in _events(ast.parse(path.read_bytes()))}


def _explained() -> set[str]:
    section = PAGE.partition("\n## Log\n")[2].partition("\n## ")[0]
    cells = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| ")][1:]
    return {event for cell in cells for event in re.findall(r"`([^`]+)`", cell)}


def test_every_event_is_explained() -> None:
    logged = _logged()
    assert len(logged) > len(LEVELS)
    assert logged - _explained() == set()


def test_no_event_is_explained_that_is_never_logged() -> None:
    assert _explained() - _logged() - {"config"} == set().union(*TEXTS_OF_KIM.values())
    for module, texts in TEXTS_OF_KIM.items():
        source = (ROOT / "kim" / "cofferdam_kim" / module).read_text()
        assert all(text in source for text in texts)


def test_statuses_in_the_table_exist() -> None:
    section = PAGE.partition("\n## When a client gets an error\n")[2]
    numbers = [
        int(number) for row in re.findall(r"^\| ([\d, ]+) \|", section, re.MULTILINE) for number in row.split(",")
    ]
    assert numbers
    assert set(numbers) <= set(Status)
