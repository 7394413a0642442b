"""Why this process cannot use a file, for messages to operators."""

import os
import stat
from collections.abc import Iterator


def obstacle(path: str, error: OSError) -> str:
    """Return the reason, the first element of the path that is in the way, its owner and mode, and our uid."""
    for element in (*_above(path), path):
        try:
            state = os.stat(element)
        except OSError as found:
            return f"{found.strerror} at {element}"
        if element != path and not os.access(element, os.X_OK, effective_ids=True):
            return f"{error.strerror} at {_state(element, state)}"
    return f"{error.strerror} at {_state(path, os.stat(path))}"


def _above(path: str) -> Iterator[str]:
    """Yield the folders above a path, from the root down."""
    parts = path.split("/")
    for count in range(1, len(parts)):
        yield "/".join(parts[:count]) or "/"


def _state(path: str, state: os.stat_result) -> str:
    mode, owner = stat.S_IMODE(state.st_mode), f"{state.st_uid}:{state.st_gid}"
    return f"{path}, with mode {mode:04o} and owner {owner}, for uid {os.geteuid()} in groups {os.getgroups()}"
