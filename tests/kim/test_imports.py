"""Nothing is imported or read by Python after the store is opened: by then the sandbox is closed."""

import subprocess
import sys
from pathlib import Path


def test_nothing_is_imported_late(path: Path) -> None:
    child = subprocess.run(
        [sys.executable, Path(__file__).parent / "import_child.py", path], capture_output=True, check=True, timeout=30
    )
    assert child.stdout.decode().splitlines() == ["asked 15"]
