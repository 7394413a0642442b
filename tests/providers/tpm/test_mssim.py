"""The transport of the specification's simulator, which a thread in front of an swtpm simulates here.

Source: TCG, "Trusted Platform Module Library", part 4, annex D: Simulator; TcpServerPosix of the reference code.
"""

import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from tests.harness.tpm.channel import LOOPBACK
from tests.harness.tpm.swtpm import Swtpm, free_port
from tests.providers.tpm.test_device import made, opened, signs, way

_U32 = struct.Struct(">I")
_POWER_ON, _SEND_COMMAND, _NV_ON = 1, 8, 11
_DONE = _U32.pack(0)


class Simulator:
    """Takes one connection for signals and one for commands."""

    def __init__(self, tpm: Swtpm) -> None:
        self._tpm = tpm
        self.port = free_port()
        self.signals: list[int] = []
        self._platform = socket.create_server((LOOPBACK, self.port + 1))
        self._commands = socket.create_server((LOOPBACK, self.port))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._thread.join(5)
        self._platform.close()
        self._commands.close()

    def _serve(self) -> None:
        platform, _ = self._platform.accept()
        with platform:
            while signal := platform.recv(_U32.size):
                self.signals += _U32.unpack(signal)
                platform.sendall(_DONE)
        commands, _ = self._commands.accept()
        with commands:
            while head := commands.recv(9, socket.MSG_WAITALL):
                kind, locality, size = struct.unpack(">IBI", head)
                assert (kind, locality) == (_SEND_COMMAND, 0)
                answer = self._tpm.exchange(commands.recv(size, socket.MSG_WAITALL))
                commands.sendall(_U32.pack(len(answer)) + answer + _DONE)


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Swtpm() as tpm:
        running = Simulator(tpm)
        yield running
        running.close()


def test_the_simulator_of_the_specification(simulator: Simulator) -> None:
    with opened(way("mssim", host=LOOPBACK, port=simulator.port)) as device:
        signs(device, made(device, device.root))
    assert simulator.signals == [_POWER_ON, _NV_ON]
