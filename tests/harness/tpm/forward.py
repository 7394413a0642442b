"""The process of the shim: forwards the commands of several clients to one TPM, one at a time, as scheduled.

    python -m tests.harness.tpm.forward LISTEN TPM SCHEDULE JOURNAL [wire]

LISTEN and TPM are ports, TPM may be the path of a Unix socket. It says `ready` once it listens, at LISTEN for commands
and beside it for the control channel, whose bytes it passes on as they are.

The TPM gets a connection for each command. swtpm serves one at a time, and a kept one would lock out tpm2-tools, a
harness that wants to cut the power, and every other shim.
"""

import contextlib
import itertools
import json
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Final

from tests.harness.tpm.channel import (
    HEADER,
    LOOPBACK,
    SESSIONS,
    Address,
    BadMessageError,
    answer_of,
    code_of,
    connect,
    control_of,
    receive,
)
from tests.harness.tpm.codes import name_of
from tests.harness.tpm.rules import ANY, Action, Rule, flipped, from_text

_PIECE: Final = 65536
_GARBAGE: Final = b"\xa5"
_SILENT: Final = frozenset({Action.HANG, Action.CLOSE, Action.DROP})
"""Nothing is answered."""
_IN_PLACE: Final = _SILENT | {Action.RC, Action.GARBAGE}
"""The TPM is not asked, unless the rule comes after it."""
_GONE: Final = "gone"
"""What the journal says when the TPM does not answer."""


class Schedule:
    """The rules of the file, read anew whenever another file has taken its place."""

    def __init__(self, path: Path) -> None:
        self._path: Final = path
        self._seen: tuple[int, int] | None = None
        self._rules: list[Rule] = []
        self._commands: list[int] = []
        self._applied: list[int] = []

    def rule_for(self, command: str) -> Rule | None:
        """Count a command, and return the rule that is due for it."""
        status = os.stat(self._path)
        if self._seen != (status.st_ino, status.st_mtime_ns):
            self._seen = (status.st_ino, status.st_mtime_ns)
            self._rules = from_text(self._path.read_text())
            self._commands = [0] * len(self._rules)
            self._applied = [0] * len(self._rules)
        due = None
        for index, rule in enumerate(self._rules):
            if rule.command in {command, ANY}:
                self._commands[index] += 1
                if due is None and rule.is_due(self._commands[index], self._applied[index]):
                    self._applied[index] += 1
                    due = rule
        return due


class Forwarder:
    """Serves clients, each in a thread, all before one TPM."""

    def __init__(self, tpm: Address, schedule: Path, journal: Path, *, is_wire_wanted: bool) -> None:
        self._tpm: Final = tpm
        self._schedule: Final = Schedule(schedule)
        self._journal: Final = journal.open("a", encoding="utf-8")
        self._is_wire_wanted: Final = is_wire_wanted
        self._sequence: Final = itertools.count(1)
        self._turn: Final = threading.Lock()

    def serve(self, client: socket.socket, number: int) -> None:
        """Answer the commands of one client until it closes, or a rule wants the connection closed."""
        with client, contextlib.suppress(OSError, BadMessageError):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while (command := receive(client)) is not None and self._serve_one(client, number, command):
                pass

    def pass_on(self, client: socket.socket) -> None:
        """Pass the bytes of a control connection on, both ways."""
        with client, contextlib.suppress(OSError), connect(control_of(self._tpm)) as control:
            back = threading.Thread(target=_copy, args=(control, client), daemon=True)
            back.start()
            _copy(client, control)
            back.join()

    def _serve_one(self, client: socket.socket, number: int, command: bytes) -> bool:
        """Answer a command; tell whether the connection goes on."""
        with self._turn:
            rule = self._schedule.rule_for(name_of(code_of(command)))
            entry: dict[str, object] = {
                "sequence": next(self._sequence),
                "client": number,
                "command": name_of(code_of(command)),
                "sessions": int.from_bytes(command[:2]) == SESSIONS,
                "action": "" if rule is None else rule.action,
                "rc": None,
            }
            if self._is_wire_wanted:
                entry["sent"] = command.hex()
            answer = self._answer(command, rule)
            if answer is None:
                entry["action"] = _GONE
            elif rule is None or rule.action not in _SILENT:
                entry["rc"] = code_of(answer)
                if self._is_wire_wanted:
                    entry["received"] = answer.hex()
            # Before the client gets the response, so that a test that waits for that finds the line.
            self._journal.write(f"{json.dumps(entry)}\n")
            self._journal.flush()
        return answer is not None and _finish(client, answer, rule)

    def _answer(self, command: bytes, rule: Rule | None) -> bytes | None:
        """Return what the client is to get, as far as it is to get anything; None if the TPM is gone."""
        if rule is None:
            return self._ask(command)
        if rule.action is Action.DELAY:
            time.sleep(rule.value / 1000)
        if rule.action in _IN_PLACE and not rule.after:
            answer: bytes | None = b""
        elif rule.action is Action.CORRUPT_COMMAND:
            answer = self._ask(flipped(command, rule))
        else:
            answer = self._ask(command)
        return None if answer is None else _changed(answer, rule)

    def _ask(self, command: bytes) -> bytes | None:
        with contextlib.suppress(OSError, BadMessageError), connect(self._tpm) as connection:
            connection.sendall(command)
            return receive(connection)
        return None


def _changed(answer: bytes, rule: Rule) -> bytes:
    """Return what a rule makes of an answer of the TPM, which is empty if the TPM was not asked."""
    if rule.action is Action.RC:
        return answer_of(rule.value)
    if rule.action is Action.GARBAGE:
        return _GARBAGE * max(rule.value, HEADER.size)
    if rule.action is Action.CORRUPT_RESPONSE:
        return flipped(answer, rule)
    return answer


def _finish(client: socket.socket, answer: bytes, rule: Rule | None) -> bool:
    """Send as much of the answer as the rule leaves; tell whether the connection goes on."""
    action = None if rule is None else rule.action
    if rule is not None and action is Action.TRUNCATE:
        client.sendall(answer[: rule.value])
        if not rule.close:
            _wait_for_the_end(client)
        return False
    if action is Action.HANG:
        _wait_for_the_end(client)
        return False
    if action is Action.CLOSE:
        return False
    if action is not Action.DROP:
        client.sendall(answer)
    return True


def _wait_for_the_end(client: socket.socket) -> None:
    while client.recv(_PIECE):
        pass


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(_PIECE):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)


def _accept_control(listener: socket.socket, forwarder: Forwarder) -> None:
    while True:
        client, _ = listener.accept()
        threading.Thread(target=forwarder.pass_on, args=(client,), daemon=True).start()


def main() -> None:
    """Listen, and serve until a signal ends it."""
    listen, tpm, schedule, journal, *options = sys.argv[1:]
    address: Address = int(tpm) if tpm.isdecimal() else tpm
    forwarder = Forwarder(address, Path(schedule), Path(journal), is_wire_wanted="wire" in options)
    with (
        socket.create_server((LOOPBACK, int(listen))) as commands,
        socket.create_server((LOOPBACK, int(listen) + 1)) as control,
    ):
        threading.Thread(target=_accept_control, args=(control, forwarder), daemon=True).start()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        for number in itertools.count(1):
            client, _ = commands.accept()
            threading.Thread(target=forwarder.serve, args=(client, number), daemon=True).start()


if __name__ == "__main__":
    main()
