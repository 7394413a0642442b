"""The settings of a PKCS#11 provider, and which of them contradict each other."""

import json

import pytest
from tests.config.documents import SMALL, read_text

from cofferdam_config.host_facts import HostFacts
from cofferdam_config.plan import Plan, read
from cofferdam_config.report import describe
from cofferdam_config.source import ConfigError
from cofferdam_config.tables import Provider
from cofferdam_contracts import settings as documents
from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import Pkcs11Settings, TokenMatch
from cofferdam_runtime.sandbox.policies import MODULE_NEEDS

LIBRARY = 'library_path = "/usr/lib/module.so"\n'
PIN_WARNING = "user_pin_file or the credential cofferdam.pkcs11.pin would keep the PIN out of the configuration"


def _text(keys: str) -> str:
    """Return a document with one PKCS#11 provider; its own keys begin in line 14."""
    return SMALL.replace('"MbedCrypto"', '"Pkcs11"') + LIBRARY + keys


def _settings(plan: Plan) -> Pkcs11Settings:
    (value,) = (value for _, _, value in plan.documents if isinstance(value, Pkcs11Settings))
    assert documents.load(Pkcs11Settings, documents.dump(value)) == value
    return value


def _read(keys: str) -> Pkcs11Settings:
    return _settings(read_text(_text(keys)))


def _token(**given: object) -> TokenMatch:
    return TokenMatch(**dict.fromkeys(TokenMatch._fields) | given)


def _problems(keys: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        read_text(_text(keys))
    return caught.value.problems


def test_the_defaults_of_a_provider() -> None:
    plan = read_text(_text(""))
    assert plan.warnings == ()
    (worker,) = plan.broker.workers
    assert (worker.role, worker.name, worker.groups) == (Role.PKCS11_WORKER, "pkcs11-provider", ())
    settings = _settings(plan)
    assert settings == Pkcs11Settings(
        worker=settings.worker,
        library_path="/usr/lib/module.so",
        token=_token(),
        slot_number=None,
        pin=None,
        pin_file=None,
        pin_change="reload",
        kek_file="/var/lib/parsec/cofferdam/pkcs11.kek",
        kek_create=True,
        state_folder="/var/lib/parsec/pkcs11",
        software_public_operations=False,
        allow_export=True,
        give_back=False,
        environment=(),
        readable=(),
        writable=(),
        needs=(),
        quirks=(),
        groups=(),
    )
    assert settings.worker.provider.opcodes == (2, 3, 4, 5, 6, 7, 10, 11, 13, 32)


def test_every_key_arrives() -> None:
    plan = read_text(
        _text("""\
slot_number = 3
token_label = "label  "
token_uri = "pkcs11:serial=1;model=m"
user_pin_file = "/etc/pin"
software_public_operations = true
allow_export = false
list_all_opcodes = true
module_environment = ["SOFTHSM2_CONF=/etc/softhsm2.conf", "_x1="]
module_readable = ["/etc/softhsm2.conf"]
module_writable = ["/var/lib/tokens", "/run/t"]
module_groups = ["tss", 108, 20]
module_needs = ["threads", "sockets"]
quirks = ["raw-ec-points", "id-bytes=4"]
[kim]
give_back = true
[limits]
generate_ms = 5
"""),
        is_root=True,
    )
    assert plan.warnings == ()
    assert (plan.broker.generate_ms, plan.broker.workers[0].groups) == (5, (20, 107, 108))
    settings = _settings(plan)
    assert settings.token == _token(label="label", serial="1", model="m")
    assert (settings.slot_number, settings.pin, settings.pin_file) == (3, None, "/etc/pin")
    assert (settings.software_public_operations, settings.allow_export, settings.give_back) == (True, False, True)
    assert settings.environment == ("SOFTHSM2_CONF=/etc/softhsm2.conf", "_x1=")
    assert (settings.readable, settings.writable) == (("/etc/softhsm2.conf",), ("/var/lib/tokens", "/run/t"))
    assert (settings.groups, settings.needs) == ((20, 107, 108), ("threads", "sockets"))
    assert settings.quirks == ("raw-ec-points", "id-bytes=4")
    assert settings.worker.provider.opcodes == (2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 17, 18, 20, 21, 24, 25, 32)


def test_a_slot_number_counts_only_without_other_keys() -> None:
    assert _read("slot_number = 0").token == _token(slot_id=0)
    for key, token in (
        ('serial_number = "12"', _token(serial="12")),
        ('token_label = "l"', _token(label="l")),
        ('token_uri = "pkcs11:slot-id=4"', _token(slot_id=4)),
        ('token_uri = "pkcs11:model=m"', _token(model="m")),
    ):
        settings = _read(f"slot_number = 3\n{key}")
        assert (settings.token, settings.slot_number) == (token, 3)
    assert _read('slot_number = 3\ntoken_uri = "pkcs11:"').token == _token(slot_id=3)


@pytest.mark.parametrize(
    ("pin", "octets"),
    [
        ("1234", b"1234"),
        ("str:hex:00", b"hex:00"),
        ("hex:00fFc3", b"\0\xff\xc3"),
        ("hex:", b""),
        ("", b""),
        ("str:", b""),
        ("\u00e9", "é".encode()),
        ("HEX:00", b"HEX:00"),
    ],
)
def test_the_forms_of_a_pin(pin: str, octets: bytes) -> None:
    plan = read_text(_text(f'user_pin = "{pin}"\n'))
    settings = _settings(plan)
    assert settings.pin == octets.hex()
    # An empty one is no secret.
    assert plan.warnings == ((f"config.toml:14: provider[0].user_pin: {PIN_WARNING}",) if octets else ())
    assert "pin" not in repr(settings).replace("pkcs11", "")


@pytest.mark.parametrize("pin", ["hex:0", "hex:zz", "hex:00 11", "hex:0x11"])
def test_an_invalid_hexadecimal_pin_is_refused(pin: str) -> None:
    assert _problems(f'user_pin = "{pin}"\n') == (
        (
            "config.toml:14: provider[0].user_pin: found a string, "
            "allowed: a string, with pairs of hexadecimal digits after `hex:`"
        ),
    )


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ('user_pin = "1"\nuser_pin_file = "/p"', "user_pin_file: found a PIN besides user_pin"),
        ('user_pin = "1"\ntoken_uri = "pkcs11:?pin-source=/p"', "token_uri: found pin-source besides user_pin"),
        (
            'user_pin_file = "/q"\ntoken_uri = "pkcs11:?pin-source=/p"',
            "token_uri: found pin-source besides user_pin_file",
        ),
    ],
)
def test_a_pin_has_one_place(keys: str, problem: str) -> None:
    assert _problems(keys) == (f"config.toml:15: provider[0].{problem}, allowed: one place for the PIN",)


def test_a_pin_source_is_a_pin_file() -> None:
    assert _read('token_uri = "pkcs11:?pin-source=/p"').pin_file == "/p"
    assert _read('token_uri = "pkcs11:?pin-source=file:/p"\nuser_pin_file = "/p"').pin_file == "/p"


@pytest.mark.parametrize(
    ("key", "warning"),
    [
        ('user_pin = "1"', "user_pin: not used"),
        ('user_pin_file = "/p"', "user_pin_file: not used"),
        ('token_uri = "pkcs11:?pin-source=/p"', "token_uri: its pin-source is not used"),
    ],
)
def test_a_credential_takes_the_place_of_every_pin(key: str, warning: str) -> None:
    credentials = {"cofferdam.pkcs11.pin": "/run/credentials/pin"}
    assert read_text(_text(""), credentials=credentials).warnings == ()
    plan = read_text(_text(key), credentials=credentials)
    assert (_settings(plan).pin, _settings(plan).pin_file) == (None, "/run/credentials/pin")
    assert _settings(plan).pin_change == "restart"
    assert plan.warnings == (
        f"config.toml:14: provider[0].{warning}, as the credential cofferdam.pkcs11.pin takes its place",
    )


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        (
            'serial_number = "1"\ntoken_uri = "pkcs11:serial=2"',
            "found another serial than serial_number, allowed: the same, or only one of them",
        ),
        (
            'token_label = "1"\ntoken_uri = "pkcs11:token=2"',
            "found another token than token_label, allowed: the same, or only one of them",
        ),
        (
            'allow_export = true\ntoken_uri = "pkcs11:?module-path=/usr/lib/other.so"',
            "found another module-path than library_path, allowed: the same, or none",
        ),
        (
            'allow_export = true\ntoken_uri = "pkcs11:?pin-value=1234"',
            ("found a string, allowed: a PKCS#11 URI (RFC 7512) of a token (it contains the PIN, use user_pin_file)"),
        ),
        (
            "allow_export = true\ntoken_uri = 5",
            "found an integer, allowed: a PKCS#11 URI (RFC 7512) of a token",
        ),
    ],
)
def test_what_a_uri_may_not_say(keys: str, problem: str) -> None:
    assert _problems(keys) == (f"config.toml:15: provider[0].token_uri: {problem}",)


def test_a_uri_may_repeat_what_the_keys_say() -> None:
    settings = _read(
        'serial_number = "1 "\ntoken_label = "a b"\n'
        'token_uri = "pkcs11:serial=1;token=a%20b?module-path=/usr/lib/module.so"'
    )
    assert settings.token == _token(serial="1", label="a b")


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        *(
            ("module_environment", value, "a string NAME=value, whose name does not begin with LD_ or PYTHON")
            for value in (
                *('["LD_PRELOAD=/x"]', '["PYTHONPATH=/x"]', '["A"]', '["=x"]', '["1A=x"]', '["A B=x"]'),
                *('["A=\\u0000"]', '"A=x"', "[1]", '["A=x", "A=x"]'),
            )
        ),
        *(
            (key, value, "a path of at most 4095 bytes")
            for key in ("module_readable", "module_writable")
            for value in ('[""]', '"/x"', "[1]", '["/x", "/x"]')
        ),
        *(
            ("module_groups", value, "the name of a group or its number")
            for value in ("[-1]", "[4294967295]", '[""]', "[true]", "5")
        ),
        *(
            ("module_needs", value, '"sockets", "threads", "libraries"')
            for value in ('["root"]', '"sockets"', '["sockets", "sockets"]')
        ),
        *(
            ("quirks", value, "NAME or NAME=NUMBER with lower-case letters, digits and hyphens")
            for value in ('["A"]', '["a=b"]', '["-a"]', '["a="]', "[1]")
        ),
    ],
)
def test_what_the_lists_may_hold(key: str, value: str, allowed: str) -> None:
    given = json.loads(value)
    if isinstance(given, list):
        at = len(given) - 1
        problem = f"{key}[{at}]: found {describe(given[at])}, allowed: {allowed}"
        problem += " (it stands there twice)" if at else ""
    else:
        problem = f"{key}: found {describe(given)}, allowed: an array without duplicates of: {allowed}"
    assert _problems(f"{key} = {value}") == (f"config.toml:14: provider[0].{problem}",)


def test_unknown_groups_and_that_of_root_are_refused() -> None:
    assert _problems('module_groups = ["tss", "nobody-has-it", "root", 0]') == (
        (
            "config.toml:14: provider[0].module_groups[1]: found an unknown group, "
            "allowed: the name of a group, or its number"
        ),
        "config.toml:14: provider[0].module_groups[2]: found the group of root, allowed: another group",
        "config.toml:14: provider[0].module_groups[3]: found the group of root, allowed: another group",
    )


def test_groups_need_root() -> None:
    assert read_text(_text('module_groups = ["tss"]')).warnings == (
        "config.toml:14: provider[0].module_groups: has no effect, as the service was not started as root",
    )


def test_a_provider_in_software_uses_none_of_it() -> None:
    plan = read_text(SMALL + 'user_pin = "1"\nmodule_groups = ["root"]\ntoken_uri = 1\n')
    assert plan.broker.workers[0].groups == ()
    assert [warning.partition(" has ")[2] for warning in plan.warnings] == [
        'no effect with provider_type "MbedCrypto"'
    ] * 3


def test_both_providers_at_once() -> None:
    text = SMALL + f'[[provider]]\nprovider_type = "Pkcs11"\nkey_info_manager = "m"\n{LIBRARY}'
    plan = read_text(text)
    assert [worker.role for worker in plan.broker.workers] == [Role.SOFTWARE_WORKER, Role.PKCS11_WORKER]
    assert [(role, number) for role, number, _ in plan.documents][-2:] == [
        (Role.SOFTWARE_WORKER, 0),
        (Role.PKCS11_WORKER, 0),
    ]


def test_the_needs_are_those_of_the_sandbox() -> None:
    assert Provider.module_needs.kind.choices == tuple(MODULE_NEEDS)


SYSTEM = ("a folder of the whole machine", "a file, or a folder further down")
OWN = """
[[provider]]
provider_type = "MbedCrypto"
key_info_manager = "m"
key_encryption_key_file = "/srv/keys/kek"
"""


def _read_at(path: str, keys: str) -> tuple[str, ...]:
    """Return the problems of a document in this file, without the file and the line."""
    text = _text(keys).replace('manager_type = "SQLite"', 'manager_type = "SQLite"\nsqlite_db_path = "/srv/k/kim/db"')
    text = text.replace("timeout = 200", 'timeout = 200\nsocket_path = "/srv/s/listen/parsec.sock"')
    text = f'{text}\n{OWN}\n[service]\nstatus_path = "/srv/s/status/sock"\n'
    try:
        read(text.encode(), path=path, facts=HostFacts(credentials={}, groups={}, is_root=False))
    except ConfigError as error:
        assert all(problem.startswith(f"{path}:16: provider[0].") for problem in error.problems)
        return tuple(problem.partition("].")[2] for problem in error.problems)
    return ()


@pytest.mark.parametrize("key", ["module_readable", "module_writable"])
@pytest.mark.parametrize(
    "folder",
    [
        *("/", "//", "/./", "/proc", "/sys", "/dev", "/etc", "/root", "/home", "/var", "/usr", "/run", "/boot"),
        *("/etc/", "//etc", "/etc/../etc", "/etc/softhsm/.."),
    ],
)
def test_no_module_gets_a_folder_of_the_whole_machine(key: str, folder: str) -> None:
    assert _problems(f'{key} = ["/var/lib/tokens", "{folder}"]') == (
        f"config.toml:14: provider[0].{key}[1]: found {SYSTEM[0]}, allowed: {SYSTEM[1]}",
    )


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/srv", "that holds the folder of the key store"),
        ("/srv/k", "that holds the folder of the key store"),
        ("/srv/k/kim", "that holds the folder of the key store"),
        ("/srv/k/kim/", "that holds the folder of the key store"),
        ("/srv/k/kim/db-wal", "within the folder of the key store"),
        ("/srv/k/x/../kim/deep/er", "within the folder of the key store"),
        ("/srv/keys", "that holds the key-encryption key"),
        ("/srv/keys/kek", "that holds the key-encryption key"),
        ("/srv/pin", "that holds a PIN"),
        ("/srv/pin/file", "that holds a PIN"),
        ("/srv/s", "that holds the folder of a socket"),
        ("/srv/s/listen", "that holds the folder of a socket"),
        ("/srv/s/listen/parsec.sock", "that holds a socket"),
        ("/srv/s/status", "that holds the folder of a socket"),
        ("/srv/s/status/sock", "that holds a socket"),
    ],
)
@pytest.mark.parametrize("key", ["module_readable", "module_writable"])
def test_no_module_gets_files_of_the_service(key: str, path: str, found: str) -> None:
    allowed = "one elsewhere" if found.startswith("within") else "one that does not"
    assert _read_at("config.toml", f'{key} = ["{path}"]\nuser_pin_file = "/srv/pin/file"') == (
        f"{key}[0]: found a path {found}, allowed: {allowed}",
    )


def test_a_module_gets_files_beside_those_of_the_service() -> None:
    beside = '["/srv/k/kim2", "/srv/k/ki", "/srv/keys/kek2", "/srv/pin/file.old", "/etc/x", "/srv/s/listen/tokens"]'
    for key in ("module_readable", "module_writable"):
        assert _read_at("/srv/c/config.toml", f'{key} = {beside}\nuser_pin_file = "/srv/pin/file"') == ()


def test_the_configuration_is_not_writable_by_a_module() -> None:
    for path in ("/srv/c", "/srv/c/config.toml", "/srv/c/."):
        assert _read_at("/srv/c/config.toml", f'module_readable = ["{path}"]') == ()
        assert _read_at("/srv/c/config.toml", f'module_writable = ["{path}"]') == (
            "module_writable[0]: found a path that holds the configuration, allowed: one that does not",
        )


def test_the_worker_s_own_folder_is_not_the_service_s() -> None:
    for folder, found in (
        ("/etc", SYSTEM[0]),
        ("/srv/k", "a path that holds a key store (key_manager[0].sqlite_db_path)"),
        ("/srv/c", "a path that holds the configuration"),
    ):
        (problem,) = _read_at("/srv/c/config.toml", f'state_folder = "{folder}"')
        assert problem.startswith(f"state_folder: found {found}, allowed: ")


def test_no_module_gets_credentials() -> None:
    text = _text(f'module_readable = ["/run/credentials"]\n{OWN}')
    for name in ("cofferdam.pkcs11.pin", "cofferdam.software.kek"):
        with pytest.raises(ConfigError, match=r"module_readable\[0\]: found a path that holds"):
            read_text(text, credentials={name: f"/run/credentials/{name}"})
