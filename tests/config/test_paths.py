"""All paths of a configuration: relative ones, one against each other, and what they lead through."""

import os
import stat
from pathlib import Path

import pytest
from tests.config.documents import PKCS11, SMALL

from cofferdam_config.host_facts import HostFacts, gather
from cofferdam_config.plan import Plan, read
from cofferdam_config.source import ConfigError
from cofferdam_contracts.settings import KimSettings, Pkcs11Settings, SoftwareSettings
from cofferdam_runtime.files import Element, Found

FILE = "/etc/parsec/config.toml"
FACTS = HostFacts(credentials={}, groups={}, is_root=True, folder="/home/parsec")
ON_DISK = SMALL.replace('"SQLite"', '"OnDisk"')


def _read(text: str, file: str = FILE, **facts: object) -> Plan:
    return read(text.encode(), path=file, facts=FACTS._replace(**facts))  # type: ignore[arg-type]


def _problems(text: str, file: str = FILE, **facts: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        _read(text, file, **facts)
    return [problem.partition(": ")[2] for problem in caught.value.problems]


def _kim(plan: Plan) -> KimSettings:
    (kim,) = (value for _, _, value in plan.documents if isinstance(value, KimSettings))
    return kim


def _set(text: str, after: str, *lines: str) -> str:
    """Add lines after one of a document."""
    assert text.count(after) == 1
    return text.replace(after, "\n".join([after, *lines]))


def test_relative_paths_are_taken_from_the_working_directory_once() -> None:
    text = _set(SMALL, "timeout = 200", 'socket_path = "./parsec.sock"')
    text = _set(text, '"SQLite"', 'sqlite_db_path = "kim.sqlite3"') + 'mbed_its_path = "."\n'
    text += PKCS11.replace("/usr/lib/module.so", "../lib/./module.so")
    text += 'module_readable = ["a/b", "/c"]\nuser_pin_file = "pin"\n'
    text = text.replace('user_pin = "s3cr3t-Marker"\n', "")
    plan = _read(text)
    assert plan.broker.socket_path == "/home/parsec/parsec.sock"
    assert plan.broker.status_path == "/home/parsec/cofferdam-status.sock"
    assert _kim(plan).stores[0].path == "/home/parsec/kim.sqlite3"
    (software,) = (value for _, _, value in plan.documents if isinstance(value, SoftwareSettings))
    assert software.mbed_its_path == "/home/parsec"
    (pkcs11,) = (value for _, _, value in plan.documents if isinstance(value, Pkcs11Settings))
    assert (pkcs11.library_path, pkcs11.readable, pkcs11.pin_file) == (
        "/home/parsec/../lib/module.so",
        ("/home/parsec/a/b", "/c"),
        "/home/parsec/pin",
    )
    text = "relative, so it is taken from the working directory of the service, /home/parsec"
    assert [line.partition(": ")[2] for line in plan.warnings] == [
        f"{key}: {text}"
        for key in (
            "listener.socket_path",
            "key_manager[0].sqlite_db_path",
            "provider[0].mbed_its_path",
            "provider[1].library_path",
            "provider[1].module_readable[0]",
            "provider[1].user_pin_file",
        )
    ]


def test_a_relative_path_has_to_fit_with_the_working_directory() -> None:
    text = _set(SMALL, "timeout = 200", f'socket_path = "{"a" * 100}"')
    (problem,) = _problems(text)
    assert problem == (
        "listener.socket_path: found a relative path in the working directory /home/parsec, "
        "allowed: at most 107 bytes for both together"
    )
    assert _problems(text, folder="") == [
        "listener.socket_path: found a relative path, and no working directory, allowed: an absolute path"
    ]


def test_what_relative_paths_name_is_looked_at_and_nothing_that_may_be_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "socket_path = './a/parsec.sock'\nuser_pin_file=\"pin\"\nuser_pin = 'secret'\nstate_folder = 'b'\n"
    facts = gather(text.encode(), path=FILE, credentials_folder="", is_root=False)
    assert facts.folder == str(tmp_path)
    assert {f"{tmp_path}/{name}" for name in ("a/parsec.sock", "a", "pin", "b")} <= facts.files.keys()
    assert not any("secret" in path for path in facts.files)


_DB = "key_manager[0].sqlite_db_path"
_KEK = "provider[0].key_encryption_key_file"
_STATE = "provider[1].state_folder"
_SOCKET, _STATUS = "listener.socket_path", "service.status_path"
_STORE = "key_manager[0].store_path"
_ITS, _PIN = "provider[0].mbed_its_path", "provider[1].user_pin_file"
_CLASHES = [
    # Two purposes of one path.
    ({"sqlite_db_path": "/a/b", "key_encryption_key_file": "/a/b"}, (_KEK, "the path of a key store", _DB)),
    ({"sqlite_db_path": "/a/b", "key_encryption_key_file": "/a/b-wal"}, (_KEK, "the path of a key store", _DB)),
    ({"sqlite_db_path": "/a/b", "socket_path": "/a/b"}, (_DB, "the path of the clients' socket", _SOCKET)),
    ({"sqlite_db_path": "/a//./b", "status_path": "/a/b"}, (_DB, "the path of the status socket", _STATUS)),
    ({"sqlite_db_path": "/usr/lib/module.so"}, ("provider[1].library_path", "the path of a key store", _DB)),
    (
        {"mbed_its_path": "/a", "state_folder": "/a"},
        (_STATE, "the path of the folder of Parsec's keys", _ITS),
    ),
    # A folder of one process.
    (
        {"socket_path": "/s/t/parsec.sock", "state_folder": "/s"},
        (_STATE, "a path that holds the clients' socket", _SOCKET),
    ),
    ({"sqlite_db_path": "/s/t/kim", "state_folder": "/s/t"}, (_STATE, "a path that holds a key store", _DB)),
    (
        {"mbed_its_path": "/s/its", "state_folder": "/s"},
        (_STATE, "a path that holds the folder of Parsec's keys", _ITS),
    ),
    (
        {"key_encryption_key_file": "/s/kek", "state_folder": "/s"},
        (_STATE, "a path that holds a key-encryption key", _KEK),
    ),
    ({"user_pin_file": "/s/pin", "state_folder": "/s"}, (_PIN, "a path within the folder of a worker", _STATE)),
    ({"sqlite_db_path": "/var/lib/parsec/pkcs11/kim"}, (_STATE, "a path that holds a key store", _DB)),
    ({"store_path": "/m", "state_folder": "/m/state"}, (_STATE, "a path within the folder of a key store", _STORE)),
    ({"store_path": "/m/n", "state_folder": "/m"}, (_STATE, "a path that holds the folder of a key store", _STORE)),
    ({"store_path": "/m", "mbed_its_path": "/m/its"}, (_ITS, "a path within the folder of a key store", _STORE)),
    (
        {"store_path": "/m", "key_encryption_key_file": "/m/kek"},
        (_KEK, "a path within the folder of a key store", _STORE),
    ),
    ({"store_path": "/run"}, (_STORE, "a path that holds the clients' socket", _SOCKET)),
    ({"store_path": "/etc/parsec"}, (_STORE, "a path that holds the configuration", "")),
]
_AFTER = {
    "socket_path": "timeout = 200",
    "sqlite_db_path": '"SQLite"',
    "store_path": '"OnDisk"',
    "key_encryption_key_file": '"MbedCrypto"',
    "mbed_its_path": '"MbedCrypto"',
    "state_folder": "slot_number = 5",
    "user_pin_file": "slot_number = 5",
}


def _document(values: dict[str, str]) -> str:
    text = (ON_DISK if "store_path" in values else SMALL) + PKCS11
    for key, value in values.items():
        if key == "status_path":
            text = f'[service]\nstatus_path = "{value}"\n{text}'
        else:
            text = _set(text, _AFTER[key], f'{key} = "{value}"')
    return text.replace('user_pin = "s3cr3t-Marker"\n', "")


@pytest.mark.parametrize(("values", "expected"), _CLASHES)
def test_paths_that_get_in_each_other_s_way_are_refused_with_both_keys(
    values: dict[str, str], expected: tuple[str, str, str]
) -> None:
    where, found, other = expected
    (problem,) = _problems(_document(values))
    assert problem.startswith(f"{where}: found {found}{f' ({other})' if other else ''}, allowed: ")


@pytest.mark.parametrize(
    "values",
    [
        {"sqlite_db_path": "/var/lib/parsec/kim.sqlite3"},
        {"sqlite_db_path": "/var/lib/parsec/kim.sqlite3", "mbed_its_path": "/var/lib/parsec"},
        {"sqlite_db_path": "/var/lib/parsec/cofferdam/kim.sqlite3"},
        {"sqlite_db_path": "/a/kim", "key_encryption_key_file": "/a/kek"},
        {"sqlite_db_path": "/a/kim", "state_folder": "/a/b/state"},
        {"sqlite_db_path": "/run/parsec/kim"},
        {"sqlite_db_path": "/etc/parsec/kim"},
    ],
)
def test_a_folder_with_other_files_of_the_service_is_not_the_database_s_own(values: dict[str, str]) -> None:
    plan = _read(_document(values))
    assert _kim(plan).stores[0].shared
    assert plan.warnings == ()
    assert not _kim(_read(_document({**values, "sqlite_db_path": "/own/kim"}))).stores[0].shared


def test_links_are_looked_through() -> None:
    link = Element("/link", stat.S_IFLNK | 0o777, 0, 0)
    data = Element("/data", stat.S_IFDIR | 0o755, 0, 0)
    files = {"/link": Found((link, data), data, real="/data")}
    values = {"sqlite_db_path": "/link/kim", "state_folder": "/data/state"}
    assert _kim(_read(_document(values), files=files)).stores[0].shared
    values = {"sqlite_db_path": "/link/kim", "key_encryption_key_file": "/data/kim"}
    (problem,) = _problems(_document(values), files=files)
    assert problem.startswith(f"{_KEK}: found the path of a key store ({_DB})")


def test_links_that_others_can_change_are_not_followed() -> None:
    link, data = Element("/link", stat.S_IFLNK | 0o777, 7, 7), Element("/data", stat.S_IFDIR | 0o755, 0, 0)
    files = {f"/link{name}": Found((link, data), data, real=f"/data{name}") for name in ("", "/its", "/state")}
    found = "a link that others can change: /link, which belongs to uid 7"
    allowed = "links that nobody but root and the service's user can change; chown root /link"
    assert _problems(_document({"sqlite_db_path": "/link/kim"}), files=files) == [
        f"{_DB}: found {found}, allowed: {allowed}"
    ]
    plan = _read(_document({"mbed_its_path": "/link/its", "state_folder": "/link/state"}), files=files)
    assert [line.partition(": ")[2] for line in plan.lacks if "/link" in line] == [
        f"{key}: found {found}, needed by the provider: {allowed}" for key in ("provider[0].mbed_its_path", _STATE)
    ]
    assert _read(_document({"sqlite_db_path": "/link/kim"}), files=files, owners=frozenset({0, 7})).warnings == ()


def test_the_working_directory_may_be_gone(tmp_path: Path) -> None:
    before = os.getcwd()
    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    try:
        (tmp_path / "gone").rmdir()
        assert gather(b"", path=FILE, credentials_folder="", is_root=False).folder == ""
    finally:
        os.chdir(before)


def test_a_normal_user_without_an_installation_has_files_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cofferdam_config.host_facts.STATE_FOLDER", str(tmp_path / "nowhere"))
    for is_root, folder in ((False, tmp_path), (True, tmp_path / "nowhere")):
        facts = gather(b"", path=FILE, credentials_folder="", is_root=is_root)
        assert facts.state_folder == str(folder)
    plan = _read(SMALL, state_folder="/home/me")
    assert [line.partition(": ")[2] for line in plan.warnings] == [
        f"{_KEK}: is /home/me/cofferdam/software.kek, as this user cannot write to /var/lib/parsec"
    ]
    (software,) = (value for _, _, value in plan.documents if isinstance(value, SoftwareSettings))
    assert software.kek_file == "/home/me/cofferdam/software.kek"
