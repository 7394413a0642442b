"""Transports to a TPM: a command goes out, its response comes back.

Each is opened once, with the worker's own identity and before system calls are filtered; afterwards it is a descriptor,
and the worker can open or connect nothing. A broken transport is not opened again in place: the worker ends, and its
successor starts from scratch. So a response that was on its way when something broke is never taken for the response to
another command.
"""

import os
import select
import socket
import stat
import struct
import time
from typing import Final, Protocol

from cofferdam_contracts.settings import TctiSettings
from cofferdam_providers.tpm.codes import HEADER, MOST_BYTES
from cofferdam_runtime.faults import explain

_MSSIM_SEND_COMMAND: Final = 8
_MSSIM_POWER_ON: Final = 1
_MSSIM_NV_ON: Final = 11
_U32: Final = struct.Struct(">I")
_CONNECT_S: Final = 3.0
_TAKEN: Final = "; it serves one connection at a time, and another program may have that"
_NEEDED: Final = "a TPM that the worker may use"
_SETTING: Final = "provider.tcti"
_MANAGED: Final = "tpmrm"
"""Prefixes of the kernel's names of devices with a resource manager."""


class TransportError(Exception):
    """Raised when the transport cannot be opened or broke, or no response came in time; the text says which."""


class Transport(Protocol):
    """A transport to a TPM."""

    starts_up: bool
    """Whether only its user starts the TPM: a simulator has no firmware and no kernel."""
    is_managed: bool
    """Whether a resource manager is in front of the TPM, which flushes what a dead client left behind."""

    def exchange(self, command: bytes, timeout_s: float) -> bytes:
        """Send a command and return the response, both with their headers.

        Raises:
            TransportError: The transport broke, or no response came in time; it cannot be used any more.
        """

    def close(self) -> None:
        """Close it."""


class DeviceTransport:
    """A device of the kernel: one write is a command, one read its response."""

    starts_up: bool = False

    def __init__(self, path: str) -> None:
        """Open it in non-blocking mode, in which the kernel executes a command in the background (Linux 5.1)."""
        self.is_managed = os.path.basename(path).startswith(_MANAGED)
        try:
            self._descriptor: Final = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise TransportError(explain(error, path, _NEEDED, _SETTING)) from error
        if not stat.S_ISCHR(os.fstat(self._descriptor).st_mode):
            os.close(self._descriptor)
            raise TransportError(f"{path}: found something that is no device, needed {_NEEDED}; correct {_SETTING}")
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)

    def exchange(self, command: bytes, timeout_s: float) -> bytes:
        """Implement `Transport`."""
        try:
            os.write(self._descriptor, command)
            if not self._poll.poll(timeout_s * 1000):
                raise TransportError(f"no answer within {timeout_s:.0f} s")
            return os.read(self._descriptor, MOST_BYTES)
        except OSError as error:
            raise TransportError(f"the device failed: {error.strerror}") from error

    def close(self) -> None:
        """Implement `Transport`."""
        os.close(self._descriptor)


class StreamTransport:
    """A simulator behind a socket, with plain commands and responses, as swtpm has it."""

    starts_up: bool = True
    is_managed: bool = False

    def __init__(self, tcti: TctiSettings) -> None:
        try:
            if tcti.path is not None:
                self._socket = _connect(socket.AF_UNIX, tcti.path)
            else:
                # A numeric address, so that no resolver is needed.
                family = socket.AF_INET6 if ":" in (tcti.host or "") else socket.AF_INET
                self._socket = _connect(family, (tcti.host, tcti.port))
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            where = tcti.path or f"{tcti.host}, port {tcti.port}"
            raise TransportError(explain(error, where, _NEEDED, _SETTING)) from error
        self._socket.setblocking(False)  # noqa: FBT003  the standard library's signature
        self._answered = False
        self._poll = select.poll()
        self._poll.register(self._socket.fileno(), select.POLLIN)

    def exchange(self, command: bytes, timeout_s: float) -> bytes:
        """Implement `Transport`."""
        deadline = time.monotonic() + timeout_s
        self._send(command)
        # Nothing but the response can arrive, and mostly all of it at once.
        answer = self._receive(HEADER, MOST_BYTES, deadline, timeout_s)
        size = _U32.unpack_from(answer, 2)[0]
        if not HEADER <= size <= MOST_BYTES:
            raise TransportError(f"an answer of {size} bytes")
        if left := size - len(answer):
            if left < 0:
                raise TransportError(f"{-left} bytes after an answer")
            answer += self._receive(left, left, deadline, timeout_s)
        return answer

    def close(self) -> None:
        """Implement `Transport`."""
        self._socket.close()

    def _send(self, data: bytes) -> None:
        if self._poll.poll(0):
            # Later responses would be taken for those to other commands.
            raise TransportError("unexpected data arrived, or the connection was closed")
        try:
            # A command is shorter than any socket's buffer, and the one before was answered.
            if self._socket.send(data) != len(data):
                raise TransportError("the connection accepts no more data")
        except OSError as error:
            raise TransportError(f"the connection failed: {error.strerror}") from error

    def _receive(self, least: int, most: int, deadline: float, timeout_s: float) -> bytes:
        data = b""
        while len(data) < least:
            # A response has hardly ever arrived before the wait for it begins.
            if not self._poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TransportError(f"no answer within {timeout_s:.1f} s{'' if self._answered else _TAKEN}")
            try:
                part = self._socket.recv(most - len(data))
            except BlockingIOError:
                continue
            except OSError as error:
                raise TransportError(f"the connection failed: {error.strerror}") from error
            if not part:
                raise TransportError("the connection was closed")
            data += part
        self._answered = True
        return data


class MssimTransport(StreamTransport):
    """The simulator of the TPM's specification, which wraps commands and has a second connection for its power."""

    def __init__(self, tcti: TctiSettings) -> None:
        """Connect, and switch the simulator on; nothing changes if it is on."""
        super().__init__(tcti._replace(port=(tcti.port or 0) + 1))
        for signal in (_MSSIM_POWER_ON, _MSSIM_NV_ON):
            self._send(_U32.pack(signal))
            self._receive(_U32.size, _U32.size, time.monotonic() + _CONNECT_S, _CONNECT_S)
        self._socket.close()
        super().__init__(tcti)

    def exchange(self, command: bytes, timeout_s: float) -> bytes:
        """Implement `Transport`; locality 0."""
        deadline = time.monotonic() + timeout_s
        self._send(_U32.pack(_MSSIM_SEND_COMMAND) + bytes(1) + _U32.pack(len(command)) + command)
        size = _U32.unpack(self._receive(_U32.size, _U32.size, deadline, timeout_s))[0]
        if not HEADER <= size <= MOST_BYTES:
            raise TransportError(f"an answer of {size} bytes")
        answer = self._receive(size, size, deadline, timeout_s)
        self._receive(_U32.size, _U32.size, deadline, timeout_s)
        return answer


class ManagerTransport:
    """The resource manager tpm2-abrmd, through its own library."""

    starts_up: bool = False
    is_managed: bool = True

    def __init__(self, tcti: TctiSettings) -> None:
        """Ask it for a connection over D-Bus."""
        from tpm2_pytss import TCTILdr, TSS2_Exception  # noqa: PLC0415  only here is the TSS's loader needed

        names = {"bus_name": tcti.bus_name, "bus_type": tcti.bus_type}
        configuration = ",".join(f"{name}={value}" for name, value in names.items() if value is not None)
        self._error: Final = TSS2_Exception
        try:
            self._tcti = TCTILdr("tabrmd", configuration or None)
        except TSS2_Exception as error:
            raise TransportError(
                f"tpm2-abrmd: {error}; start it, and let uid {os.getuid()} talk to it over D-Bus, or correct {_SETTING}"
            ) from error

    def exchange(self, command: bytes, timeout_s: float) -> bytes:
        """Implement `Transport`."""
        try:
            self._tcti.transmit(command)
            return bytes(self._tcti.receive(timeout=int(timeout_s * 1000)))
        except self._error as error:
            raise TransportError(f"tpm2-abrmd: {error}") from error

    def close(self) -> None:
        """Implement `Transport`."""
        self._tcti.close()


def _connect(family: socket.AddressFamily, address: str | tuple[str | None, int | None]) -> socket.socket:
    connected = socket.socket(family)
    try:
        connected.settimeout(_CONNECT_S)
        connected.connect(address)
    except OSError:
        connected.close()
        raise
    return connected


def open_transport(tcti: TctiSettings) -> Transport:
    """Open the configured transport.

    Raises:
        TransportError: There is nothing, or it may not be used.
    """
    match tcti.kind:
        case "device":
            return DeviceTransport(tcti.path or "")
        case "swtpm":
            return StreamTransport(tcti)
        case "mssim":
            return MssimTransport(tcti)
        case _:
            return ManagerTransport(tcti)
