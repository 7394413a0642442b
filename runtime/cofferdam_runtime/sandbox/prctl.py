"""The only module that uses python-prctl, so that another binding could replace it."""

import signal
from collections.abc import Collection
from typing import Final

import prctl

from cofferdam_runtime.sandbox import kernel
from cofferdam_runtime.sandbox.errors import step

# linux/securebits.h: uid 0 has no special capabilities, and capabilities are not kept over setuid; all locked.
# The uid fix-up stays on: it empties the capability sets when the uid changes.
SECBIT_KEEP_CAPS_LOCKED: Final = 1 << 5
SECBIT_NOROOT: Final = 1 << 0
SECBIT_NOROOT_LOCKED: Final = 1 << 1
SECBIT_NO_SETUID_FIXUP_LOCKED: Final = 1 << 3
_CALL: Final = "prctl(2), which the filter of a container may forbid"
_SECUREBITS: Final = SECBIT_KEEP_CAPS_LOCKED | SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP_LOCKED


@step("set no_new_privs", _CALL)
def forbid_new_privileges() -> None:
    """Keep every later exec from gaining privileges; cannot be undone."""
    prctl.set_no_new_privs(1)


@step("become untraceable", _CALL)
def forbid_dumps() -> None:
    """Keep other processes of the same user from tracing this one or reading its memory, and forbid core dumps.

    A change of uid or an exec resets this.
    """
    prctl.set_dumpable(0)


@step("end with the parent", _CALL)
def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends; a change of uid resets this."""
    prctl.set_pdeathsig(signal.SIGKILL)


def sleep_exactly() -> None:
    """Keep the kernel from prolonging this thread's short sleeps by 50 µs (PR_SET_TIMERSLACK)."""
    prctl.set_timerslack(1)


def may_change_bounding_set() -> bool:
    """Tell whether this process has CAP_SETPCAP, as a process started by root does."""
    return bool(prctl.cap_effective.setpcap)


@step("lock the securebits", "CAP_SETPCAP")
def lock_securebits() -> None:
    """Make uid 0 an ordinary uid for this process and its children; needs CAP_SETPCAP."""
    prctl.set_securebits(_SECUREBITS)


@step("empty the bounding set", "CAP_SETPCAP")
def limit_bounding_set(keep: Collection[str] = ()) -> None:
    """Drop all but the named capabilities from those that a later exec could gain; needs CAP_SETPCAP."""
    prctl.capbset.limit(*keep)
    # A newer kernel may have capabilities for which the binding has no names.
    kernel.drop_bounding_set_from(len(prctl.ALL_CAPS))


@step("give up capabilities", "capset(2), which the filter of a container may forbid")
def limit_capabilities(keep: Collection[str] = ()) -> None:
    """Give up all but the named capabilities; none is gained."""
    # The kernel rejects a permitted set that is smaller than the effective one.
    prctl.cap_effective.limit(*keep)
    prctl.cap_permitted.limit(*keep)
    prctl.cap_inheritable.limit()
