"""The client in Go: built with the standard library alone, so that it needs nothing but the toolchain."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.interop.parsec_tool import CACHE
from tests.interop.report import Report

SOURCE: Final = Path(__file__).parent / "go"
_TIME_S: Final = 300


class GoMissingError(Exception):
    """Raised when there is no Go toolchain."""


def build() -> str:
    """Build the client and return its path.

    Raises:
        GoMissingError: There is no toolchain.
    """
    go = shutil.which("go")
    if go is None:
        raise GoMissingError("there is no go")
    CACHE.mkdir(parents=True, exist_ok=True)
    program = CACHE / "go-client"
    subprocess.run([go, "vet", "./..."], check=True, timeout=_TIME_S, cwd=SOURCE)
    subprocess.run([go, "build", "-buildvcs=false", "-o", str(program), "."], check=True, timeout=_TIME_S, cwd=SOURCE)
    version = subprocess.run([go, "version"], check=True, capture_output=True, text=True).stdout
    print(version.strip(), flush=True)
    return str(program)


def run(program: str, socket_path: str, provider: int, report: Report) -> None:
    """Run the client against a provider.

    It prints `ok NAME` or `FAILED NAME: REASON` for each of its checks, and `end` at the end.
    """
    done = subprocess.run(
        [program, socket_path, str(provider)], check=False, capture_output=True, text=True, timeout=_TIME_S
    )
    lines = done.stdout.splitlines()
    for line in lines:
        verdict, _, text = line.partition(" ")
        if verdict in {"ok", "FAILED"}:
            report.count(passed=verdict == "ok", text=f"Go, provider {provider}: {text}")
    with report.check(f"Go, provider {provider}: all checks were made"):
        assert lines[-1:] == ["end"], done.stdout + done.stderr
