"""`cofferdam store convert`: runs the key store's own command, in its process and not in this one."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

CONVERT = ["store", "convert"]
"""The words that start it."""


def convert(words: Sequence[str]) -> NoReturn:
    """Replace this process by the conversion, with the words that follow.

    Raises:
        OSError: The interpreter cannot be executed.
    """
    os.execv(sys.executable, [sys.executable, "-m", "cofferdam_kim.convert", *words])  # noqa: S606  no shell is wanted
