"""The shim treats its clients as its rules say: everything that the tests of the provider rely on."""

import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness.tpm import rules
from tests.harness.tpm.channel import HEADER, MAX_SIZE, NO_SESSIONS, answer_of, code_of, connect, control_of, receive
from tests.harness.tpm.codes import CODES, name_of
from tests.harness.tpm.rules import FOR_EVER, Rule
from tests.harness.tpm.shim import Command, Shim
from tests.harness.tpm.swtpm import INITIALIZE, Swtpm, SwtpmError, tool
from tpm2_pytss import ESAPI, TCTILdr
from tpm2_pytss.constants import TPM2_CC

GET_RANDOM = bytes.fromhex("80010000000c0000017b0008")
RANDOM_SIZE = 20
SHUTDOWN_STATE = bytes.fromhex("80010000000c000001450001")
STARTUP_STATE = bytes.fromhex("80010000000c000001440001")
VALUE = 0x1C4
"""TPM_RC_VALUE with the first parameter."""
RETRY = 0x922
FIRST_TRANSIENT = 0x80000000


@pytest.fixture
def tpm() -> Iterator[Swtpm]:
    with Swtpm() as tpm:
        yield tpm


@pytest.fixture
def shim(tpm: Swtpm) -> Iterator[Shim]:
    with Shim(tpm.address, wire=True) as shim:
        yield shim


@pytest.fixture
def client(shim: Shim) -> Iterator[socket.socket]:
    with connect(shim.address, 5.0) as client:
        yield client


def _ask(client: socket.socket, command: bytes = GET_RANDOM) -> bytes | None:
    client.sendall(command)
    return receive(client)


def _codes(client: socket.socket, times: int) -> list[int]:
    answers = [_ask(client) for _ in range(times)]
    return [code_of(answer) for answer in answers if answer is not None]


def _is_silent(client: socket.socket) -> bool:
    return not select.select([client], [], [], 0.3)[0]


def test_the_names_are_those_of_the_specification() -> None:
    # Beside the commands the class has FIRST and LAST, and more than one name for some.
    theirs = {(getattr(TPM2_CC, name), name.replace("_", "").lower()) for name in dir(TPM2_CC) if name[0].isupper()}
    assert {(code, name.replace("_", "").lower()) for name, code in CODES.items()} <= theirs
    assert {code for code, name in theirs if name != "vendortcgtest"} == set(CODES.values())
    assert name_of(0x20000000) == "0x20000000"


def test_rules_survive_the_schedule_file() -> None:
    planned = [rules.answer("Sign", RETRY, after=True, nth=2, times=3), rules.truncate("*", 4, close=False)]
    assert rules.from_text(rules.to_text(planned)) == planned


def test_serves_several_clients_and_tools_at_a_time(tpm: Swtpm, shim: Shim, client: socket.socket) -> None:
    with connect(shim.address, 5.0) as other:
        assert [code_of(_ask(one) or b"") for one in (client, other, client)] == [0, 0, 0]
        mark = shim.mark()
        assert "TPM2_PT_LOCKOUT_COUNTER" in tool(shim.tools_tcti, "tpm2_getcap", "properties-variable")
        assert shim.count("GetCapability", since=mark) >= 1
        assert tpm.getcap("handles-transient") == ""
        assert code_of(_ask(other) or b"") == 0
    first, second, third = shim.journal()[:3]
    assert (first.client, second.client, third.client) == (1, 2, 1)
    assert (first.sequence, first.command, first.sessions, first.rc) == (1, "GetRandom", False, 0)


def test_does_one_command_at_a_time(shim: Shim) -> None:
    shim.plan(rules.delay("*", 100, times=FOR_EVER))
    with connect(shim.address, 5.0) as first, connect(shim.address, 5.0) as second:
        before = time.monotonic()
        threads = [threading.Thread(target=_ask, args=(one,)) for one in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert time.monotonic() - before >= 0.2


def test_serves_the_library_and_tells_commands_with_sessions(shim: Shim, tmp_path: Path) -> None:
    with TCTILdr(*shim.tcti.split(":", 1)) as tcti, ESAPI(tcti) as esapi:
        esapi.get_random(8)
        tool(shim.tools_tcti, "tpm2_createprimary", "-Q", "-c", "key", folder=tmp_path)
    entries = shim.journal()
    assert {entry.command: entry.sessions for entry in entries}["CreatePrimary"]
    assert not entries[0].sessions


def test_keeps_what_is_on_the_wire_if_it_is_asked_to(tpm: Swtpm, shim: Shim, tmp_path: Path) -> None:
    tool(shim.tools_tcti, "tpm2_createprimary", "-Q", "-c", "key", "-p", "an open secret", folder=tmp_path)
    assert b"an open secret" in shim.wire()
    assert b"an open secret" not in shim.wire(since=shim.mark())
    with Shim(tpm.address) as silent, connect(silent.address, 5.0) as client:
        assert _codes(client, 1) == [0]
        (entry,) = silent.journal()
        assert entry == Command(sequence=1, client=1, command="GetRandom", sessions=False, action="", rc=0)
        with pytest.raises(RuntimeError):
            silent.wire()


COUNTED = [
    (rules.answer("GetRandom", RETRY), [RETRY, 0, 0, 0]),
    (rules.answer("GetRandom", RETRY, times=2), [RETRY, RETRY, 0, 0]),
    (rules.answer("GetRandom", RETRY, nth=2), [0, RETRY, 0, 0]),
    (rules.answer("GetRandom", RETRY, nth=2, times=2), [0, RETRY, RETRY, 0]),
    (rules.answer("GetRandom", RETRY, nth=3, times=FOR_EVER), [0, 0, RETRY, RETRY]),
    (rules.answer("*", RETRY, times=FOR_EVER), [RETRY] * 4),
    (rules.answer("Sign", RETRY, times=FOR_EVER), [0] * 4),
]


@pytest.mark.parametrize(("rule", "codes"), COUNTED)
def test_applies_rules_to_the_commands_that_they_mean(
    shim: Shim, client: socket.socket, rule: Rule, codes: list[int]
) -> None:
    _codes(client, 2)
    shim.plan(rule)
    mark = shim.mark()
    assert _codes(client, 4) == codes
    assert [entry.rc for entry in shim.journal(since=mark)] == codes
    shim.plan(rule)
    assert _codes(client, 4) == codes
    shim.clear()
    assert _codes(client, 1) == [0]


def test_the_first_rule_that_is_due_applies_and_the_others_wait(shim: Shim, client: socket.socket) -> None:
    shim.plan(rules.answer("GetRandom", RETRY), rules.answer("*", INITIALIZE, times=2))
    assert _codes(client, 4) == [RETRY, INITIALIZE, INITIALIZE, 0]


@pytest.mark.parametrize("after", [False, True])
def test_a_code_comes_in_place_of_the_work_or_after_it(
    tpm: Swtpm, shim: Shim, client: socket.socket, tmp_path: Path, after: bool
) -> None:
    tool(shim.tools_tcti, "tpm2_createprimary", "-Q", "-c", "key", folder=tmp_path)
    shim.plan(rules.answer("FlushContext", RETRY, after=after))
    flush = HEADER.pack(NO_SESSIONS, HEADER.size + 4, CODES["FlushContext"]) + struct.pack(">I", FIRST_TRANSIENT)
    assert _ask(client, flush) == answer_of(RETRY)
    assert tpm.getcap("handles-transient") == ("" if after else f"- {FIRST_TRANSIENT:#x}\n")


def test_hangs_for_one_client_alone(shim: Shim, client: socket.socket) -> None:
    shim.plan(rules.hang("GetRandom"))
    client.sendall(GET_RANDOM)
    assert _is_silent(client)
    client.sendall(GET_RANDOM)
    assert _is_silent(client)
    with connect(shim.address, 5.0) as other:
        assert _codes(other, 1) == [0]
    assert [(entry.action, entry.rc) for entry in shim.journal()] == [("hang", None), ("", 0)]


def test_delays(shim: Shim, client: socket.socket) -> None:
    shim.plan(rules.delay("GetRandom", 200))
    before = time.monotonic()
    assert _codes(client, 1) == [0]
    assert time.monotonic() - before >= 0.2


def test_truncates_and_closes_or_stays(shim: Shim, client: socket.socket) -> None:
    shim.plan(rules.truncate("GetRandom", 7, close=False))
    client.sendall(GET_RANDOM)
    assert client.recv(64) == bytes.fromhex("80010000001400")
    assert _is_silent(client)
    shim.plan(rules.truncate("GetRandom", 13))
    with connect(shim.address, 5.0) as other:
        other.sendall(GET_RANDOM)
        assert len(b"".join(iter(lambda: other.recv(64), b""))) == 13


@pytest.mark.parametrize(("rule", "code"), [(rules.close("Shutdown"), VALUE), (rules.close("Shutdown", after=True), 0)])
def test_closes_with_or_without_the_work(tpm: Swtpm, shim: Shim, client: socket.socket, rule: Rule, code: int) -> None:
    shim.plan(rule)
    assert _ask(client, SHUTDOWN_STATE) is None
    assert [(entry.action, entry.rc) for entry in shim.journal()] == [("close", None)]
    # TPM2_Startup(STATE) is refused unless TPM2_Shutdown(STATE) preceded it.
    tpm.reset(orderly=False, startup=False)
    assert code_of(tpm.exchange(STARTUP_STATE)) == code


def test_drops_a_command_and_goes_on(shim: Shim, client: socket.socket) -> None:
    shim.plan(rules.drop("GetRandom"))
    client.sendall(GET_RANDOM)
    assert _is_silent(client)
    assert _codes(client, 1) == [0]


def test_corrupts_answers(shim: Shim, client: socket.socket) -> None:
    shim.plan(rules.corrupt("GetRandom", 9, bit=3), rules.corrupt("GetRandom", -RANDOM_SIZE, bit=7))
    assert _codes(client, 1) == [8]
    assert (_ask(client) or b"")[:2] == b"\x00\x01"
    assert _codes(client, 1) == [0]


def test_corrupts_commands(shim: Shim, client: socket.socket) -> None:
    # 8 bytes become 12.
    shim.plan(rules.corrupt_command("GetRandom", -1, bit=2))
    assert len(_ask(client) or b"") == RANDOM_SIZE + 4
    assert len(_ask(client) or b"") == RANDOM_SIZE
    assert shim.journal()[0].sent == GET_RANDOM.hex()


def test_leaves_a_message_alone_that_is_too_short_to_corrupt(shim: Shim, client: socket.socket) -> None:
    shim.plan(rules.corrupt("GetRandom", 500), rules.corrupt("GetRandom", -500))
    assert _codes(client, 2) == [0, 0]


def test_answers_garbage(shim: Shim, client: socket.socket) -> None:
    shim.plan(rules.garbage("GetRandom", 12))
    client.sendall(GET_RANDOM)
    assert client.recv(64) == b"\xa5" * 12


def test_passes_the_control_channel_on(shim: Shim) -> None:
    with connect(control_of(shim.address), 5.0) as control:
        control.sendall(struct.pack(">I", 1))  # CMD_GET_CAPABILITY
        assert control.recv(64)[:4] == bytes(4)


def test_cuts_the_power_while_clients_keep_their_connections(tpm: Swtpm, client: socket.socket) -> None:
    assert _codes(client, 1) == [0]
    tpm.reset(startup=False)
    assert _codes(client, 1) == [INITIALIZE]
    tpm.startup()
    assert _codes(client, 1) == [0]
    tpm.restart()
    assert _codes(client, 1) == [0]


def test_closes_the_connection_when_the_tpm_is_gone(tpm: Swtpm, shim: Shim, client: socket.socket) -> None:
    tpm.kill()
    assert _ask(client) is None
    assert shim.journal()[-1].action == "gone"
    tpm.start()
    with connect(shim.address, 5.0) as other:
        assert _codes(other, 1) == [0]


def test_comes_back_in_the_same_place(shim: Shim, client: socket.socket) -> None:
    assert _codes(client, 1) == [0]
    shim.stop()
    assert client.recv(1) == b""
    with pytest.raises(SwtpmError):
        tool(shim.tools_tcti, "tpm2_getrandom", "4")
    shim.start()
    with connect(shim.address, 5.0) as other:
        assert _codes(other, 1) == [0]
    assert shim.count() == 2


def test_closes_on_a_size_that_no_message_has(shim: Shim, client: socket.socket) -> None:
    for size in (9, MAX_SIZE + 1):
        with connect(shim.address, 5.0) as other:
            assert _ask(other, HEADER.pack(NO_SESSIONS, size, CODES["GetRandom"])) is None
    assert _codes(client, 1) == [0]


def test_stands_before_a_unix_socket() -> None:
    with Swtpm(unix=True) as tpm, Shim(tpm.address) as shim:
        assert "TPM2_PT" in tool(shim.tools_tcti, "tpm2_getcap", "properties-fixed")
