"""The TPM of the tests behaves as a TPM: everything that the tests of the provider rely on."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness.tpm.channel import answer_of, code_of, connect, receive
from tests.harness.tpm.swtpm import INITIALIZE, Swtpm, SwtpmError, tool
from tpm2_pytss import ESAPI, TCTILdr

GET_RANDOM = bytes.fromhex("80010000000c0000017b0008")
PERSISTENT = "0x81000001"


@pytest.fixture
def tpm() -> Iterator[Swtpm]:
    with Swtpm() as tpm:
        yield tpm


def _ask(connection: socket.socket) -> int:
    connection.sendall(GET_RANDOM)
    answer = receive(connection)
    assert answer is not None
    return code_of(answer)


def _persist(tpm: Swtpm, folder: Path) -> None:
    tool(tpm.tools_tcti, "tpm2_createprimary", "-Q", "-c", "key", folder=folder)
    tool(tpm.tools_tcti, "tpm2_evictcontrol", "-Q", "-c", "key", PERSISTENT, folder=folder)


def _use_a_protected_key(tpm: Swtpm, folder: Path) -> None:
    """Use an authorisation value that counts towards the lockout."""
    words = ("-Q", "-C", "o", "-G", "ecc:ecdsa", "-p", "secret", "-c", "protected")
    attributes = "sign|fixedtpm|fixedparent|sensitivedataorigin|userwithauth"
    tool(tpm.tools_tcti, "tpm2_createprimary", *words, "-a", attributes, folder=folder)
    (folder / "text").write_text("text")
    tool(tpm.tools_tcti, "tpm2_sign", "-Q", "-c", "protected", "-p", "secret", "-o", "signature", "text", folder=folder)


@pytest.mark.parametrize("unix", [False, True])
def test_serves_tools_and_the_library_in_turn(unix: bool) -> None:
    with Swtpm(unix=unix) as tpm, TCTILdr(*tpm.tcti.split(":", 1)) as tcti, ESAPI(tcti) as esapi:
        assert len(bytes(esapi.get_random(8))) == 8
        assert "TPM2_PT_LOCKOUT_COUNTER" in tpm.getcap("properties-variable")
        assert len(bytes(esapi.get_random(8))) == 8


def test_a_kept_connection_keeps_everybody_else_waiting(tpm: Swtpm) -> None:
    with connect(int(tpm.address)) as first, connect(int(tpm.address)) as second:
        assert _ask(first) == 0
        second.sendall(GET_RANDOM)
        second.settimeout(0.3)
        with pytest.raises(TimeoutError):
            second.recv(1)
        first.close()
        second.settimeout(5.0)
        assert receive(second) is not None


def test_does_no_startup_unless_it_is_asked_to() -> None:
    with Swtpm(startup=False) as tpm:
        assert code_of(tpm.exchange(GET_RANDOM)) == INITIALIZE
        assert tpm.startup() == 0
        assert code_of(tpm.exchange(GET_RANDOM)) == 0
        assert tpm.startup() == INITIALIZE


def test_a_kept_connection_outlives_a_reset(tpm: Swtpm) -> None:
    with connect(int(tpm.address)) as kept:
        assert _ask(kept) == 0
        tpm.reset(orderly=False, startup=False)
        assert _ask(kept) == INITIALIZE
    assert tpm.startup() == 0
    assert code_of(tpm.exchange(GET_RANDOM)) == 0


@pytest.mark.parametrize("state", [False, True])
def test_a_reset_keeps_what_is_persistent(tpm: Swtpm, tmp_path: Path, state: bool) -> None:
    _persist(tpm, tmp_path)
    tpm.reset(state=state)
    assert PERSISTENT in tpm.getcap("handles-persistent")
    assert tpm.getcap("handles-transient") == ""


def test_tools_leave_transient_objects_until_they_are_flushed(tpm: Swtpm, tmp_path: Path) -> None:
    tool(tpm.tools_tcti, "tpm2_createprimary", "-Q", "-c", "key", folder=tmp_path)
    assert tpm.getcap("handles-transient") == "- 0x80000000\n"
    tpm.flush()
    assert tpm.getcap("handles-transient") == ""


@pytest.mark.parametrize("orderly", [True, False])
def test_a_restart_keeps_the_place_and_what_is_persistent(tpm: Swtpm, tmp_path: Path, orderly: bool) -> None:
    _persist(tpm, tmp_path)
    tcti, pid = tpm.tcti, tpm.pid
    tpm.restart(orderly=orderly)
    assert tpm.tcti == tcti
    assert tpm.pid != pid
    assert PERSISTENT in tpm.getcap("handles-persistent")


def test_a_kept_connection_ends_with_the_process(tpm: Swtpm) -> None:
    with connect(int(tpm.address), 5.0) as kept:
        assert _ask(kept) == 0
        tpm.restart(orderly=False)
        assert kept.recv(1) == b""
    assert code_of(tpm.exchange(GET_RANDOM)) == 0


@pytest.mark.parametrize("orderly", [True, False])
@pytest.mark.parametrize("whole", [True, False])
def test_only_a_hard_end_counts_as_an_attack(tpm: Swtpm, tmp_path: Path, orderly: bool, whole: bool) -> None:
    _use_a_protected_key(tpm, tmp_path)
    if whole:
        tpm.restart(orderly=orderly)
    else:
        tpm.reset(orderly=orderly)
    assert tpm.lockout_counter() == (0 if orderly else 1)


def test_nobody_answers_while_it_is_off(tpm: Swtpm) -> None:
    tpm.stop()
    with pytest.raises(SwtpmError):
        tpm.exchange(GET_RANDOM)
    with pytest.raises(SwtpmError):
        tpm.getcap("handles-transient")
    tpm.start()
    assert code_of(tpm.exchange(GET_RANDOM)) == 0


def test_cannot_stop_in_good_order_while_somebody_keeps_the_connection(tpm: Swtpm) -> None:
    with connect(int(tpm.address)) as kept:
        assert _ask(kept) == 0
        with pytest.raises(SwtpmError, match="does somebody keep a connection"):
            tpm.stop()
    tpm.stop()


def test_leaves_nothing_behind() -> None:
    with Swtpm() as tpm:
        folder, pid = tpm.folder, tpm.pid
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_an_answer_of_a_code_alone_is_what_the_tpm_says(tpm: Swtpm) -> None:
    tpm.reset(startup=False)
    assert tpm.exchange(GET_RANDOM) == answer_of(INITIALIZE)


def test_the_binding_is_built_without_fapi() -> None:
    """It would bring libcurl into the worker; `./dev setup` hides it from the build."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        loaded = maps.read()
    assert "libtss2-esys" in loaded
    assert "libtss2-fapi" not in loaded
