"""The status: the path of its socket, decoding, and the table."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cofferdam_cli.status import (
    DEFAULT_SOCKET,
    ConfigurationRow,
    ProcessRow,
    ProviderRow,
    ReloadRow,
    ServiceStatus,
    StatusError,
    fetch,
    parse,
    socket_of,
    table,
)

ROW: dict[str, Any] = {
    "role": "worker[software]",
    "pid": 12,
    "uid": 60008,
    "principal": None,
    "level": "uid",
    "landlock_abi": 7,
    "state": "ready",
    "requests": 1234,
    "in_flight": 2,
    "restarts": 0,
    "uptime_s": 3725.4,
}


PROVIDER: dict[str, Any] = {
    "name": "pkcs11-provider",
    "type": "Pkcs11",
    "id": 2,
    "state": "up",
    "since_s": 3725.4,
    "cause": "",
    "next_try_s": None,
    "device": "label 'a', serial '1', slot 0",
    "keys": 12,
}
DOWN_NOW = {"state": "down", "since_s": 65, "cause": "no token fits; plug it in", "device": "", "keys": None}
RELOAD: dict[str, Any] = {"asked": 0, "done": 0, "outcome": None, "ended_s": None, "problems": []}
STORE: dict[str, Any] = {
    **PROVIDER,
    "name": "key store",
    "type": "SQLite",
    "id": 0,
    "device": "/var/lib/parsec/kim.sqlite3",
    "keys": None,
}
FULL = {**STORE, "state": "down", "since_s": 9, "cause": "the disk is full; make room on it"}
CONFIGURATION: dict[str, Any] = {"file": "/etc/parsec/config.toml", "loaded_s": 59.9}


def document(*rows: object, phase: object = "running", **more: object) -> bytes:
    known = {"configuration": CONFIGURATION, "reload": RELOAD, "providers": [PROVIDER], "key_store": STORE}
    whole = {"phase": phase, **known, **more}
    return json.dumps({**whole, "processes": rows}).encode()


def test_the_tables_are_aligned() -> None:
    down = {**PROVIDER, **DOWN_NOW, "name": "tpm", "type": "Tpm", "id": 3}
    reload = {"asked": 2, "done": 1, "outcome": "refused", "ended_s": 5, "problems": ["config.toml:3: no", "b: no"]}
    rows = (ROW, {**ROW, "role": "kim", "principal": 1000, "uid": None, "uptime_s": 0})
    soon = {**down, "name": "soon", "next_try_s": 12.7}
    shown = table(parse(document(*rows, providers=[PROVIDER, down, soon], reload=reload, key_store=FULL)))
    assert shown == (
        "service: running\n"
        "configuration: /etc/parsec/config.toml, loaded 0:00:59 ago\n"
        "key store: down, 0:00:09, /var/lib/parsec/kim.sqlite3\n"
        "  the disk is full; make room on it\n"
        "last reload: refused 0:00:05 ago\n"
        "  config.toml:3: no\n"
        "  b: no\n"
        "a reload is under way\n"
        "\n"
        "PROVIDER         TYPE    ID  STATE  SINCE    NEXT-TRY        KEYS  DEVICE\n"
        "pkcs11-provider  Pkcs11  2   up     1:02:05  -               12    label 'a', serial '1', slot 0\n"
        "tpm              Tpm     3   down   0:01:05  after a reload  -     -\n"
        "soon             Tpm     3   down   0:01:05  0:00:12         -     -\n"
        "tpm: no token fits; plug it in\n"
        "soon: no token fits; plug it in\n"
        "\n"
        "ROLE              PID  UID    PRINCIPAL  LEVEL  LANDLOCK-ABI  STATE  REQUESTS  IN-FLIGHT  RESTARTS  UPTIME\n"
        "worker[software]  12   60008  -          uid    7             ready  1234      2          0         1:02:05\n"
        "kim               12   -      1000       uid    7             ready  1234      2          0         0:00:00\n"
    )


@pytest.mark.parametrize(
    ("more", "is_well"),
    [
        ({}, True),
        ({"phase": "draining"}, False),
        ({"providers": [PROVIDER, {**PROVIDER, **DOWN_NOW}]}, False),
        ({"key_store": FULL}, False),
        ({"later": "versions may add keys"}, True),
    ],
)
def test_a_service_is_well_when_all_of_it_is_up(more: dict[str, Any], is_well: bool) -> None:
    assert parse(document(ROW, **more)).is_well == is_well


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        b'{"phase": "running"}',
        document(phase=1),
        document({}),
        document(1),
        document({**ROW, "pid": "12"}),
        document({**ROW, "pid": True}),
        document({**ROW, "uptime_s": float("nan")}),
        document({**ROW, "uptime_s": float("inf")}),
        document(providers=[{**PROVIDER, "cause": None}]),
        document(providers=[{**PROVIDER, "keys": 1.5}]),
        document(providers={}),
        document(key_store=None),
        document(key_store={**STORE, "device": None}),
        document(reload={**RELOAD, "problems": "all"}),
        document(reload={**RELOAD, "problems": [1]}),
        document(configuration=None),
    ],
    ids=lambda wrong: wrong[-60:].decode(),
)
def test_a_malformed_status_is_rejected(wrong: bytes) -> None:
    with pytest.raises(StatusError):
        parse(wrong)


def test_the_document_has_the_keys_of_the_reference() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "status.md").read_text()
    named = set(re.findall(r"`([a-z_]+)`", "".join(re.findall(r"^\| ([^|]+) \|", page, re.MULTILINE))))
    kinds = (ServiceStatus, ConfigurationRow, ReloadRow, ProviderRow, ProcessRow)
    assert named == {field for kind in kinds for field in kind._fields}


ANY = st.integers() | st.text() | st.floats() | st.none() | st.lists(st.text(), max_size=2)


def some(keys: Iterable[str]) -> st.SearchStrategy[dict[str, object]]:
    return st.fixed_dictionaries(dict.fromkeys(keys, ANY))


@given(
    st.binary()
    | st.fixed_dictionaries(
        {
            "phase": st.text(),
            "configuration": some(CONFIGURATION) | st.just(CONFIGURATION),
            "reload": some(RELOAD) | st.just(RELOAD),
            "providers": st.lists(some(PROVIDER) | st.just(PROVIDER), max_size=3),
            "key_store": some(STORE) | st.just(STORE),
            "processes": st.lists(some(ROW) | st.just(ROW), max_size=3),
        }
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_bytes_are_a_table_or_a_status_error(data: bytes) -> None:
    try:
        shown = table(parse(data))
    except StatusError:
        return
    assert shown.startswith("service: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", DEFAULT_SOCKET),
        ('[listener]\nsocket_path = "/a/b/parsec.sock"', "/a/b/cofferdam-status.sock"),
        ('[listener]\nsocket_path = "./a/parsec.sock"', "./a/cofferdam-status.sock"),
        ('[listener]\nsocket_path = "parsec.sock"', "cofferdam-status.sock"),
        ('[service]\nstatus_path = "/x"\n[listener]\nsocket_path = "/a/b"', "/x"),
        ("service = 1\n[listener]\nsocket_path = 2", DEFAULT_SOCKET),
    ],
)
def test_the_socket_is_where_the_configuration_says(tmp_path: Path, text: str, expected: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text(text)
    assert socket_of(str(config)) == expected


def test_a_relative_socket_is_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    where = re.escape(f"{tmp_path}/cofferdam-status.sock")
    with pytest.raises(StatusError, match=rf"no status at {where}: .* is this the working directory"):
        fetch("./cofferdam-status.sock")


@pytest.mark.parametrize("content", [b"not toml", b"\xff"])
def test_a_configuration_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    config = tmp_path / "config.toml"
    with pytest.raises(StatusError, match=r"cannot read .*config\.toml: No such file or directory; --socket names"):
        socket_of(str(config))
    config.write_bytes(content)
    with pytest.raises(StatusError, match=r"cannot read .*config\.toml"):
        socket_of(str(config))
