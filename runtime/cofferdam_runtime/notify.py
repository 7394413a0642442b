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
        microseconds = os.environ.pop("WATCHDOG_USEC", "0")
        watched = os.environ.pop("WATCHDOG_PID", str(os.getpid()))
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = int(microseconds) / 2e6 if microseconds.isdigit() and watched == str(os.getpid()) else 0.0
        """Interval of WATCHDOG=1: half of what systemd allows, 0 for no watchdog."""
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM) if address else None
        self._said = ""

    def ready(self, status: str) -> None:
        """Report that clients are served."""
        self._said = status
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        """Report what the service does now, in one line, if that is news."""
        if status != self._said:
            self._said = status
            self._send(f"STATUS={status}")

    def reloading(self) -> None:
        """Report that the configuration is being reloaded (systemd.service(5), notify-reload)."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}\nSTATUS=Reloading")

    def stopping(self) -> None:
        """Report that the service is shutting down."""
        self._send("STOPPING=1\nSTATUS=Stopping")

    def alive(self) -> None:
        """Reset the watchdog timer."""
        self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(text.encode(), _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL, self._address)
        except OSError as error:
            self._log.warning("the service manager could not be notified", cause=error)
