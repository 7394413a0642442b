"""sd_notify(3): reports the state of the service to systemd. Does nothing without systemd."""

import _socket
import os
import time

from cofferdam_runtime.log import Log


class Notifier:
    """The service manager's notification socket."""

    def __init__(self, log: Log) -> None:
        """Remove the socket and the watchdog from the environment, so that no child inherits them."""
        self._log = log
        address = os.environ.pop("NOTIFY_SOCKET", "")
        watched = os.environ.pop("WATCHDOG_PID", str(os.getpid()))
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watched = os.environ.pop("WATCHDOG_USEC", "0") != "0" and watched == str(os.getpid())
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM) if address else None
        self._said = ""
        """The status; empty while a start or a reload is under way, for which systemd has a time limit."""

    def ready(self, status: str) -> None:
        """Report that clients are served."""
        self._said = status
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        """Report what the service does now, in one line, if that is news and no start or reload is under way."""
        if self._said and status != self._said:
            self._said = status
            self._send(f"STATUS={status}")

    def reloading(self) -> None:
        """Report that the configuration is being reloaded (systemd.service(5), notify-reload)."""
        self._said = ""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}\nSTATUS=Reloading")

    def stopping(self) -> None:
        """Report that the service is shutting down."""
        self._said = "Stopping"
        self._send(f"STOPPING=1\nSTATUS={self._said}")

    def alive(self) -> None:
        """Report, once a second, that all is well: reset the watchdog, and give a start or reload 30 s more."""
        if self._watched or not self._said:
            self._send("WATCHDOG=1" if self._said else "WATCHDOG=1\nEXTEND_TIMEOUT_USEC=30000000")

    def _send(self, text: str) -> None:
        if self._socket is not None:
            try:
                self._socket.sendto(text.encode(), _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL, self._address)
            except OSError as error:
                self._log.warning("the service manager could not be notified", cause=error)
