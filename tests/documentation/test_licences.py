"""What docs/explanation/licences.md says about the GPL holds: one module, these functions, these dependencies."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "explanation" / "licences.md").read_text()
MODULE = ROOT / "runtime" / "cofferdam_runtime" / "sandbox" / "prctl.py"
ROOTS = (
    "broker",
    "cli",
    "client",
    "config",
    "contracts",
    "fetcher",
    "frontend",
    "identity",
    "kim",
    "providers",
    "runtime",
)


def _imports(path: Path) -> set[str]:
    """Return the full names of what a module imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def test_one_module_imports_python_prctl() -> None:
    modules = [path for root in ROOTS for path in (ROOT / root).rglob("*.py")]
    assert [path for path in modules if {"prctl", "_prctl"} & _imports(path)] == [MODULE]


def test_the_page_lists_the_functions_of_that_module() -> None:
    functions = [node.name for node in ast.parse(MODULE.read_bytes()).body if isinstance(node, ast.FunctionDef)]
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == functions


def test_the_page_has_every_dependency() -> None:
    texts = [(ROOT / "requirements" / name).read_text() for name in ("runtime.txt", "fetcher.txt")]
    pinned = [name for text in texts for name in re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE)]
    assert pinned
    assert [name for name in pinned if name not in PAGE] == []
