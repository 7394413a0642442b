"""The PIN: where it is read, and what is recorded about it."""

import json
import os
import stat
from pathlib import Path

import pytest

from cofferdam_providers.pkcs11.pin import UNCERTAIN, Attempts, PinError, PinRefusedError, read_pin

TOKEN = "cofferdam/0123456789abcdef"
RIGHT, WRONG = b"123456", b"654321"


def refused_once(folder: Path, pin: bytes = WRONG, token: str = TOKEN) -> None:
    attempts = Attempts(str(folder), pin, token)
    attempts.begin()
    attempts.refused("PIN_INCORRECT")


def kept(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "login").read_text())
    return found


def test_a_refused_pin_is_never_tried_again(tmp_path: Path) -> None:
    refused_once(tmp_path)
    for _ in range(3):
        with pytest.raises(PinRefusedError, match="PIN_INCORRECT") as caught:
            Attempts(str(tmp_path), WRONG, TOKEN).begin()
        assert str(tmp_path / "login") in str(caught.value)


@pytest.mark.parametrize(
    ("pin", "token"), [(RIGHT, TOKEN), (WRONG, "cofferdam/other"), (WRONG + b"c", TOKEN[1:]), (WRONG[:-1], TOKEN)]
)
def test_another_pin_or_another_token_is_another_attempt(tmp_path: Path, pin: bytes, token: str) -> None:
    refused_once(tmp_path)
    Attempts(str(tmp_path), pin, token).begin()


def test_what_succeeded_is_forgotten(tmp_path: Path) -> None:
    for _ in range(UNCERTAIN + 2):
        attempts = Attempts(str(tmp_path), RIGHT, TOKEN)
        attempts.begin()
        attempts.succeeded()
        assert os.listdir(tmp_path) == []


def test_the_attempt_is_remembered_before_it_is_made(tmp_path: Path) -> None:
    attempts = Attempts(str(tmp_path), RIGHT, TOKEN)
    assert os.listdir(tmp_path) == []
    attempts.begin()
    assert kept(tmp_path)["uncertain"] == 1


def test_attempts_without_an_answer_are_counted(tmp_path: Path) -> None:
    for count in range(1, UNCERTAIN + 1):
        Attempts(str(tmp_path), RIGHT, TOKEN).begin()
        assert kept(tmp_path)["uncertain"] == count
    with pytest.raises(PinRefusedError, match=f"{UNCERTAIN} logins"):
        Attempts(str(tmp_path), RIGHT, TOKEN).begin()
    assert kept(tmp_path)["uncertain"] == UNCERTAIN
    Attempts(str(tmp_path), WRONG, TOKEN).begin()


def test_attempts_that_the_token_did_not_look_at_do_not_count(tmp_path: Path) -> None:
    for _ in range(UNCERTAIN + 3):
        attempts = Attempts(str(tmp_path), RIGHT, TOKEN)
        attempts.begin()
        attempts.unanswered()


def test_removing_the_file_lets_a_pin_be_tried_again(tmp_path: Path) -> None:
    refused_once(tmp_path)
    (tmp_path / "login").unlink()
    Attempts(str(tmp_path), WRONG, TOKEN).begin()


def test_the_file_is_for_the_worker_alone_and_does_not_have_the_pin(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        refused_once(tmp_path)
    finally:
        os.umask(mask)
    assert os.listdir(tmp_path) == ["login"]
    data = (tmp_path / "login").read_bytes()
    assert stat.S_IMODE((tmp_path / "login").stat().st_mode) == 0o600
    assert WRONG not in data
    assert WRONG.hex().encode() not in data
    assert set(kept(tmp_path)) == {"salt", "digest", "uncertain", "refused"}


def test_two_digests_of_one_pin_differ(tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        refused_once(tmp_path / name)
        digests.add(kept(tmp_path / name)["digest"])
    assert len(digests) == 2


@pytest.mark.parametrize(
    "damage",
    [
        *(b"", b"{", b"[]", b"null", b"{}", b'"text"', b"\xff\xfe", b"[" * 1024),
        *(b'{"salt": 1, "digest": 2}', b'{"salt": "zz", "digest": "00"}', b'{"salt": "00"}'),
        b'{"salt": "00", "digest": ["00"]}',
    ],
)
def test_a_damaged_file_is_an_error_and_no_attempt(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "login").write_bytes(damage)
    with pytest.raises(PinError, match="remove it"):
        Attempts(str(tmp_path), RIGHT, TOKEN)


@pytest.mark.parametrize("key", ["uncertain", "refused"])
@pytest.mark.parametrize("value", [None, "x", [], {}, float("inf"), float("nan")], ids=str)
def test_damage_beside_the_right_digest_is_an_error_too(tmp_path: Path, key: str, value: object) -> None:
    refused_once(tmp_path)
    (tmp_path / "login").write_text(json.dumps(kept(tmp_path) | {key: value}))
    with pytest.raises((PinError, PinRefusedError)):
        Attempts(str(tmp_path), WRONG, TOKEN).begin()


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "login").mkdir()
    with pytest.raises(PinError):
        Attempts(str(tmp_path), RIGHT, TOKEN)


def test_what_cannot_be_remembered_is_not_tried(tmp_path: Path) -> None:
    # Root may write anywhere, so there is no folder.
    attempts = Attempts(str(tmp_path / "missing"), RIGHT, TOKEN)
    with pytest.raises(PinError, match="state_folder"):
        attempts.begin()


def test_what_is_gone_already_need_not_be_forgotten(tmp_path: Path) -> None:
    attempts = Attempts(str(tmp_path), RIGHT, TOKEN)
    attempts.begin()
    (tmp_path / "login").unlink()
    attempts.succeeded()


def secret(folder: Path, content: bytes, mode: int = 0o400) -> Path:
    path = folder / "pin"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("content", "pin"),
    [
        (b"1234", b"1234"),
        (b"1234\n", b"1234"),
        (b"1234\n\n", b"1234\n"),
        (b" 12\r\n", b" 12\r"),
        (b"\xff\0\xfe", b"\xff\0\xfe"),
        (b"9" * 1024, b"9" * 1024),
        (b"9" * 1024 + b"\n", b"9" * 1024),
    ],
)
@pytest.mark.parametrize("mode", [0o400, 0o600])
def test_a_pin_file_holds_the_bytes_of_the_pin(tmp_path: Path, content: bytes, pin: bytes, mode: int) -> None:
    assert read_pin(str(secret(tmp_path, content, mode))) == pin


@pytest.mark.parametrize("content", [b"", b"\n", b"9" * 1025, b"9" * 1025 + b"\n", b"9" * 5000])
def test_a_pin_is_neither_empty_nor_long(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(PinError, match="1 to 1024 bytes"):
        read_pin(str(secret(tmp_path, content)))


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o420, 0o644, 0o601])
def test_a_pin_that_others_can_read_is_no_secret(tmp_path: Path, mode: int) -> None:
    with pytest.raises(PinError, match="chmod 0400"):
        read_pin(str(secret(tmp_path, RIGHT, mode)))


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_pin_that_belongs_to_somebody_else_is_no_secret(tmp_path: Path) -> None:
    path = secret(tmp_path, RIGHT)
    os.chown(path, 59002, 59002)
    with pytest.raises(PinError, match="owner 59002"):
        read_pin(str(path))


def test_only_a_regular_file_holds_a_pin(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "link").symlink_to(secret(tmp_path, RIGHT))
    for name in ("missing", "fifo", "link", "."):
        with pytest.raises(PinError):
            read_pin(str(tmp_path / name))
