"""The listening sockets: one for clients, one for readers of the status."""

import _socket
import os
import stat
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache
from typing import Final

from cofferdam_contracts.settings import BrokerSettings
from cofferdam_runtime.log import Log
from cofferdam_runtime.loop import READ, Loop

_FIRST_ACTIVATED: Final = 3
CLIENT_MODE: Final = 0o666
STATUS_MODE: Final = 0o600
_GROUP_MODE: Final = 0o660
_BACKLOG: Final = 4096
"""During a flood of connects, other clients' connects fail if the queue is short, and wait, up to 70 ms, if long."""
_UCRED: Final = struct.Struct("=iII")
MOST_STATUS: Final = 1 << 18
"""More bytes than the status can have: 3 for a byte of each text, and 300 for a process."""
_ACCEPTS: Final = 64
"""Connections accepted before the loop serves other descriptors."""


class ListenError(Exception):
    """Raised when a socket cannot be set up; the text says which and what to do."""


def activated() -> _socket.socket | None:
    """Return the listening socket that systemd passed (sd_listen_fds(3)), None without socket activation.

    Raises:
        ListenError: systemd passed anything but one listening Unix stream socket.
    """
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "0")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or count == "0":
        return None
    if count != "1":
        raise ListenError(f"socket activation passed {count} descriptors; the unit must have one ListenStream=")
    try:
        found = _socket.socket(fileno=_FIRST_ACTIVATED)
        listening = found.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN)
    except OSError as error:
        raise ListenError(f"descriptor 3 of the socket activation: {error.strerror}") from error
    if (found.family, found.type) != (_socket.AF_UNIX, _socket.SOCK_STREAM) or not listening:
        raise ListenError("descriptor 3 of the socket activation is not a listening Unix stream socket")
    os.set_inheritable(_FIRST_ACTIVATED, False)  # noqa: FBT003  the standard library's signature
    found.setblocking(False)  # noqa: FBT003
    return found


def bind(path: str, mode: int) -> _socket.socket:
    """Listen at a path; a stale socket there is replaced, a live one or another file is not.

    Raises:
        ListenError: The path is in use or cannot be bound.
    """
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    listener.setblocking(False)  # noqa: FBT003
    try:
        _clear(path)
        # bind creates the file with the socket's mode, less the umask; a chmod by path could follow a link.
        os.fchmod(listener.fileno(), mode)
        umask = os.umask(0)
        try:
            listener.bind(path)
        finally:
            os.umask(umask)
        listener.listen(_BACKLOG)
    except ListenError:
        listener.close()
        raise
    except OSError as error:
        listener.close()
        hint = "make its folder first" if isinstance(error, FileNotFoundError) else "check owner and mode of its folder"
        raise ListenError(f"socket {path}: {error.strerror}; {hint}") from error
    return listener


Arrival = tuple[int, _socket.socket]
"""The peer's uid, as the kernel reports it, and the connection."""


class Acceptor:
    """Accepts connections; holds a descriptor in reserve for when the process has none left."""

    def __init__(self, log: Log) -> None:
        """Open the reserve."""
        self._log = log
        self._reserve = -1
        self._keep_reserve()

    def accept(self, listener: _socket.socket) -> Iterator[Arrival]:
        """Yield up to `_ACCEPTS` pending connections, each with the peer's uid."""
        for _ in range(_ACCEPTS):
            try:
                descriptor, _ = listener._accept()  # type: ignore[attr-defined]  # noqa: SLF001  the plain accept4(2)
            except BlockingIOError:
                return
            except OSError as error:
                self._shed(listener, error)
                return
            connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, descriptor)
            yield _uid_of(connection), connection

    def close(self) -> None:
        """Close the reserve."""
        if self._reserve >= 0:
            os.close(self._reserve)
            self._reserve = -1

    def _shed(self, listener: _socket.socket, error: OSError) -> None:
        """Use the reserve to accept and close one connection, which would otherwise wake the loop for ever."""
        self._log.error("a connection cannot be accepted; raise LimitNOFILE=", cause=error.strerror)
        self.close()
        with suppress(OSError):  # the peer is gone, or another resource is short
            os.close(listener._accept()[0])  # type: ignore[attr-defined]  # noqa: SLF001
        self._keep_reserve()

    def _keep_reserve(self) -> None:
        try:
            self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._reserve = -1  # another open took the descriptor; `_shed` tries again


class Door:
    """A listening socket at a path; its file is made again if somebody removes it."""

    def __init__(self, loop: Loop, path: str, mode: int, passed: _socket.socket | None = None) -> None:
        """Adopt the socket that systemd passed, or bind one; connections have to wait until `open`.

        Raises:
            ListenError: The path is in use or cannot be bound.
        """
        self._loop, self._path, self._mode, self._passed = loop, path, mode, passed
        self._socket = bind(path, mode) if passed is None else passed
        self._file = self._seen = _file_at(path)
        self._serve: Callable[[_socket.socket], None] | None = None
        self._group: int | None = None

    def admit(self, group: int | None) -> None:
        """Let the members of a group connect as well; with None, only the socket's owner and root may.

        Raises:
            ListenError: The group cannot be given the socket.
        """
        self._group = group
        admit(self._path, group)

    def open(self, serve: Callable[[_socket.socket], None]) -> None:
        """Call back with the socket while connections are pending on it."""
        self._serve = serve
        self._loop.add(self._socket.fileno(), READ, lambda _events: serve(self._socket))

    def shut(self) -> None:
        """Stop calling back; connections wait in the kernel's backlog."""
        self._loop.remove(self._socket.fileno())
        self._serve = None

    def close(self) -> None:
        """Close the socket, and remove its file unless systemd, or somebody else, made it."""
        if self._passed is None and _file_at(self._path) == self._file is not None:
            with suppress(OSError):  # its folder may have gone, too
                os.unlink(self._path)
        self._socket.close()

    def look(self, log: Log) -> None:
        """Bind again if the file is not there any more; log what cannot be mended once.

        While nobody is called back, those who have connected wait in the old socket, so that stays until `open`.
        """
        before, self._seen = self._seen, _file_at(self._path) if self._serve else self._seen
        if self._serve is None or self._seen == self._file or (before == self._seen and (self._seen or self._passed)):
            return
        cause: object = "it is systemd's, which makes it"
        try:
            if self._passed is None:
                self._replace(bind(self._path, self._mode), self._serve, log)
                return
        except ListenError as error:
            cause = error
        if before != self._seen:
            remedy = "systemctl restart cofferdam.socket cofferdam.service"
            log.error("a socket's file is gone; nobody can connect", file=self._path, cause=cause, remedy=remedy)

    def _replace(self, fresh: _socket.socket, serve: Callable[[_socket.socket], None], log: Log) -> None:
        self.shut()
        old, self._socket = self._socket, fresh
        self._file = self._seen = _file_at(self._path)
        for _ in range(0, _BACKLOG + 1, _ACCEPTS):
            serve(old)  # all who have connected before
        old.close()
        self.open(serve)
        log.warning("a socket's file was removed and is made again", file=self._path)
        try:
            if self._group is not None:
                admit(self._path, self._group)
        except ListenError as error:
            log.error("the group of a socket is lost; its members cannot connect", file=self._path, cause=error)


class Sockets:
    """The two listening sockets of the service, on its loop."""

    def __init__(self, loop: Loop, log: Log) -> None:
        """Adopt the socket that systemd passed, if any.

        Raises:
            ListenError: The passed socket cannot be used.
        """
        self._loop, self._acceptor = loop, Acceptor(log)
        self._passed = activated()
        self._doors: list[Door] = []

    def bind(self, settings: BrokerSettings, status: Callable[[bool], bytes]) -> None:
        """Bind the sockets that are not bound yet, and serve the status; clients have to wait until `serve`.

        Args:
            settings: Where the sockets are, and which group may read the status, too.
            status: Returns it, for the service's own user and root (True) or for members of the group.

        Raises:
            ListenError: A path is in use or cannot be bound, or the group cannot be given the socket.
        """
        if not self._doors:
            path = settings.socket_path if self._passed is None else str(self._passed.getsockname())
            self._doors.append(Door(self._loop, path, CLIENT_MODE, self._passed))
        if len(self._doors) == 1:
            self._doors.append(Door(self._loop, settings.status_path, STATUS_MODE))
            self._doors[1].open(lambda bound: hand_out(self._acceptor.accept(bound), status))
        self._doors[1].admit(settings.status_group)

    def serve(self, accept: Callable[[_socket.socket], None]) -> None:
        """Call back with the clients' socket while connections are pending on it."""
        self._doors[0].open(accept)

    def pause(self) -> None:
        """Stop accepting; clients wait in the kernel's backlog."""
        if self._doors:
            self._doors[0].shut()

    def look(self, log: Log) -> None:
        """Make files of sockets again that were removed, to be called once a second."""
        for door in self._doors:
            door.look(log)

    def close(self, *, refuse: bool) -> None:
        """Close both sockets, and remove their files except one that systemd made.

        Args:
            refuse: Whether to close the connections that wait in systemd's socket, for which it would start the service
                again at once.
        """
        for door in self._doors:
            door.close()
        self._acceptor.close()
        if refuse and self._passed is not None:
            with suppress(OSError):  # nobody waits any more
                for _ in range(_BACKLOG):
                    os.close(self._passed._accept()[0])  # type: ignore[attr-defined]  # noqa: SLF001


def _file_at(path: str) -> tuple[int, int] | None:
    """Return device and inode of what is at a path, None if there is nothing."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except (OSError, ValueError):  # an abstract address has no file
        return None
    return found.st_dev, found.st_ino


def admit(path: str, group: int | None) -> None:
    """Let the members of a group connect to our socket at a path, or nobody but its owner and root.

    Raises:
        ListenError: The group cannot be given the socket.
    """
    try:
        # By descriptor: a path could become a link between two calls.
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return  # somebody removed it; it is made again within a second
    found = os.fstat(descriptor)
    itself = f"/proc/self/fd/{descriptor}"
    try:
        if stat.S_ISSOCK(found.st_mode) and found.st_uid == os.geteuid():
            os.chmod(itself, STATUS_MODE)
            os.chown(itself, -1, os.getegid() if group is None else group)
            os.chmod(itself, STATUS_MODE if group is None else _GROUP_MODE)
    except OSError as error:
        raise ListenError(
            f"socket {path} cannot be given to group {group}: {error.strerror}; whoever starts the service has to be a "
            "member of service.status_group, or root"
        ) from error
    finally:
        os.close(descriptor)


def hand_out(arrivals: Iterable[Arrival], document: Callable[[bool], bytes]) -> None:
    """Write a document to each connection and close it; nothing is read from them, and none is waited for.

    Readers that connect all the time take turns with everybody else, and those of one turn get the same document.
    """
    made = cache(document)
    for uid, reader in arrivals:
        with suppress(OSError):  # the reader is gone
            # The kernel keeps all of it until the reader takes it: it allows twice this much, as far as it allows it.
            reader.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, MOST_STATUS)
            reader.send(made(uid in {0, os.geteuid()}), _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL)
        reader.close()


def _uid_of(connection: _socket.socket) -> int:
    """Return the uid of the peer, as the kernel noted it when it connected."""
    return int(_UCRED.unpack(connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _UCRED.size))[1])


def _clear(path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise ListenError(f"socket {path}: something else is there; move it away")
    except FileNotFoundError:
        return
    probe = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        probe.setblocking(False)  # noqa: FBT003
        probe.connect(path)
    except ConnectionRefusedError:
        os.unlink(path)
        return
    except OSError:
        pass  # too many wait for it, or it is a socket of another type, such as the journal's
    finally:
        probe.close()
    raise ListenError(f"socket {path}: another service is listening there; stop it first")
