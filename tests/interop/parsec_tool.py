"""parsec-tool 0.7.0 itself: the released program, built from its source or, where that cannot be, Debian's build."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.harness.interpreter import CHECKOUT
from tests.harness.lab import LabMissingError, lab_file

VERSION: Final = "0.7.0"
CACHE: Final = CHECKOUT / ".cache" / "interop"
_BUILD_S: Final = 600
_RUN_S: Final = 60


class ToolMissingError(Exception):
    """Raised when no parsec-tool can be had; the text says what was tried."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one run of the tool came to."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class ParsecTool:
    """The tool against one service."""

    words: tuple[str, ...]
    endpoint: str = ""

    def at(self, endpoint: str) -> "ParsecTool":
        """Return the tool for a service."""
        return ParsecTool(self.words, endpoint)

    def run(self, *arguments: str) -> Result:
        """Run a subcommand."""
        done = subprocess.run(
            [*self.words, *arguments],
            check=False,
            env={"PATH": os.defpath, "PARSEC_SERVICE_ENDPOINT": self.endpoint},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_RUN_S,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def succeed(self, *arguments: str) -> str:
        """Run a subcommand that has to succeed, and return its standard output."""
        result = self.run(*arguments)
        assert result.code == 0, f"{arguments} ended with {result.code}: {result.err}"
        return result.out

    def fail(self, error: str, *arguments: str) -> None:
        """Run a subcommand that has to fail with the client library's name for an error, and to print no result."""
        result = self.run(*arguments)
        assert result.code == 1, f"{arguments} ended with {result.code}: {result.err}"
        assert f"({error})" in result.err, f"{arguments}: {error} expected: {result.err}"
        assert result.out == "", f"{arguments} printed {result.out!r}"


def obtain(wanted: str) -> ParsecTool:
    """Return the tool, built if need be.

    Args:
        wanted: `auto`, `cargo`, `debian`, or the path of a program.

    Raises:
        ToolMissingError: There is no way to have it.
    """
    ways = {"cargo": _by_cargo, "debian": _from_debian}
    if wanted not in {"auto", *ways}:
        return ParsecTool((wanted,))
    problems = []
    for name, way in ways.items():
        if wanted in {"auto", name}:
            try:
                return ParsecTool(way())
            except (ToolMissingError, LabMissingError, OSError, subprocess.SubprocessError) as error:
                problems.append(f"{name}: {error}")
    raise ToolMissingError("no parsec-tool: " + "; ".join(problems))


def _by_cargo() -> tuple[str, ...]:
    root = CACHE / f"parsec-tool-{VERSION}"
    program = root / "bin" / "parsec-tool"
    if not program.exists():
        cargo = shutil.which("cargo")
        if cargo is None:
            raise ToolMissingError("there is no cargo")
        print(f"building parsec-tool {VERSION}; this takes a minute or two, once", flush=True)
        words = [cargo, "install", "parsec-tool", "--version", VERSION, "--locked", "--quiet", "--root", str(root)]
        subprocess.run(words, check=True, timeout=_BUILD_S, stdin=subprocess.DEVNULL)
    return (str(program),)


def _from_debian() -> tuple[str, ...]:
    """Unpack Debian's package with all that it needs, and run it with its own libraries."""
    lab = CACHE / "debian"
    words: Sequence[str] = ["sh", str(lab_file("setup_peer.sh")), "tree"]
    done = subprocess.run(
        words, check=True, timeout=_BUILD_S, env={**os.environ, "LAB_DIR": str(lab)}, capture_output=True, text=True
    )
    tree = Path(done.stdout.strip())
    loader = next(iter(sorted((tree / "usr").glob("lib*/ld-linux-*.so.*"))), None)
    libraries = next(iter(sorted((tree / "usr" / "lib").glob("*-linux-gnu"))), None)
    if loader is None or libraries is None:
        raise ToolMissingError(f"the tree {tree} has no loader")
    return str(loader), "--library-path", str(libraries), str(tree / "usr" / "bin" / "parsec-tool")
