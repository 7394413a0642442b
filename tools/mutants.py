"""Break one line that security depends on, and see whether the tests notice.

`./dev mutants [WORD...]`: makes a copy of the checkout, and there one change after the other, each followed by the
tests that have to fail then. Words choose the changes whose name or file has one of them. A change that no test notices
is a survivor; it ends up as a test, or its line was of no use. The exit status is 1 if there is any, 2 if a change
cannot be made any more because its line has been rewritten: then it is written anew too.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.harness.interpreter import CHECKOUT
from tools.mutant import Mutant
from tools.mutants_table import MUTANTS

SECONDS: Final = 300
"""After which tests count as failed: a change may well make them hang."""
_FAILED: Final = 1
"""pytest's exit status for tests that failed."""


@dataclass(frozen=True)
class Copy:
    """A copy of the checkout with an environment of its own, in which the packages are those of the copy."""

    folder: Path

    @property
    def python(self) -> Path:
        """Return its interpreter."""
        return self.folder / ".venv" / "bin" / "python"

    def make(self) -> None:
        """Copy the files that git knows, and an environment that shares what is installed."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=CHECKOUT, capture_output=True, check=True,
        ).stdout  # fmt: skip
        for name in filter(None, listed.decode().split("\0")):
            if (CHECKOUT / name).is_file():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(CHECKOUT / name, self.folder / name)
        shared = Path(sys.prefix)
        site = Path("lib", f"python{sys.version_info.major}.{sys.version_info.minor}", "site-packages")
        venv = self.folder / ".venv"
        (venv / site).mkdir(parents=True)
        (venv / "bin").mkdir()
        shutil.copy(shared / "pyvenv.cfg", venv / "pyvenv.cfg")
        for entry in (shared / site).iterdir():
            # An editable install is a file of paths, and has those of the checkout.
            if entry.suffix == ".pth" and str(CHECKOUT) in entry.read_text():
                (venv / site / entry.name).write_text(entry.read_text().replace(str(CHECKOUT), str(self.folder)))
            else:
                (venv / site / entry.name).symlink_to(entry)
        for entry in (shared / "bin").iterdir():
            target = venv / "bin" / entry.name
            if entry.name == "cofferdam":
                target.write_text(entry.read_text().replace(str(shared), str(venv)))
                target.chmod(0o755)
            else:
                target.symlink_to(entry)

    def change(self, mutant: Mutant) -> str:
        """Make a change; return the file as it was.

        Raises:
            ValueError: What is to be replaced is not there exactly once.
        """
        path = self.folder / mutant.file
        before = text = path.read_text()
        for old, new in mutant.edits:
            if text.count(old) != 1:
                raise ValueError(f"{mutant.file} has {text.count(old)} times: {old!r}")
            text = text.replace(old, new)
        self.write(mutant.file, text)
        return before

    def write(self, file: str, text: str) -> None:
        """Write a file, and forget what was compiled of it: a change within a second may have the same size."""
        path = self.folder / file
        path.write_text(text)
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink()

    def passes(self, tests: tuple[str, ...]) -> bool:
        """Run tests, up to the first failure, and tell whether all passed.

        Raises:
            ValueError: They did not run.
        """
        try:
            done = subprocess.run(
                [self.python, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *tests],
                cwd=self.folder, capture_output=True, text=True, timeout=SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return False
        if done.returncode not in (0, _FAILED):
            raise ValueError(f"pytest ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")
        return done.returncode == 0


def main() -> int:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="./dev mutants", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("words", nargs="*", metavar="WORD", help="only changes whose name or file has one of these")
    parser.add_argument("--list", action="store_true", help="only say which changes there are")
    options = parser.parse_args()
    chosen = [
        mutant for mutant in MUTANTS
        if not options.words or any(word in f"{mutant.name} {mutant.file}" for word in options.words)
    ]  # fmt: skip
    if options.list:
        print("\n".join(f"{mutant.file}: {mutant.name}" for mutant in chosen))
        return 0
    folder = Path(tempfile.mkdtemp(prefix="cofferdam-mutants-"))
    try:
        # Processes with uids of their own look into it.
        folder.chmod(0o755)
        copy = Copy(folder)
        copy.make()
        outcomes = [_try(copy, mutant) for mutant in chosen]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{outcomes.count('noticed')} of {len(outcomes)} changes are noticed")
    return 2 if "impossible" in outcomes else int("SURVIVED" in outcomes)


def _try(copy: Copy, mutant: Mutant) -> str:
    began = time.monotonic()
    if mutant.root and os.geteuid() != 0:
        outcome, why = "noticed", "needs root"
    else:
        outcome, why = _attempt(copy, mutant)
    print(f"{outcome:10} {time.monotonic() - began:5.0f} s  {mutant.file}: {mutant.name} {why}", flush=True)
    return outcome


def _attempt(copy: Copy, mutant: Mutant) -> tuple[str, str]:
    try:
        before = copy.change(mutant)
    except ValueError as error:
        return "impossible", str(error)
    try:
        return ("SURVIVED" if copy.passes(mutant.tests) else "noticed"), ""
    except ValueError as error:
        return "impossible", str(error)
    finally:
        copy.write(mutant.file, before)


if __name__ == "__main__":
    sys.exit(main())
