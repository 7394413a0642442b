"""Rules that involve several settings, each with its exact message."""

import pytest
from tests.config.documents import SMALL, read_text

from cofferdam_config.source import ConfigError

_PROVIDER = '[[provider]]\nprovider_type = "MbedCrypto"\nkey_info_manager = "m"\n'
_MANAGER = '[[key_manager]]\nname = "other"\nmanager_type = "SQLite"\n'


def _problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        read_text(text)
    return caught.value.problems


def test_an_authenticator_can_be_active_only_once() -> None:
    text = SMALL + '[[additional_authenticator]]\nauth_type = "UnixPeerCredentials"\n'
    assert _problems(text) == (
        (
            'config.toml:14: additional_authenticator[0].auth_type: found "UnixPeerCredentials", '
            "allowed: each authenticator once"
        ),
    )


def test_direct_is_warned_of_wherever_it_is() -> None:
    warning = "clients choose their own names, so each can act as any other"
    assert read_text(SMALL.replace("UnixPeerCredentials", "Direct")).warnings == (
        f"config.toml:6: authenticator.auth_type: {warning}",
    )
    assert read_text(SMALL + '[[additional_authenticator]]\nauth_type = "Direct"\n').warnings == (
        f"config.toml:14: additional_authenticator[0].auth_type: {warning}",
    )


def test_key_managers_have_names_of_their_own() -> None:
    assert _problems(SMALL + _MANAGER.replace("other", "m")) == (
        'config.toml:14: key_manager[1].name: found "m", allowed: each name once',
    )


def test_an_unused_key_manager_is_warned_of() -> None:
    assert read_text(SMALL + _MANAGER).warnings == (
        "config.toml:14: key_manager[1].name: no provider uses this key manager, so it is not opened",
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (SMALL.replace('manager = "m"', 'manager = "M"'), '12: provider[0].key_info_manager: found "M", allowed: "m"'),
        (
            SMALL.replace('manager = "m"', 'manager = "x"') + _MANAGER,
            '12: provider[0].key_info_manager: found "x", allowed: "m" or "other"',
        ),
        (
            SMALL.replace('[[key_manager]]\nname = "m"\nmanager_type = "SQLite"\n', ""),
            '9: provider[0].key_info_manager: found "m", allowed: the name of a [[key_manager]]',
        ),
    ],
)
def test_a_provider_names_a_key_manager(text: str, problem: str) -> None:
    assert _problems(text) == (f"config.toml:{problem}",)


def test_a_key_manager_without_a_name_is_one_error_not_two() -> None:
    assert _problems(SMALL.replace('name = "m"\n', "")) == (
        "config.toml:7: key_manager[0].name: found nothing, allowed: a non-empty string of printable characters",
    )


def test_a_provider_without_a_key_manager_is_one_error_and_no_warning() -> None:
    assert _problems(SMALL.replace('key_info_manager = "m"\n', "")) == (
        (
            "config.toml:10: provider[0].key_info_manager: found nothing, "
            "allowed: a non-empty string of printable characters"
        ),
    )


def test_there_is_one_provider_of_each_type() -> None:
    text = SMALL + _PROVIDER + 'name = "second"\n'
    assert _problems(text) == (
        (
            'config.toml:14: provider[1].provider_type: found "MbedCrypto", '
            "allowed: one provider of each type (of several, Parsec serves only the last)"
        ),
    )


def test_providers_have_names_of_their_own() -> None:
    problems = _problems(SMALL + _PROVIDER + 'name = "mbed-crypto-provider"\n')
    assert problems[1:] == ('config.toml:16: provider[1].name: found "mbed-crypto-provider", allowed: each name once',)


def test_the_status_socket_has_a_place_of_its_own() -> None:
    text = '[service]\nstatus_path = "/run/parsec/parsec.sock"\n'
    assert _problems(text + SMALL) == (
        (
            "config.toml:2: service.status_path: found the path of the clients' socket (listener.socket_path), "
            "allowed: another one for the status socket"
        ),
    )


def test_the_status_socket_needs_room_beside_the_other() -> None:
    text = SMALL.replace("timeout", f'socket_path = "/{"d" * 90}/s"\ntimeout')
    assert _problems(text) == (
        (
            "config.toml:4: listener.socket_path: found a folder in which the path of cofferdam-status.sock has more "
            "than 107 bytes, allowed: a shorter one, or any with service.status_path set"
        ),
    )
    assert read_text('[service]\nstatus_path = "/s"\n' + text).broker.status_path == "/s"


def test_uids_of_their_own_need_root() -> None:
    text = '[isolation]\nrequire = "uid"\n' + SMALL
    assert read_text(text, is_root=True).broker.require == 3
    assert _problems(text) == (
        (
            'config.toml:2: isolation.require: found "uid", allowed: "landlock", "seccomp", "none" '
            "(only a service started as root can give its processes uids)"
        ),
    )


def test_a_file_that_a_credential_replaces_is_warned_of() -> None:
    credentials = {"cofferdam.software.kek": "/run/credentials/kek"}
    assert read_text(SMALL, credentials=credentials).warnings == ()
    assert read_text(SMALL + 'key_encryption_key_file = "/k"\n', credentials=credentials).warnings == (
        (
            "config.toml:13: provider[0].key_encryption_key_file: not used, as the credential cofferdam.software.kek "
            "takes its place"
        ),
    )


@pytest.mark.parametrize(
    ("name", "warned"), [("0", False), ("1000", False), ("root", True), ("007", True), ("٣", True)]
)
def test_an_admin_that_is_not_a_uid_is_warned_of(name: str, warned: bool) -> None:
    admins = f'auth_type = "UnixPeerCredentials"\nadmins = [{{ name = "{name}" }}]'
    plan = read_text(SMALL.replace('auth_type = "UnixPeerCredentials"', admins))
    assert any("is not a decimal uid" in warning for warning in plan.warnings) == warned
