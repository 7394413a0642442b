"""Which uids belong to which user (subuid(5)): a user who has many must not count as many."""

from typing import Final

from cofferdam_contracts.settings import UidRange

MAX_RANGES: Final = 8192
"""More are ignored: those uids count as a user each. The document of the broker stays below its limit."""
_UIDS: Final = range(1, (1 << 32) - 1)
_DIGITS: Final = 10


def ranges(subuid: str, passwd: str) -> tuple[UidRange, ...]:
    """Return the ranges of `/etc/subuid` with the uids of their users, which are there as names or numbers.

    A user that is not in `/etc/passwd` is represented by the first uid of its first range. Malformed lines are skipped.
    """
    uids = {name: int(rest[1]) for name, *rest in _rows(passwd) if len(rest) > 1 and _is_uid(rest[1])}
    found: list[UidRange] = []
    for name, *rest in _rows(subuid):
        try:
            first, count = (int(number) for number in rest if _is_uid(number))
        except ValueError:
            continue
        owner = int(name) if _is_uid(name) else uids.setdefault(name, first)
        found.append(UidRange(first=first, size=count, owner=owner))
    return tuple(found[:MAX_RANGES])


def users(passwd: str) -> dict[int, str]:
    """Return the names of users by uid; of several with one uid, the first."""
    found: dict[int, str] = {}
    for name, *rest in _rows(passwd):
        if len(rest) > 1 and _is_uid(rest[1]):
            found.setdefault(int(rest[1]), name)
    return found


def _rows(table: str) -> list[list[str]]:
    return [line.split(":") for line in table.splitlines() if ":" in line]


def _is_uid(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text) in _UIDS
