"""The reference service's tools, which are installed beside a checkout and do not belong to it."""

import os
from pathlib import Path

from tests.harness.interpreter import CHECKOUT


class LabMissingError(Exception):
    """Raised when a tool is neither beside the checkout nor where COFFERDAM_LAB points."""


def lab_file(name: str) -> Path:
    """Return the path of a file of the lab."""
    folders = [CHECKOUT.parent / "shared" / "lab"]
    if named := os.environ.get("COFFERDAM_LAB"):
        folders.append(Path(named))
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise LabMissingError(f"{name} is missing: neither in ../shared/lab beside this checkout nor in COFFERDAM_LAB")
