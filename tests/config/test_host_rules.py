"""Rules about what is on the machine, each with its exact message."""

import os
import re
import stat
from pathlib import Path

import pytest
from tests.config.documents import PKCS11, SMALL, TPM

from cofferdam_config.host_facts import HostFacts, gather
from cofferdam_config.plan import Plan, read
from cofferdam_config.source import ConfigError
from cofferdam_config.tables import TABLES
from cofferdam_contracts.settings import UidRange
from cofferdam_runtime.files import Element, Found

FILE = "/etc/parsec/config.toml"
NOTHING = HostFacts(credentials={}, groups={}, is_root=True)
ALICE = {1000: "alice"}
_TOKEN = '[[provider]]\nprovider_type = "Pkcs11"\nkey_info_manager = "m"\nlibrary_path = "/m.so"\n'
_TPM = TPM.partition("owner")[0] + 'owner_hierarchy_auth_file = "/s"\n'
_GONE = Found((), None, "/gone", "No such file or directory")


def _at(path: str, mode: int, uid: int = 0, gid: int = 0) -> Found:
    """Return what leads to one thing in the root folder."""
    last = Element(path, mode, uid, gid)
    return Found((Element("/", stat.S_IFDIR | 0o755, 0, 0), last), last)


def _file(path: str, mode: int = 0o600, uid: int = 0, gid: int = 0) -> Found:
    return _at(path, stat.S_IFREG | mode, uid, gid)


def _read(text: str, **facts: object) -> Plan:
    return read(text.encode(), path=FILE, facts=NOTHING._replace(**facts))  # type: ignore[arg-type]


def _problem(text: str, **facts: object) -> str:
    with pytest.raises(ConfigError) as caught:
        _read(text, **facts)
    (problem,) = caught.value.problems
    return problem.removeprefix(FILE)


_ALLOWED = "allowed: what nobody but root and the service's user can change; "


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (_file("/c", uid=1000), f"/c, which belongs to alice (uid 1000), {_ALLOWED}chown root /c"),
        (_file("/c", uid=1001), f"/c, which belongs to uid 1001, {_ALLOWED}chown root /c"),
        (_file("/c", 0o646), f"/c with mode 0646, so that others can change it, {_ALLOWED}chmod go-w /c"),
        (_file("/c", 0o664, gid=5), f"/c with mode 0664, so that others can change it, {_ALLOWED}chmod go-w /c"),
        (
            _at("/c", stat.S_IFDIR | 0o777),
            f"/c with mode 0777, so that others can change it, {_ALLOWED}chmod go-w /c",
        ),
        (
            _at("/c", stat.S_IFDIR | 0o1777, uid=1000),
            f"/c, which belongs to alice (uid 1000), {_ALLOWED}chown root /c",
        ),
        (_at("/c", stat.S_IFLNK | 0o777, uid=1000), f"/c, which belongs to alice (uid 1000), {_ALLOWED}chown root /c"),
    ],
)
def test_what_others_can_change_is_refused(found: Found, problem: str) -> None:
    assert _problem(SMALL, files={FILE: found}, users=ALICE) == f": found {problem}"
    where = ":16: provider[1].library_path: found "
    assert _problem(SMALL + _TOKEN, files={"/m.so": found}, users=ALICE) == where + problem


@pytest.mark.parametrize(
    "found",
    [
        _file("/c", 0o664),
        _file("/c", 0o600, uid=7),
        _at("/c", stat.S_IFDIR | 0o1777),
        _at("/c", stat.S_IFLNK | 0o777),
        Found((), None, "/c", "Permission denied"),
    ],
)
def test_what_only_root_and_the_service_can_change_is_not(found: Found) -> None:
    plan = _read(SMALL, files={FILE: found}, owners=frozenset({0, 7}))
    assert (plan.warnings, plan.lacks) == ((), ())


def test_credentials_without_their_folder_are_refused() -> None:
    facts = gather(b"", path=FILE, credentials_folder="/none", is_root=True)
    assert _problem(SMALL, credentials_problem=facts.credentials_problem) == (
        ": found CREDENTIALS_DIRECTORY=/none, which cannot be read (No such file or directory), "
        "allowed: the folder that systemd makes for LoadCredential=, or no CREDENTIALS_DIRECTORY"
    )


_FREE = "allowed: the first of 256 uids that nobody has in /etc/passwd and /etc/subuid"


@pytest.mark.parametrize("uid", [60706, 60961])
def test_uids_of_somebody_are_refused(uid: int) -> None:
    text = "[isolation]\nuid_base = 60706\n" + SMALL
    found = ":2: isolation.uid_base: found 60706, while "
    assert _problem(text, users={uid: "alice"}) == f"{found}alice has uid {uid}, {_FREE}"
    subuids = (UidRange(first=uid, size=1, owner=1000),)
    assert (
        _problem(text, users=ALICE, subuids=subuids) == f"{found}alice (uid 1000) has the uids {uid} to {uid}, {_FREE}"
    )
    assert _read(text, users={uid: "alice"}, subuids=subuids, is_root=False).warnings == ()


def test_uids_beside_the_block_are_free() -> None:
    subuids = (UidRange(first=60700, size=6, owner=1), UidRange(first=60962, size=9, owner=1))
    assert _read(SMALL, users={60705: "a", 60962: "b"}, subuids=subuids).warnings == ()


def test_uids_that_are_always_the_same_are_warned_of() -> None:
    assert _read(SMALL, users={65532: "nonroot", 65533: "x"}).warnings == (
        f"{FILE}:1: isolation.uid_base: the relay of the log always has uid 65532, while nonroot has uid 65532",
        f"{FILE}:1: isolation.uid_base: the reader of the configuration always has uid 65533, while x has uid 65533",
    )


@pytest.mark.parametrize(
    ("key", "path", "other", "what"),
    [
        ("user_pin_file", FILE, "the configuration", "a PIN"),
        ("user_pin_file", "/m.so", "a PKCS#11 module (provider[1].library_path)", "a PIN"),
        ("user_pin_file", "/./link", "a PKCS#11 module (provider[1].library_path)", "a PIN"),
        (
            "key_encryption_key_file",
            "/run/parsec/parsec.sock",
            "the clients' socket (listener.socket_path)",
            "a key-encryption key",
        ),
    ],
)
def test_one_file_for_two_purposes_is_refused(key: str, path: str, other: str, what: str) -> None:
    files = {"/./link": _file("/m.so")._replace(real="/m.so"), "/m.so": _file("/m.so")}
    assert _problem(f'{SMALL}{_TOKEN}{key} = "{path}"\n', files=files) == (
        f":17: provider[1].{key}: found the path of {other}, allowed: another one for {what}"
    )


_LINK = Found((Element("/p", stat.S_IFLNK, 0, 0),), Element("/q", stat.S_IFREG, 0, 0))
_MODULE = 'library_path = "/m.so"'
_NOT_THERE = "(/gone: No such file or directory)"
_PRIVATE = "a file that nobody else may read; chmod 0400 /p"
_OWN = "what only root and the service's user can change; chown root /p"
_URI = 'token_uri = "pkcs11:token=a?pin-source=file:/p"'


@pytest.mark.parametrize(
    ("line", "at", "found", "lack", "needed"),
    [
        (_MODULE, "/m.so", _GONE, f"nothing at /m.so {_NOT_THERE}", "a file"),
        (_MODULE, "/m.so", _at("/m.so", stat.S_IFDIR | 0o755), "something else at /m.so", "a file"),
        ('user_pin_file = "/p"', "/p", _GONE, f"nothing at /p {_NOT_THERE}", "a file"),
        ('user_pin_file = "/p"', "/p", _file("/p", uid=1000), "/p, which belongs to alice (uid 1000)", _OWN),
        ('user_pin_file = "/p"', "/p", _LINK, "a symbolic link at /p", "the file itself"),
        (_URI, "/p", _file("/p", 0o644), "/p with mode 0644", _PRIVATE),
        ('key_encryption_key_file = "/p"', "/p", _file("/p", 0o640), "/p with mode 0640", _PRIVATE),
        ('owner_hierarchy_auth_file = "/p"', "/p", _GONE, f"nothing at /p {_NOT_THERE}", "a file"),
        ('tcti = "device:/dev/tpm0"', "/dev/tpm0", _GONE, f"nothing at /dev/tpm0 {_NOT_THERE}", "a device"),
        ('tcti = "swtpm:path=/t"', "/t", _file("/t"), "something else at /t", "a socket"),
        ('mbed_its_path = "/i"', "/i", _file("/i"), "something else at /i", "a folder"),
    ],
)
def test_what_a_provider_lacks_does_not_keep_the_others_down(
    line: str, at: str, found: Found, lack: str, needed: str
) -> None:
    key = line.partition(" ")[0]
    text = (
        f"{SMALL}{line}\n" if key == "mbed_its_path" else SMALL + _TPM if "_auth" in line or "tcti" in line else SMALL
    )
    if text == SMALL:
        text += _TOKEN if line == _MODULE else f"{_TOKEN}{line}\n"
    text = "\n".join(line if each.startswith(f"{key} ") else each for each in text.split("\n"))
    (found_lack,) = _read(text, files={at: found}, users=ALICE).lacks
    _, number, message = found_lack.split(":", 2)
    assert text.split("\n")[int(number) - 1] == line
    provider = int(key != "mbed_its_path")
    assert message == f" provider[{provider}].{key}: found {lack}, needed by the provider: {needed}"


@pytest.mark.parametrize("key", ["module_readable", "module_writable"])
def test_each_path_of_a_module_has_to_exist(key: str) -> None:
    text = SMALL + _TOKEN + f'{key} = ["/usr/x",\n"/gone"]\n'
    found = "nothing at /gone (No such file or directory)"
    assert _read(text, files={"/gone": _GONE}).lacks == (
        f"{FILE}:18: provider[1].{key}[1]: found {found}, needed by the provider: a file or folder",
    )


def test_a_key_encryption_key_may_be_missing_as_it_is_made() -> None:
    assert _read(SMALL + 'key_encryption_key_file = "/gone"\n', files={"/gone": _GONE}).lacks == ()


def test_a_file_that_a_credential_replaces_may_be_missing() -> None:
    text = SMALL + _TOKEN + 'user_pin_file = "/gone"\n'
    plan = _read(text, files={"/gone": _GONE}, credentials={"cofferdam.pkcs11.pin": "/run/credentials/pin"})
    assert plan.lacks == ()


def test_a_tpm_that_may_be_missing_lacks_nothing() -> None:
    plan = _read(SMALL + _TPM + "skip_if_no_tpm = true\n", files={"/dev/tpmrm0": _GONE})
    assert plan.lacks == ()


def test_a_variable_that_names_nothing_is_warned_of() -> None:
    text = SMALL + _TOKEN + 'module_environment = ["A=b", "SOFTHSM2_CONF=/gone"]\n'
    assert _read(text, files={"/gone": _GONE}).warnings == (
        f"{FILE}:17: provider[1].module_environment[1]: SOFTHSM2_CONF names /gone (No such file or directory)",
    )


@pytest.mark.parametrize(
    ("found", "warning"),
    [
        (_GONE, "there is no folder /gone yet; the unit's RuntimeDirectory= makes it, or you have to"),
        (
            _at("/run/parsec", stat.S_IFDIR | 0o777),
            (
                "others can replace the socket: found /run/parsec with mode 0777, so that others can change it; "
                "chmod go-w /run/parsec"
            ),
        ),
    ],
)
def test_folders_of_sockets_are_warned_of(found: Found, warning: str) -> None:
    text = '[service]\nstatus_path = "/run/parsec/status"\n' + SMALL
    assert _read(text, files={"/run/parsec": found}).warnings == (
        f"{FILE}:2: service.status_path: {warning}",
        f"{FILE}:4: listener.socket_path: {warning}",
    )


@pytest.mark.parametrize(
    ("uid", "mode", "is_closed"),
    [(0, 0o755, True), (1000, 0o755, False), (1000, 0o500, True), (0, 0o770, False), (0, 0o1777, False)],
)
def test_a_user_is_warned_of_folders_that_are_closed(uid: int, mode: int, *, is_closed: bool) -> None:
    text = SMALL.replace('manager_type = "SQLite"', 'manager_type = "SQLite"\nsqlite_db_path = "/d/new/k"')
    # The folder of the sockets is there, that of the key store would be made.
    sockets, above = _at("/run/parsec", stat.S_IFDIR | mode, uid), _at("/d", stat.S_IFDIR | mode, uid)
    new = Found(above.elements, None, "/d/new", "No such file or directory")
    files = {"/run/parsec": sockets, "/d/new": new}
    warned = _read(text, files=files, is_root=False, owners=frozenset({0, 1000}), users=ALICE).warnings
    who = "root (uid 0)" if uid == 0 else "alice (uid 1000)"
    closed = [
        warning for warning in warned if f"with mode {mode:04o} and owner {who}; name a folder of this" in warning
    ]
    assert [warning.split(": ")[1] for warning in closed] == (
        ["listener.socket_path", "key_manager[0].sqlite_db_path"] if is_closed else []
    )
    assert not any("can make no" in warning for warning in _read(text, files=files, is_root=True).warnings)


def test_every_path_of_a_document_is_looked_at(tmp_path: Path) -> None:
    """The facts are gathered before the document is parsed."""
    text = SMALL + PKCS11 + TPM
    paths = {}
    for table in TABLES:
        for setting in table.settings:
            if setting.kind.path_bytes and "array" not in setting.kind.allowed:
                paths[setting.name] = f"/none/{setting.name}"
    document = text + "\n".join(f"{name}='{value}'" for name, value in paths.items())
    document += (
        '\nlist = ["/none/a", "VAR=/none/b",\n"swtpm:path=/none/c"]\nuri = "pkcs11:token=x?pin-source=file:/none/d&x"'
    )
    facts = gather(document.encode(), path=str(tmp_path), credentials_folder="", is_root=False)
    expected = {*paths.values(), "/none/a", "/none/b", "/none/c", "/none/d", "/none"}
    expected |= {"/dev/tpmrm0", "/run/parsec", "/var/lib/parsec"}
    assert len(paths) > 8
    assert expected <= facts.files.keys()
    assert facts.files[str(tmp_path)].last is not None


def test_this_machine_has_users_and_trusts_root_and_this_user() -> None:
    facts = gather(b"", path=FILE, credentials_folder="", is_root=False)
    assert re.fullmatch("[a-z0-9_-]+", facts.users[65534])
    assert {0, os.geteuid()} <= facts.owners


@pytest.mark.parametrize("variable", ["SOFTHSM2_CONF", "OPENSC_CONF"])
def test_a_variable_that_no_module_gets_is_warned_of(variable: str) -> None:
    text = f'{SMALL}[[provider]]\nprovider_type = "Pkcs11"\nkey_info_manager = "m"\nlibrary_path = "/m.so"\n'
    given = frozenset({variable})
    (warning,) = [one for one in _read(text, variables=given).warnings if "environment" in one]
    assert warning.endswith(
        f"{variable} in the environment of the service is ignored: no module gets it; set it in module_environment"
    )
    named = f'{text}module_environment = ["{variable}=/srv/conf"]\n'
    assert not [one for one in _read(named, variables=given).warnings if "is ignored" in one]
