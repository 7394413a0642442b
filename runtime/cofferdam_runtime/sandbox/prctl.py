"""The one module that uses python-prctl, so that another binding could take its place."""

import signal
from collections.abc import Collection
from typing import Final

import prctl

from cofferdam_runtime.sandbox import kernel

# linux/securebits.h: uid 0 gives no capabilities, no keeping of capabilities over setuid; all locked.
# The uid fix-up stays on: it is what empties the sets when the uid changes.
SECBIT_KEEP_CAPS_LOCKED: Final = 1 << 5
SECBIT_NOROOT: Final = 1 << 0
SECBIT_NOROOT_LOCKED: Final = 1 << 1
SECBIT_NO_SETUID_FIXUP_LOCKED: Final = 1 << 3
_SECUREBITS: Final = SECBIT_KEEP_CAPS_LOCKED | SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP_LOCKED


def forbid_new_privileges() -> None:
    """Let no exec give more privileges than there are; cannot be undone."""
    prctl.set_no_new_privs(1)


def forbid_dumps() -> None:
    """Keep other processes of the same user from tracing this one and reading its memory, and the kernel from dumping.

    A change of uid and an exec reset this.
    """
    prctl.set_dumpable(0)


def die_with_parent() -> None:
    """Be killed when the thread that started this process ends; a change of uid resets this."""
    prctl.set_pdeathsig(signal.SIGKILL)


def sleep_exactly() -> None:
    """Let short sleeps of this thread take what they say, and not 50 µs more (PR_SET_TIMERSLACK)."""
    prctl.set_timerslack(1)


def may_change_bounding_set() -> bool:
    """Tell whether this process has CAP_SETPCAP, as one that was started by root does."""
    return bool(prctl.cap_effective.setpcap)


def lock_securebits() -> None:
    """Make uid 0 an ordinary uid for this process and its children; needs CAP_SETPCAP."""
    prctl.set_securebits(_SECUREBITS)


def limit_bounding_set(keep: Collection[str] = ()) -> None:
    """Drop all but the named capabilities from what any later exec could give; needs CAP_SETPCAP."""
    prctl.capbset.limit(*keep)
    # A later kernel may have capabilities that the binding has no names for.
    kernel.drop_bounding_set_from(len(prctl.ALL_CAPS))


def limit_capabilities(keep: Collection[str] = ()) -> None:
    """Give up all but the named capabilities; those that are not there stay away."""
    # The kernel refuses a permitted set that is smaller than the effective one.
    prctl.cap_effective.limit(*keep)
    prctl.cap_permitted.limit(*keep)
    prctl.cap_inheritable.limit()
