"""Files that a worker left under another uid, given to the worker that uses them now, before privileges are dropped.

Until workers had uids of their own, a worker's uid followed from its provider's place in the configuration.
"""

import os
from collections.abc import Iterable
from typing import Final

from cofferdam_contracts.roles import WORKER_OFFSETS
from cofferdam_providers.pkcs11.module_access import ModuleAccessError, give
from cofferdam_runtime.entry import Start
from cofferdam_runtime.files import LinkError, open_folder, real_path

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
    # Without predecessors there is nothing to give, and the worker itself says what it cannot open.
    for folder in folders if predecessors else ():
        try:
            descriptor, _ = open_folder(real_path(folder))
            try:
                if os.fstat(descriptor).st_uid in predecessors:
                    given[folder] = _give(folder, descriptor, predecessors, start.uid or 0)
            finally:
                os.close(descriptor)
        except (FileNotFoundError, NotADirectoryError, LinkError):
            pass  # the worker complains, if it needs it
        except OSError as error:
            raise ModuleAccessError(f"{error.filename or folder} cannot be given to {start.uid}: {error}") from error
    return given


def _give(folder: str, opened: int, predecessors: set[int], uid: int) -> int:
    """Change the owner of everything in a folder, and last of the folder itself, so that an interrupted run resumes."""
    given = 0
    for path, _, files, descriptor in os.fwalk(".", topdown=False, follow_symlinks=False, dir_fd=opened):
        for name in (*files, "."):
            given += give(descriptor, name, uid, predecessors)
        if given > MOST:
            full = os.path.normpath(os.path.join(folder, path))
            raise ModuleAccessError(f"{full} has too many files of other workers; chown -R {uid}:{uid} {folder}")
    return given
