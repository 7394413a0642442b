"""Every kind of bad value once, with its exact message; unknown keys at every level."""

import pytest
from tests.config.documents import PARSEC, PKCS11, SECRET, SMALL, TPM, read_text

from cofferdam_config.report import key_path
from cofferdam_config.schema import Setting, Table
from cofferdam_config.source import ConfigError
from cofferdam_config.tables import TABLES, Kim, Provider


def _problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        read_text(text)
    return caught.value.problems


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        # Each kind of value.
        (
            "[core_settings]",
            "[core_settings]\nallow_root = 1",
            "2: core_settings.allow_root: found 1, allowed: true or false",
        ),
        (
            "[core_settings]",
            "[core_settings]\nallow_root = 'yes'",
            '2: core_settings.allow_root: found "yes", allowed: true or false',
        ),
        (
            "[core_settings]",
            "[core_settings]\nbody_len_limit = -1",
            "2: core_settings.body_len_limit: found -1, allowed: an integer >= 0 (bytes)",
        ),
        (
            "[core_settings]",
            "[core_settings]\nbody_len_limit = true",
            "2: core_settings.body_len_limit: found true, allowed: an integer >= 0 (bytes)",
        ),
        (
            "[core_settings]",
            "[core_settings]\nbuffer_size_limit = 1.5",
            "2: core_settings.buffer_size_limit: found 1.5, allowed: an integer >= 0 (bytes)",
        ),
        (
            "[core_settings]",
            "[core_settings]\nbuffer_size_limit = 9223372036854775808",
            "2: core_settings.buffer_size_limit: found 9223372036854775808, allowed: an integer >= 0 (bytes)",
        ),
        (
            "[core_settings]",
            f"[core_settings]\nbuffer_size_limit = 0x{'f' * 6000}",
            (
                "2: core_settings.buffer_size_limit: found an integer of more than 64 bits, "
                "allowed: an integer >= 0 (bytes)"
            ),
        ),
        (
            "[core_settings]",
            "[core_settings]\nthread_pool_size = 0",
            "2: core_settings.thread_pool_size: found 0, allowed: an integer >= 1",
        ),
        (
            "[core_settings]",
            "[core_settings]\nlog_level = 'loud'",
            (
                '2: core_settings.log_level: found "loud", allowed: "off", "error", "warn", "info", "debug", "trace", '
                "in upper or lower case"
            ),
        ),
        (
            "[core_settings]",
            "[core_settings]\nlog_level = 1979-05-27",
            (
                '2: core_settings.log_level: found a date or time, allowed: "off", "error", "warn", "info", "debug", '
                '"trace", in upper or lower case'
            ),
        ),
        ("200", "0", "4: listener.timeout: found 0, allowed: an integer >= 1 (milliseconds)"),
        ("200", "[200]", "4: listener.timeout: found an array, allowed: an integer >= 1 (milliseconds)"),
        ("200", "{ms = 200}", "4: listener.timeout: found a table, allowed: an integer >= 1 (milliseconds)"),
        (
            '"DomainSocket"',
            '"domainsocket"',
            '3: listener.listener_type: found "domainsocket", allowed: "DomainSocket"',
        ),
        (
            "timeout",
            "socket_path = 'parsec.sock'\ntimeout",
            "4: listener.socket_path: found a relative path, and no working directory, allowed: an absolute path",
        ),
        (
            "timeout",
            f"socket_path = '/{107 * 'x'}'\ntimeout",
            f'4: listener.socket_path: found "/{63 * "x"}...", allowed: a path of at most 107 bytes',
        ),
        (
            "timeout",
            'socket_path = "/run/a\\u0000b"\ntimeout',
            '4: listener.socket_path: found "/run/a\\u0000b", allowed: a path of at most 107 bytes',
        ),
        (
            '"SQLite"',
            '"SQLite"\nsqlite_db_path = ""',
            '10: key_manager[0].sqlite_db_path: found "", allowed: a path of at most 4095 bytes',
        ),
        (
            'name = "m"',
            'name = ""',
            '8: key_manager[0].name: found "", allowed: a non-empty string of printable characters',
        ),
        (
            'name = "m"',
            'name = "a\\nb"',
            '8: key_manager[0].name: found "a\\nb", allowed: a non-empty string of printable characters',
        ),
        (
            '"UnixPeerCredentials"',
            '"JwtSvid"\nworkload_endpoint = "unix:run/a"',
            (
                '7: authenticator.workload_endpoint: found "unix:run/a", '
                "allowed: unix:///PATH, unix:/PATH or tcp://IP-ADDRESS:PORT (it has no absolute path)"
            ),
        ),
        (
            '"MbedCrypto"',
            '"Mbed"',
            '11: provider[0].provider_type: found "Mbed", allowed: "MbedCrypto", "Pkcs11", "Tpm"',
        ),
        (
            '"MbedCrypto"',
            '"TrustedService"',
            (
                '11: provider[0].provider_type: found "TrustedService", allowed: "MbedCrypto", "Pkcs11", "Tpm" '
                "(this build has no provider of type TrustedService; remove its table, its keys are kept)"
            ),
        ),
        # Nothing where something is required.
        ("timeout = 200\n", "", "2: listener.timeout: found nothing, allowed: an integer >= 1 (milliseconds)"),
        (
            'auth_type = "UnixPeerCredentials"\n',
            "",
            '5: authenticator.auth_type: found nothing, allowed: "Direct", "UnixPeerCredentials", "JwtSvid", "Jwt"',
        ),
        (
            'provider_type = "MbedCrypto"\n',
            "",
            '10: provider[0].provider_type: found nothing, allowed: "MbedCrypto", "Pkcs11", "Tpm"',
        ),
        (
            '"UnixPeerCredentials"',
            '"UnixPeerCredentials"\nadmins = [{ name = "1" },\n{}]',
            "8: authenticator.admins[1].name: found nothing, allowed: a string",
        ),
        ("[core_settings]\n", "", "1: core_settings: found nothing, allowed: a table, [core_settings]"),
        # Tables in place of arrays, and the reverse.
        (
            "[core_settings]",
            "core_settings = 5",
            "1: core_settings: found an integer, allowed: a table, [core_settings]",
        ),
        (
            "[core_settings]",
            "[[core_settings]]",
            "1: core_settings: found an array, allowed: a table, [core_settings]",
        ),
        ("[[provider]]", "[provider]", "10: provider: found a table, allowed: an array of tables, [[provider]]"),
        (
            '"UnixPeerCredentials"',
            '"UnixPeerCredentials"\nadmins = ["1000"]',
            "7: authenticator.admins[0]: found a string, allowed: a table",
        ),
        (
            '"UnixPeerCredentials"',
            '"UnixPeerCredentials"\nadmins = "1000"',
            "7: authenticator.admins: found a string, allowed: an array of tables, [[admins]]",
        ),
        # Cofferdam's own.
        (
            "[core_settings]",
            "[isolation]\nrequire = 'Landlock'\n[core_settings]",
            '2: isolation.require: found "Landlock", allowed: "uid", "landlock", "seccomp", "none"',
        ),
        *(
            (
                "[core_settings]",
                f"[isolation]\nuid_base = {base}\n[core_settings]",
                (
                    f"2: isolation.uid_base: found {base}, "
                    "allowed: an integer from 1 to 2147483392 except 65277 to 65535 "
                    "(the first of 256 uids, none of them 0 or 65532 to 65535)"
                ),
            )
            for base in (0, 65277, 65535, 2147483393)
        ),
        (
            "[core_settings]",
            "[limits]\nmax_frontends = 201\n[core_settings]",
            "2: limits.max_frontends: found 201, allowed: an integer from 1 to 200",
        ),
        (
            "[core_settings]",
            "[limits]\nhang_ms = 99\n[core_settings]",
            "2: limits.hang_ms: found 99, allowed: an integer from 100 to 2147483647 (milliseconds)",
        ),
    ],
)
def test_the_message_of_a_bad_value(old: str, new: str, problem: str) -> None:
    assert SMALL.count(old) == 1
    assert _problems(SMALL.replace(old, new)) == (f"config.toml:{problem}",)


def test_all_errors_come_at_once_and_in_the_order_of_the_file() -> None:
    text = (
        SMALL.replace("200", "0")
        .replace('"MbedCrypto"', "7")
        .replace("[core_settings]", "[core_settings]\nallow_root = 2")
    )
    text += "[[provider]]\nprovider_type = 'CryptoAuthLib'\nkey_info_manager = 'other'\nbus = 256\n"
    assert _problems(text) == (
        "config.toml:2: core_settings.allow_root: found 2, allowed: true or false",
        "config.toml:5: listener.timeout: found 0, allowed: an integer >= 1 (milliseconds)",
        'config.toml:12: provider[0].provider_type: found 7, allowed: "MbedCrypto", "Pkcs11", "Tpm"',
        (
            'config.toml:15: provider[1].provider_type: found "CryptoAuthLib", allowed: "MbedCrypto", "Pkcs11", "Tpm" '
            "(this build has no provider of type CryptoAuthLib; remove its table, its keys are kept)"
        ),
        'config.toml:16: provider[1].key_info_manager: found "other", allowed: "m"',
        "config.toml:17: provider[1].bus: found an integer, allowed: an integer from 0 to 255",
    )


def test_of_what_this_build_lacks_nothing_more_is_required() -> None:
    assert _problems(SMALL.replace("MbedCrypto", "CryptoAuthLib")) == (
        (
            'config.toml:11: provider[0].provider_type: found "CryptoAuthLib", allowed: "MbedCrypto", "Pkcs11", "Tpm" '
            "(this build has no provider of type CryptoAuthLib; remove its table, its keys are kept)"
        ),
    )


def test_an_empty_document_lacks_every_required_table() -> None:
    assert _problems("") == (
        "config.toml:1: core_settings: found nothing, allowed: a table, [core_settings]",
        "config.toml:1: listener: found nothing, allowed: a table, [listener]",
        "config.toml:1: authenticator: found nothing, allowed: a table, [authenticator]",
        "config.toml:1: provider: found nothing, allowed: an array of tables, [[provider]]",
    )


def test_no_provider_is_an_error() -> None:
    text = "provider = []\n" + SMALL.partition("[[provider]]")[0]
    assert _problems(text) == ("config.toml:1: provider: found no table, allowed: at least one",)


def test_keys_of_an_unknown_type_are_checked_but_not_required() -> None:
    assert _problems(SMALL.replace('"MbedCrypto"', '"Mbed"\nslot_number = "5"')) == (
        'config.toml:11: provider[0].provider_type: found "Mbed", allowed: "MbedCrypto", "Pkcs11", "Tpm"',
        "config.toml:12: provider[0].slot_number: found a string, allowed: an integer >= 0",
    )


@pytest.mark.parametrize("table", [PKCS11, TPM])
def test_values_of_a_provider_are_not_shown(table: str) -> None:
    wrong = table.replace(f'"{SECRET}"', f'["{SECRET}"]').replace(f'"str:{SECRET}"', f'{{ a = "{SECRET}" }}')
    problems = _problems(SMALL + wrong)
    assert problems
    assert not any(SECRET in problem for problem in problems)


def test_unknown_keys_and_tables_are_warned_of_at_every_level() -> None:
    text = """\
top = 1
other.key = 2
[core_settings]
log_levle = "info"
[listener]
listener_type = "DomainSocket"
timeout = 200
[listener.sub]
x = 1
[authenticator]
auth_type = "UnixPeerCredentials"
admins = [
  { name = "1000", "full name" = "a" },
]
[[key_manager]]
name = "m"
manager_type = "SQLite"
zzz = 1
[[provider]]
provider_type = "MbedCrypto"
key_info_manager = "m"
"a\\nb" = 1
[isolations]
require = "uid"
[limits]
max_frontend = 3
[[admins]]
name = "x"
"""
    assert read_text(text).warnings == (
        "config.toml:1: top: unknown key, ignored",
        "config.toml:2: other: unknown table, ignored",
        "config.toml:4: core_settings.log_levle: unknown key, ignored; did you mean log_level?",
        "config.toml:8: listener.sub: unknown key, ignored",
        'config.toml:13: authenticator.admins[0]."full name": unknown key, ignored',
        "config.toml:18: key_manager[0].zzz: unknown key, ignored",
        'config.toml:22: provider[0]."a\\nb": unknown key, ignored',
        "config.toml:23: isolations: unknown table, ignored; did you mean isolation?",
        "config.toml:26: limits.max_frontend: unknown key, ignored; did you mean max_frontends?",
        "config.toml:27: admins: unknown table, ignored",
    )


def test_a_key_of_another_type_is_warned_of_and_not_checked() -> None:
    """Parsec accepts any value there, so the file of an installation may have one."""
    text = SMALL.replace('"SQLite"', '"SQLite"\nstore_path = 5') + "user_pin = 1234\n"
    text = text.replace('"UnixPeerCredentials"', '"UnixPeerCredentials"\nworkload_endpoint = []')
    assert read_text(text).warnings == (
        'config.toml:7: authenticator.workload_endpoint: has no effect with auth_type "UnixPeerCredentials"',
        'config.toml:11: key_manager[0].store_path: has no effect with manager_type "SQLite"',
        'config.toml:15: provider[0].user_pin: has no effect with provider_type "MbedCrypto"',
    )


def test_what_parsec_accepts_is_accepted_without_a_warning() -> None:
    assert read_text(PARSEC).warnings == ()
    assert read_text(SMALL).warnings == ()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("a",), "a"),
        (("a", "b-1_C"), "a.b-1_C"),
        (("a", 0, "b", 1, 2), "a[0].b[1][2]"),
        (("", "a.b"), '""."a.b"'),
        (("a\n\x1b[1m", "é"), '"a\\n\\u001b[1m"."\\u00e9"'),
        (("a" * 65,), '"' + "a" * 64 + '..."'),
    ],
)
def test_key_paths_are_one_line_of_ascii(path: tuple[str | int, ...], text: str) -> None:
    assert key_path(path) == text


_TABLES = [inner for table in TABLES for inner in (table, *table.tables)]
_SETTINGS = [(table, setting) for table in _TABLES for setting in table.settings]
_IDS = [f"{table.table_name}.{setting.name}" for table, setting in _SETTINGS]


@pytest.mark.parametrize(("table", "setting"), _SETTINGS, ids=_IDS)
def test_the_tables_agree_with_themselves(table: type[Table], setting: Setting[object]) -> None:
    assert (setting.initial() is None) == (setting.default is None)
    assert not (setting.required and (setting.default is not None or setting.default_note))
    tags = [other.kind for other in table.settings if other.name == table.tag]
    assert set(setting.only_for) <= {word for kind in tags for word in (*kind.choices, *kind.absent)}
    names = [*(other.name for other in table.settings), *(inner.table_name for inner in table.tables)]
    assert len(set(names)) == len(names)


def test_nothing_of_a_provider_is_shown_but_what_names_it() -> None:
    shown = {setting.name for setting in Provider.settings if setting.shown}
    assert shown == {"provider_type", "key_info_manager", "name"}


def test_a_value_that_is_missing_is_not_taken_for_one() -> None:
    kim = Kim(("kim",), {"give_back": True, "adopt_rows": None})
    assert kim.give_back is True
    assert kim.find(Kim.adopt_rows) is None
    with pytest.raises(KeyError, match="adopt_rows"):
        assert kim.adopt_rows


def test_a_misspelt_table_is_named_beside_the_one_that_is_missing() -> None:
    with pytest.raises(ConfigError) as caught:
        read_text(SMALL.replace("[listener]", "[listner]"))
    assert caught.value.problems == ("config.toml:1: listener: found nothing, allowed: a table, [listener]",)
    assert caught.value.warnings == ("config.toml:2: listner: unknown table, ignored; did you mean listener?",)
