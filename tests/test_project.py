"""Checks of the source tree itself that no linter makes."""

import ast
import functools
import graphlib
import itertools
import re
import statistics
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tools.mutants_table import MUTANTS

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
CLIENT_PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())
SOURCE_ROOTS: list[str] = PYPROJECT["tool"]["ruff"]["src"]
CLIENT_ROOTS = ["client", "contracts"]
"""The roots whose packages are in the client's distribution; all others are in that of the service."""
SHARED_ROOTS = {"contracts", "runtime"}
RELAY = Path("runtime/cofferdam_runtime/relay")
"""The only process that is not a role: `serve` starts it, and every role has a channel to it."""
REQUIREMENTS = sorted((ROOT / "requirements").glob("*.txt"))

# The broker holds all privileges, hence it is meant to be read in one sitting. What counts is what it does: lines with
# statements, without imports, docstrings, comments and blank lines.
MAX_BROKER_LINES = 699
MAX_FILE_LINES = 500
# Lines of a function from `def` to its end, in what ships.
MAX_FUNCTION_LINES = 60
MAX_MEDIAN_FUNCTION_LINES = 7

# What the broker executes beside its own package runs with the same privileges. A module that is added here is one more
# that has to be read with the broker; the lines are counted as those of the broker are.
IMPORTED_BY_THE_BROKER = {
    "contracts": "ipc.control opaque roles settings",
    "runtime": "accusations backoff boot command conditions control intake listener log loop notify pairs places pulse "
    "queues reports said signals spawn starting timers",
    "runtime.sandbox": "broker errors inspect kernel prctl rank title",
}
# 200 of them are the status: what workers say (`ipc.control`), the rows of the providers (`conditions`), the document
# and the line for the service manager (`reports`). 35 are the rows of identity and fetcher in the process table, and
# that a configuration may ask for processes besides the workers.
MAX_LINES_IMPORTED_BY_THE_BROKER = 1708

# In pieces, so that this file does not match itself.
REGISTRIES = [
    "pypi" + ".org",
    "python" + "hosted.org",
    "crates" + ".io",
    "npm" + "js.org",
    "proxy.golang" + ".org",
    "maven" + ".org",
    "repo.maven" + ".apache",
    "deb.debian" + ".org",
]
MACHINE_PATHS = ["/" + "work/", "/" + "opt/wheels", "." + "pyenv/"]

FORBIDDEN_MODULES = {"marshal", "multiprocessing", "pickle", "shelve"}

STARTS_PROGRAMS = {
    "tests/broker/test_children.py",
    "tests/e2e/test_takeover.py",
    "tests/interop/spire.py",
    *(f"tests/harness/{name}.py" for name in ("running", "service", "tpm/shim", "tpm/swtpm", "tpm/tabrmd")),
    *(f"tests/providers/pkcs11/{name}.py" for name in ("child", "driver")),
}
"""The tests that start programs which outlive a call, and end them whatever happens; others use `started`."""

REQUIREMENT = re.compile(
    r"(?P<name>[a-z0-9.-]+)==(?P<version>\S+)(?: ; (?P<marker>[^\\]+?))?(?P<hashes>( --hash=sha256:[0-9a-f]{64})+)"
)


def _project_files(folder: Path = ROOT) -> Iterator[Path]:
    """Yield the files of the checkout, except those that tools generate."""
    for path in sorted(folder.iterdir()):
        if path.name in {"__pycache__", "dist"} or (
            path.name.startswith(".") and path.name not in {".ci", ".gitignore"}
        ):
            continue
        if path.is_symlink():
            continue
        if path.is_dir():
            yield from _project_files(path)
        else:
            yield path


def _is_generated(path: Path) -> bool:
    return path.name.endswith(("_pb2.py", "_pb2.pyi"))


def _python_files() -> list[Path]:
    return [path for path in _project_files() if path.suffix == ".py" and not _is_generated(path)]


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _requirements(path: Path) -> list[str]:
    """Return the logical lines of a requirements file."""
    text = path.read_text().replace("\\\n", " ")
    lines = (re.sub(r"\s+", " ", line.partition("#")[0]).strip() for line in text.splitlines())
    return [line for line in lines if line]


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    home = str(Path.home())
    unwanted = [*REGISTRIES, *MACHINE_PATHS, *([home] if home.startswith("/home/") else [])]
    found = [
        f"{_name(path)}: {word}" for path in _project_files() for word in unwanted if word.encode() in path.read_bytes()
    ]
    assert found == []


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.stem)
def test_every_requirement_is_pinned_and_hashed(path: Path) -> None:
    lines = _requirements(path)
    assert lines
    assert [line for line in lines if not REQUIREMENT.fullmatch(line)] == []


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.stem)
def test_every_wanted_requirement_is_pinned(path: Path) -> None:
    lines = _requirements(path.with_suffix(".in"))
    wanted = {re.split(r"[<>=!~ ]", line, maxsplit=1)[0] for line in lines if not line.startswith("-")}
    assert wanted <= {line.partition("==")[0] for line in _requirements(path)}


def test_requirement_files_agree_on_versions() -> None:
    """They are installed together, and pip rejects two versions of one package."""
    pins: dict[str, set[str]] = {}
    for path in REQUIREMENTS:
        for line in _requirements(path):
            name, _, rest = line.partition("==")
            pins.setdefault(name, set()).add(rest.split()[0])
    assert {name: versions for name, versions in pins.items() if len(versions) > 1} == {}


def test_tools_agree_on_the_source_roots() -> None:
    tool = PYPROJECT["tool"]
    packages = [f"cofferdam_{root}" for root in SOURCE_ROOTS]
    service_roots = [root for root in SOURCE_ROOTS if root not in CLIENT_ROOTS]
    build = tool["hatch"]["build"]
    assert build["dev-mode-dirs"] == service_roots
    assert build["targets"]["wheel"]["packages"] == [f"{root}/cofferdam_{root}" for root in service_roots]
    assert CLIENT_PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [
        f"cofferdam_{root}" for root in CLIENT_ROOTS
    ]
    assert tool["pytest"]["ini_options"]["pythonpath"] == [*SOURCE_ROOTS, "."]
    assert tool["mypy"]["files"] == [*SOURCE_ROOTS, "packaging", "tests", "tools"]
    assert tool["mypy"]["mypy_path"] == ":".join(SOURCE_ROOTS)
    assert tool["coverage"]["run"]["source_pkgs"] == packages
    assert tool["importlinter"]["root_packages"] == packages


@pytest.mark.parametrize("root", SOURCE_ROOTS)
def test_a_source_root_holds_its_package_and_nothing_else(root: str) -> None:
    names = {path.name for path in (ROOT / root).iterdir() if path.name != "__pycache__"}
    build_files = {"README.md", "hatch_build.py", "pyproject.toml"} if root == "client" else set()
    assert names == {f"cofferdam_{root}"} | build_files


@pytest.mark.parametrize("root", SOURCE_ROOTS)
def test_every_package_says_that_it_has_types(root: str) -> None:
    assert (ROOT / root / f"cofferdam_{root}" / "py.typed").exists()


def test_packaging_is_no_package() -> None:
    """A package would hide the library of that name from pytest."""
    assert list((ROOT / "packaging").rglob("__init__.py")) == []


def test_each_process_has_one_entry() -> None:
    """A process is one package, or one backend of the providers; shared packages cannot be started."""
    entries = [path.parent.relative_to(ROOT) for path in _python_files() if path.name == "__main__.py"]
    entries.remove(RELAY)
    misplaced = [
        str(entry)
        for entry in entries
        if entry.parts[0] in SHARED_ROOTS or len(entry.parts) > (3 if entry.parts[0] == "providers" else 2)
    ]
    assert misplaced == []
    nested = [str(inner) for outer, inner in itertools.permutations(entries, 2) if inner.is_relative_to(outer)]
    assert nested == []


def test_the_broker_can_be_read_in_one_sitting() -> None:
    lines = {_name(path): _doing(path) for path in _python_files() if path.is_relative_to(ROOT / "broker")}
    assert sum(lines.values()) <= MAX_BROKER_LINES, lines


def test_what_the_broker_imports_is_named_and_counted() -> None:
    imports = _imports()
    pending, found = {name for name in imports if name.startswith("cofferdam_broker.")}, set[str]()
    while pending:
        found |= pending
        pending = {wanted for name in pending for wanted in imports[name]} - found
    # The file of a package is empty but for its docstring.
    lines = {name: doing for name in found if (doing := _doing(_modules()[name]))}
    shared = {name: doing for name, doing in lines.items() if not name.startswith("cofferdam_broker.")}
    named = {
        f"cofferdam_{package}.{name}" for package, names in IMPORTED_BY_THE_BROKER.items() for name in names.split()
    }
    assert shared.keys() == named
    assert sum(shared.values()) <= MAX_LINES_IMPORTED_BY_THE_BROKER, shared


@functools.cache
def _modules() -> dict[str, Path]:
    """Return the files of the modules that ship, by the name under which they are imported."""
    found = {}
    for root in SOURCE_ROOTS:
        for path in (ROOT / root).rglob("*.py"):
            parts = path.relative_to(ROOT / root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@functools.cache
def _imports() -> dict[str, set[str]]:
    """Return which modules that ship each of them imports, with the packages that are initialised on the way."""
    return {name: set(_wanted(ast.parse(path.read_bytes()))) - {name} for name, path in _modules().items()}


def _wanted(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{name}" for name in names]
        for name in names:
            parts = name.split(".")
            yield from _modules().keys() & {".".join(parts[:length]) for length in range(1, len(parts) + 1)}


def test_no_module_imports_itself_by_way_of_others() -> None:
    imports = _imports()
    # A package's own file is there before its modules are, and whoever imports one of these does not wait for another.
    graph = {name: {wanted for wanted in found if not name.startswith(f"{wanted}.")} for name, found in imports.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"an import circle: {' -> '.join(error.args[1])}")


def test_functions_are_small() -> None:
    lengths = {
        f"{_name(path)}:{node.lineno} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path in _modules().values()
        if not _is_generated(path)
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES} == {}
    assert statistics.median(lengths.values()) <= MAX_MEDIAN_FUNCTION_LINES


def _doing(path: Path) -> int:
    tree = ast.parse(path.read_bytes())
    doing: set[int] = set()
    silent: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        ):
            silent.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        elif isinstance(node, ast.stmt | ast.expr | ast.arg | ast.ExceptHandler):
            doing.update((node.lineno, node.end_lineno or node.lineno))
    return len(doing - silent)


def test_no_file_is_too_long_to_read() -> None:
    paths = [*_python_files(), ROOT / "dev", ROOT / ".ci" / "run"]
    assert {_name(path): _lines(path) for path in paths if _lines(path) > MAX_FILE_LINES} == {}


def test_no_module_decodes_bytes_into_arbitrary_objects() -> None:
    found = {
        _name(path): bad
        for path in _python_files()
        if (bad := FORBIDDEN_MODULES.intersection(_imported(ast.parse(path.read_bytes()))))
    }
    assert found == {}


def test_who_starts_a_program_ends_it() -> None:
    """A test that fails leaves nothing running: only what is closed in any case starts programs by `Popen`."""
    starting = {
        _name(path) for path in _python_files() if path.is_relative_to(ROOT / "tests") and "Popen(" in path.read_text()
    }
    assert starting == STARTS_PROGRAMS | {_name(Path(__file__))}


def test_no_handler_catches_everything() -> None:
    found = [
        f"{_name(path)}:{node.lineno}"
        for path in _python_files()
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert found == []


@pytest.mark.parametrize("path", [ROOT / "dev", ROOT / ".ci" / "run"], ids=_name)
def test_scripts_parse_and_are_executable(path: Path) -> None:
    shell = path.read_text().splitlines()[0].removeprefix("#!").split()
    subprocess.run([*shell, "-n", path], check=True)
    assert path.stat().st_mode & 0o111


def test_every_change_of_the_mutants_can_still_be_made() -> None:
    """A mutation whose line was rewritten has to be updated, or its tests no longer prove anything."""
    found = [
        f"{mutant.file}: {mutant.name}"
        for mutant in MUTANTS
        if any((ROOT / mutant.file).read_text().count(old) != 1 for old, _ in mutant.edits)
    ]
    assert found == []
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_help_lists_every_command() -> None:
    described = subprocess.run([ROOT / "dev", "help"], check=True, capture_output=True, text=True).stdout
    _, _, table = (ROOT / "dev").read_text().partition("case $command in")
    commands = re.findall(r"^([a-z]+)(?: \| .*)?\)$", table, re.MULTILINE)
    assert len(commands) > 1
    assert re.findall(r"^  ([a-z]+) ", described, re.MULTILINE) == [*commands[1:], commands[0]]
