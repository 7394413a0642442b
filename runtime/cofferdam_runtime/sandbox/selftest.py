"""Self-test of the sandbox: each probe attempts something that must fail after confinement.

A probe that also fails before confinement proves nothing, since something else stopped it. So each is tried before as
well, and those that failed then are reported as unproven.
"""

import _socket
import importlib
import os
import sys
from collections.abc import Callable
from typing import Final, NamedTuple

from cofferdam_runtime.sandbox.errors import SandboxError
from cofferdam_runtime.sandbox.policy import Policy

_READABLE: Final = "/etc/passwd"
"""World-readable everywhere, and no policy grants it."""
_WRITABLE: Final = "/dev/null"
"""World-writable everywhere, and no policy grants it."""
_TEMPORARY: Final = "/tmp"  # noqa: S108  O_TMPFILE makes a file without a name
_SPARE_MODULE: Final = "colorsys"
"""Pure Python, imports nothing, and nothing imports it."""


class Probe(NamedTuple):
    """An attempt that must fail after confinement."""

    name: str
    attempt: Callable[[], None]
    """Raises OSError or ImportError when it fails."""
    syscall: str | None
    """The system call that the filter must refuse; None if the filter is not involved."""
    path: str | None = None
    """The path that Landlock must deny, unless the policy grants it."""

    def applies(self, policy: Policy, landlock_abi: int) -> bool:
        """Tell whether under the policy the attempt must fail, rather than succeed or kill the process."""
        if self.syscall is None or policy.refuses(self.syscall):
            return True
        if self.path is None or policy.grants(self.path):
            return False
        return self.syscall in policy.allowed and landlock_abi > 0


class SelfTest(NamedTuple):
    """Probes that were tried before confinement."""

    probes: tuple[Probe, ...]
    unproven: tuple[str, ...]
    """Names of the probes that failed even then."""
    sockets: tuple[_socket.socket, ...]
    """Those that the probes use."""

    def run(self, policy: Policy, landlock_abi: int) -> None:
        """Run the probes again.

        Raises:
            SandboxError: A probe succeeded, or all had failed even before confinement.
        """
        if len(self.unproven) == len(self.probes):
            raise SandboxError("no probe of the self-test works even without the sandbox")
        succeeded = [
            probe.name for probe in self.probes if probe.applies(policy, landlock_abi) and _succeeds(probe.attempt)
        ]
        for end in self.sockets:
            end.close()
        if succeeded:
            raise SandboxError(f"the sandbox does not stop: {', '.join(succeeded)}")


def prepare() -> SelfTest:
    """Run each probe before confinement, when it should succeed, and keep what the second run needs."""
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    # Autobind, unix(7): an unused abstract address.
    listener.bind("")
    listener.listen(2)
    address = listener.getsockname()
    # One to connect now, and one for the second run, which cannot make a socket.
    clients = [_socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET) for _ in range(2)]
    waiting = list(clients)
    probes = (
        Probe(name="read a file", attempt=_read, syscall="openat", path=_READABLE),
        Probe(name="write a file", attempt=_write, syscall="openat", path=_WRITABLE),
        Probe(name="make a file", attempt=_make, syscall="openat", path=_TEMPORARY),
        Probe(name="make a network socket", attempt=_make_inet_socket, syscall="socket"),
        Probe(name="connect to a local socket", attempt=lambda: waiting.pop().connect(address), syscall="connect"),
        Probe(name="fork", attempt=_fork, syscall="clone"),
        Probe(name="import a module", attempt=_import, syscall=None),
    )
    unproven = tuple(probe.name for probe in probes if not _succeeds(probe.attempt))
    return SelfTest(probes=probes, unproven=unproven, sockets=(listener, *clients))


def _succeeds(attempt: Callable[[], None]) -> bool:
    try:
        attempt()
    except (OSError, ImportError):
        return False
    return True


def _read() -> None:
    os.close(os.open(_READABLE, os.O_RDONLY | os.O_CLOEXEC))


def _write() -> None:
    os.close(os.open(_WRITABLE, os.O_WRONLY | os.O_CLOEXEC))


def _make() -> None:
    os.close(os.open(_TEMPORARY, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600))


def _make_inet_socket() -> None:
    _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM).close()


def _fork() -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


def _import() -> None:
    importlib.import_module(_SPARE_MODULE)
    del sys.modules[_SPARE_MODULE]
