"""Files that a worker left under another uid, given to the worker that uses them now, before privileges are dropped.

Until workers had uids of their own, a worker's uid followed from its provider's place in the configuration.
"""

import os
import stat
from collections.abc import Iterable
from typing import Final

from cofferdam_contracts.roles import WORKER_OFFSETS
from cofferdam_providers.pkcs11.module_access import ModuleAccessError, give
from cofferdam_runtime.entry import Start

MOST: Final = 100_000
"""Files and folders that are handed over in one start."""


def uids_of_workers(start: Start) -> range:
    """Return the uids that any worker of this service may have had; none if processes have no uids of their own."""
    if start.uid is None:
        return range(0)
    base = start.uid - start.role.row.uid_offset
    return range(base + WORKER_OFFSETS.start, base + WORKER_OFFSETS.stop)


def inherit(folders: Iterable[str], start: Start) -> dict[str, int]:
    """Give the worker what another worker's uid owns in those of the folders that such a uid owns itself.

    Returns:
        How many files and folders were given, by folder.

    Raises:
        ModuleAccessError: There are too many, or the kernel refused.
    """
    predecessors = set(uids_of_workers(start)) - {start.uid}
    given: dict[str, int] = {}
    for folder in folders:
        try:
            state = os.lstat(folder)
            if stat.S_ISDIR(state.st_mode) and state.st_uid in predecessors:
                given[folder] = _give(folder, predecessors, start.uid or 0)
        except FileNotFoundError:
            pass  # the worker complains, if it needs it
        except OSError as error:
            raise ModuleAccessError(f"{error.filename or folder} cannot be given to {start.uid}: {error}") from error
    return given


def _give(folder: str, predecessors: set[int], uid: int) -> int:
    """Change the owner of everything in a folder, and last of the folder itself, so that an interrupted run resumes."""
    given = 0
    for path, _, files, descriptor in os.fwalk(folder, topdown=False, follow_symlinks=False):
        for name in (*files, "."):
            given += give(descriptor, name, uid, predecessors)
        if given > MOST:
            raise ModuleAccessError(f"{path} has too many files of other workers; chown -R {uid}:{uid} {folder}")
    return given
