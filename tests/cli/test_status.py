"""The status: the path of its socket, decoding, and the table."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cofferdam_cli.status import DEFAULT_SOCKET, StatusError, parse, socket_of, table

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


def document(*rows: dict[str, Any], phase: object = "running") -> bytes:
    return json.dumps({"phase": phase, "processes": rows}).encode()


def test_the_table_is_aligned() -> None:
    shown = table(parse(document(ROW, {**ROW, "role": "kim", "principal": 1000, "uid": None, "uptime_s": 0})))
    assert shown == (
        "service: running\n"
        "ROLE              PID  UID    PRINCIPAL  LEVEL  LANDLOCK-ABI  STATE  REQUESTS  IN-FLIGHT  RESTARTS  UPTIME\n"
        "worker[software]  12   60008  -          uid    7             ready  1234      2          0         1:02:05\n"
        "kim               12   -      1000       uid    7             ready  1234      2          0         0:00:00\n"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        b'{"phase": "running"}',
        document(phase=1),
        document({}),
        document({**ROW, "pid": "12"}),
        document({**ROW, "pid": True}),
        document({**ROW, "uptime_s": float("nan")}),
        document({**ROW, "uptime_s": float("inf")}),
        b'{"phase": "running", "processes": [1]}',
    ],
    ids=lambda wrong: wrong[:40].decode(),
)
def test_a_malformed_status_is_rejected(wrong: bytes) -> None:
    with pytest.raises(StatusError):
        parse(wrong)


@given(
    st.binary()
    | st.dictionaries(
        st.sampled_from(["phase", "processes"]),
        st.text() | st.lists(st.fixed_dictionaries({key: st.integers() | st.text() | st.floats() for key in ROW})),
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


@pytest.mark.parametrize("content", [b"not toml", b"\xff"])
def test_a_configuration_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    config = tmp_path / "config.toml"
    with pytest.raises(StatusError, match=r"cannot read .*config\.toml"):
        socket_of(str(config))
    config.write_bytes(content)
    with pytest.raises(StatusError, match=r"cannot read .*config\.toml"):
        socket_of(str(config))
