"""Commands that belong to a process of the service: each runs in an interpreter of its own, and not in this one."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

MODULES: Final[Mapping[tuple[str, ...], str]] = {
    ("store", "convert"): "cofferdam_kim.convert",
    ("revoke",): "cofferdam_identity.revoke",
}
"""The modules, by the words that start them."""


def module_of(words: Sequence[str]) -> tuple[str, Sequence[str]] | None:
    """Return the module that words start, and the words for it; None if they start none."""
    for start, module in MODULES.items():
        if tuple(words[: len(start)]) == start:
            return module, words[len(start) :]
    return None


def become(module: str, words: Sequence[str]) -> NoReturn:
    """Replace this process by a module with its words.

    Raises:
        OSError: The interpreter cannot be executed.
    """
    os.execv(sys.executable, [sys.executable, "-m", module, *words])  # noqa: S606  no shell is wanted
