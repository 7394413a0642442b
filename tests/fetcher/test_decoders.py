"""Any bytes give a value or the documented error."""

import socket
import struct

import h2.config
import h2.connection
import h2.settings
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fetcher.agent import HEADERS, framed, message

from cofferdam_contracts.endpoints import HttpsUrl
from cofferdam_fetcher.bundle_stream import BundleStream, FrameLengths
from cofferdam_fetcher.bundles import Messages, decode_bundles
from cofferdam_fetcher.discovery import jwks_of
from cofferdam_fetcher.http_get import Get, max_age
from cofferdam_fetcher.resolver import Lookup, Names, decode_answer, encode_question, parse_hosts, parse_servers
from cofferdam_fetcher.source import SourceError, quoted
from cofferdam_runtime.loop import Loop

DOMAINS = st.from_regex("[a-z0-9._-]{1,20}", fullmatch=True)
QUESTION = encode_question(7, "issuer.example", 1)
URL = HttpsUrl("issuer.example", 443, "/")


@given(st.lists(st.binary(max_size=50)), st.integers(1, 60))
def test_messages_are_cut_the_same_wherever_the_pieces_end(contents: list[bytes], size: int) -> None:
    stream = b"".join(map(framed, contents))
    messages = Messages()
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert [found for piece in pieces for found in messages.feed(piece)] == contents
    assert not messages.is_partial


@given(st.dictionaries(DOMAINS, st.binary(min_size=1, max_size=50), max_size=10))
def test_bundles_become_what_they_were(bundles: dict[str, bytes]) -> None:
    assert decode_bundles(message(*((f"spiffe://{name}", content) for name, content in bundles.items()))) == bundles


@given(st.binary())
def test_any_bytes_are_bundles_or_not(data: bytes) -> None:
    for decode in (decode_bundles, Messages().feed, BundleStream().receive, Get(URL, 100).receive):
        try:
            decode(data)
        except SourceError as error:
            assert str(error).isprintable()


@given(st.data())
def test_a_changed_stream_is_an_answer_or_not(data: st.DataObject) -> None:
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    stream = BundleStream()
    server.initiate_connection()
    server.receive_data(stream.unsent())
    server.send_headers(1, HEADERS)
    server.send_data(1, framed(message(("example.org", b"{}"))))
    server.send_headers(1, [("grpc-status", "0")], end_stream=True)
    changed = bytearray(server.data_to_send())
    for place in data.draw(st.lists(st.integers(0, len(changed) - 1), max_size=5)):
        changed[place] = data.draw(st.integers(0, 255))
    try:
        stream.receive(bytes(changed))
    except SourceError as error:
        assert str(error).isprintable()


@given(st.lists(st.integers(0, 1 << 14), max_size=5), st.integers(1, 5000))
def test_frames_up_to_the_limit_pass(sizes: list[int], step: int) -> None:
    data = b"".join(size.to_bytes(3, "big") + bytes(6 + size) for size in sizes)
    lengths = FrameLengths()
    for start in range(0, len(data), step):
        lengths.check(data[start : start + step])
    with pytest.raises(SourceError, match="16385 bytes"):
        lengths.check((16385).to_bytes(3, "big") + bytes(6))


@given(st.binary())
def test_any_bytes_are_metadata_or_not(data: bytes) -> None:
    with pytest.raises(SourceError):
        jwks_of(data, "https://issuer.example")


@pytest.mark.parametrize(
    ("cache_control", "age", "seconds"),
    [
        (b"", b"", None),
        (b"public", b"5", None),
        (b"max-age=60", b"", 60),
        (b'public, MAX-AGE="60", max-age=7', b"20", 40),
        (b"max-age=60", b"100", 0),
        (b"max-age=60, no-store", b"", 0),
        (b"no-cache", b"", 0),
        (b"max-age=-1", b"", None),
        (b"max-age=" + b"9" * 5000, b"", 1 << 31),
    ],
)
def test_how_long_an_answer_holds(cache_control: bytes, age: bytes, seconds: int | None) -> None:
    assert max_age(cache_control, age) == seconds


@given(st.binary(), st.binary())
def test_any_header_says_how_long_or_not(cache_control: bytes, age: bytes) -> None:
    found = max_age(cache_control, age)
    assert found is None or 0 <= found <= 1 << 31


@given(st.binary() | st.text())
def test_what_a_peer_says_fits_into_a_line(text: bytes | str) -> None:
    assert quoted(text).isprintable()
    assert len(quoted(text)) <= 201


def answer(question: bytes, *addresses: bytes, flags: int = 0x8180, kind: int = 1) -> bytes:
    """Return an answer of a name server."""
    records = b"".join(struct.pack(">3HIH", 0xC00C, kind, 1, 60, len(each)) + each for each in addresses)
    return question[:2] + struct.pack(">5H", flags, 1, len(addresses), 0, 0) + question[12:-11] + records


def test_an_answer_has_the_addresses() -> None:
    assert decode_answer(answer(QUESTION, bytes([127, 0, 0, 1]), bytes([10, 0, 0, 1])), QUESTION) == [
        "127.0.0.1",
        "10.0.0.1",
    ]
    assert decode_answer(answer(QUESTION, b"\x01a\0", kind=5), QUESTION) == []
    with pytest.raises(SourceError, match="no host of this name"):
        decode_answer(answer(QUESTION, flags=0x8183), QUESTION)
    for flags in (0x8182, 0x8380):
        with pytest.raises(SourceError, match="cannot tell"):
            decode_answer(answer(QUESTION, flags=flags), QUESTION)


@pytest.mark.parametrize("other", [(8, "issuer.example", 1), (7, "other.example", 1), (7, "issuer.example", 28)])
def test_an_answer_to_another_question_is_none(other: tuple[int, str, int]) -> None:
    assert decode_answer(answer(encode_question(*other), bytes(4)), QUESTION) is None


@given(st.binary(), st.integers(0, 12))
def test_any_bytes_are_an_answer_or_not(data: bytes, keep: int) -> None:
    for each in (data, answer(QUESTION, bytes(4))[: -keep or None] + data):
        try:
            decode_answer(each, QUESTION)
        except SourceError:
            pass


@given(st.text())
def test_any_text_has_hosts_and_servers_or_not(text: str) -> None:
    parse_hosts(text)
    assert parse_servers(text)


def test_the_files_of_the_system() -> None:
    assert parse_hosts("127.0.0.1 a b # c\n::1 A\n# 1.1.1.1 d\nx e\n") == {
        "a": ["127.0.0.1", "::1"],
        "b": ["127.0.0.1"],
    }
    assert parse_servers("search a\nnameserver 10.0.0.1\nnameserver x\nnameserver ::1\n") == ["10.0.0.1", "::1"]


def _look_up(port: int, serve: socket.socket, *answers: bytes) -> tuple[list[str], str]:
    loop, found = Loop(), list[tuple[list[str], str]]()
    lookup = Lookup(loop, Names({}, ["127.0.0.1"], port), "issuer.example", lambda *words: found.append(words))
    lookup.start()
    lookup.tick()
    for _ in range(2):
        question, address = serve.recvfrom(2000)

        for each in answers:
            serve.sendto(each, address)
        is_v6 = question[12:-11][-3] == 28
        serve.sendto(answer(question, bytes(16) if is_v6 else bytes(4), kind=28 if is_v6 else 1), address)
    for _ in range(10):
        if not found:
            loop.look(1)
    lookup.close()
    return found[0]


def test_a_name_server_is_asked_for_both_kinds_of_addresses() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as serve:
        serve.bind(("127.0.0.1", 0))
        serve.settimeout(10)
        port = serve.getsockname()[1]
        assert _look_up(port, serve, b"", b"\0" * 40)[0] == ["::", "0.0.0.0"]  # noqa: S104  only compared


def test_the_next_name_server_is_asked_when_one_cannot_tell() -> None:
    loop, found = Loop(), list[tuple[list[str], str]]()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as serve:
        serve.bind(("127.0.0.1", 0))
        serve.settimeout(10)
        names = Names({}, ["127.0.0.1"], serve.getsockname()[1])
        lookup = Lookup(loop, names, "issuer.example", lambda *words: found.append(words))
        lookup.start()
        lookup.tick()
        for _round in range(2):  # as often as each server is asked
            _first, (question, address) = serve.recvfrom(2000), serve.recvfrom(2000)
            serve.sendto(answer(question, flags=0x8183), address)
            loop.look(10)
        lookup.close()
    assert found == [([], "there is no host of this name")]
