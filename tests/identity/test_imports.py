"""Nothing is imported or opened once tokens are verified: by then the sandbox is closed."""

import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def test_nothing_is_imported_late() -> None:
    command = [sys.executable, "-m", "tests.identity.import_child"]
    child = subprocess.run(command, cwd=_ROOT, capture_output=True, check=True, timeout=60)
    assert child.stdout.decode() == "revocation 1, of its issuer, late: []\n"
