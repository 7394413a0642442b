"""The settings of a TPM provider, and which of them contradict each other."""

import pytest
from tests.config.documents import SECRET, SMALL, read_text

from cofferdam_config.plan import Plan
from cofferdam_config.source import ConfigError
from cofferdam_contracts import settings as documents
from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import SoftwareSettings, TctiSettings, TpmSettings

OWNER_WARNING = (
    "owner_hierarchy_auth_file or the credential cofferdam.tpm.owner-auth would keep the password out of the "
    "configuration"
)
AUTH = 'owner_hierarchy_auth = ""\n'
SOFTWARE = '[[provider]]\nprovider_type = "MbedCrypto"\nkey_info_manager = "m"\n'
MODULE = '[[provider]]\nprovider_type = "Pkcs11"\nkey_info_manager = "m"\nlibrary_path = "/usr/lib/module.so"\n'


def _text(keys: str, tcti: str = "device") -> str:
    """Return a document with one TPM provider; its own keys begin in line 14."""
    return SMALL.replace('"MbedCrypto"', '"Tpm"') + f'tcti = "{tcti}"\n' + keys


def _settings(plan: Plan) -> TpmSettings:
    (value,) = (value for _, _, value in plan.documents if isinstance(value, TpmSettings))
    assert documents.load(TpmSettings, documents.dump(value)) == value
    return value


def _read(keys: str, tcti: str = "device") -> TpmSettings:
    return _settings(read_text(_text(keys, tcti)))


def _problems(text: str, credentials: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        read_text(text, credentials=credentials)
    return caught.value.problems


def test_the_defaults_of_a_provider() -> None:
    plan = read_text(_text(AUTH))
    assert plan.warnings == ()
    (worker,) = plan.broker.workers
    assert (worker.role, worker.name, worker.groups) == (Role.TPM_WORKER, "tpm-provider", (107,))
    settings = _settings(plan)
    assert settings == TpmSettings(
        worker=settings.worker,
        tcti=TctiSettings(kind="device", path="/dev/tpmrm0", host=None, port=None, bus_name=None, bus_type=None),
        owner_auth="",
        owner_auth_file=None,
        endorsement_auth=None,
        endorsement_auth_file=None,
        skip_if_no_tpm=False,
        kek_file="/var/lib/parsec/cofferdam/tpm.kek",
        kek_create=True,
        give_back=False,
        application_parents=False,
        bus_protection=True,
        groups=(107,),
    )
    assert settings.worker.provider.opcodes == (2, 3, 4, 5, 6, 7, 10, 11, 13, 30, 31, 32)
    assert settings.worker.provider.uuid == "1e4954a4-ff21-46d3-ab0c-661eeb667e1d"


def test_every_key_arrives() -> None:
    plan = read_text(
        _text(
            """\
owner_hierarchy_auth_file = "/etc/owner"
endorsement_hierarchy_auth_file = "/etc/endorsement"
skip_if_no_tpm = true
key_encryption_key_file = "/srv/kek"
application_parents = true
bus_protection = false
list_all_opcodes = true
name = "chip"
""",
            "device:/dev/tpmrm1",
        )
    )
    assert plan.warnings == ()
    settings = _settings(plan)
    assert (settings.owner_auth, settings.owner_auth_file) == (None, "/etc/owner")
    assert (settings.endorsement_auth, settings.endorsement_auth_file) == (None, "/etc/endorsement")
    assert (settings.skip_if_no_tpm, settings.application_parents, settings.bus_protection) == (True, True, False)
    assert (settings.kek_file, settings.kek_create) == ("/srv/kek", True)
    assert (settings.tcti.path, settings.worker.provider.name) == ("/dev/tpmrm1", "chip")
    assert settings.worker.provider.opcodes == (2, 3, 4, 5, 6, 7, 10, 11, 13, 24, 25, 30, 31, 32)
    assert _read(f"{AUTH}[kim]\ngive_back = true\n").give_back


@pytest.mark.parametrize(
    ("password", "octets"),
    [("1234", b"1234"), ("str:hex:00", b"hex:00"), ("hex:00fFc3", b"\0\xff\xc3"), ("hex:", b""), ("", b"")],
)
def test_the_forms_of_a_password(password: str, octets: bytes) -> None:
    plan = read_text(_text(f'owner_hierarchy_auth = "{password}"\nendorsement_hierarchy_auth = "{password}"\n'))
    settings = _settings(plan)
    assert (settings.owner_auth, settings.endorsement_auth) == (octets.hex(), octets.hex())
    assert [warning.split(": ")[1] for warning in plan.warnings] == (
        ["provider[0].owner_hierarchy_auth", "provider[0].endorsement_hierarchy_auth"] if octets else []
    )
    assert not octets or plan.warnings[0].endswith(OWNER_WARNING)
    assert "auth" not in repr(settings).replace("authenticator", "").replace("auth_type", "")


def test_the_owner_s_password_is_required() -> None:
    assert _problems(_text("")) == (
        (
            "config.toml:10: provider[0].owner_hierarchy_auth: found nothing, "
            "allowed: a string, which may be empty; or owner_hierarchy_auth_file"
        ),
    )
    # A refused one is not reported as missing as well.
    assert _problems(_text("owner_hierarchy_auth = 'hex:0'")) == (
        (
            "config.toml:14: provider[0].owner_hierarchy_auth: found a string, "
            "allowed: a string, with pairs of hexadecimal digits after `hex:`"
        ),
    )
    (problem,) = _problems(_text("owner_hierarchy_auth_file = ''"))
    assert problem.startswith("config.toml:14: provider[0].owner_hierarchy_auth_file: found a string")


@pytest.mark.parametrize("hierarchy", ["owner", "endorsement"])
def test_a_password_has_one_place(hierarchy: str) -> None:
    keys = f'{hierarchy}_hierarchy_auth = ""\n{hierarchy}_hierarchy_auth_file = "/p"\n'
    assert _problems(_text(keys + (AUTH if hierarchy == "endorsement" else ""))) == (
        (
            f"config.toml:15: provider[0].{hierarchy}_hierarchy_auth_file: found a password besides "
            f"{hierarchy}_hierarchy_auth, allowed: one place for the password"
        ),
    )


@pytest.mark.parametrize("hierarchy", ["owner", "endorsement"])
@pytest.mark.parametrize("key", ['hierarchy_auth = "1"', 'hierarchy_auth_file = "/p"'])
def test_a_credential_takes_the_place_of_a_password(hierarchy: str, key: str) -> None:
    credential = f"cofferdam.tpm.{hierarchy}-auth"
    credentials = {credential: "/run/credentials/auth", "cofferdam.tpm.owner-auth": "/run/credentials/auth"}
    assert read_text(_text(""), credentials=credentials).warnings == ()
    plan = read_text(_text(f"{hierarchy}_{key}"), credentials=credentials)
    values = _settings(plan)._asdict()
    assert (values[f"{hierarchy}_auth"], values[f"{hierarchy}_auth_file"]) == (None, "/run/credentials/auth")
    name = key.partition(" ")[0]
    assert plan.warnings == (
        f"config.toml:14: provider[0].{hierarchy}_{name}: not used, as the credential {credential} takes its place",
    )


def test_a_credential_takes_the_place_of_the_key_encryption_key() -> None:
    credentials = {"cofferdam.tpm.kek": "/run/credentials/kek", "cofferdam.software.kek": "/run/credentials/other"}
    plan = read_text(_text(f'{AUTH}key_encryption_key_file = "/srv/kek"'), credentials=credentials)
    assert (_settings(plan).kek_file, _settings(plan).kek_create) == ("/run/credentials/kek", False)
    assert plan.warnings == (
        (
            "config.toml:15: provider[0].key_encryption_key_file: not used, "
            "as the credential cofferdam.tpm.kek takes its place"
        ),
    )


def test_two_providers_have_two_key_encryption_keys() -> None:
    plan = read_text(_text(AUTH + SOFTWARE))
    files = [value.kek_file for _, _, value in plan.documents if isinstance(value, TpmSettings | SoftwareSettings)]
    assert files == ["/var/lib/parsec/cofferdam/tpm.kek", "/var/lib/parsec/cofferdam/software.kek"]
    text = _text(AUTH + SOFTWARE + 'key_encryption_key_file = "/var/lib/parsec//cofferdam/tpm.kek"\n')
    assert _problems(text) == (
        (
            "config.toml:18: provider[1].key_encryption_key_file: found the path of a key-encryption key "
            "(provider[0].key_encryption_key_file), allowed: another one for a key-encryption key"
        ),
    )


@pytest.mark.parametrize(
    ("tcti", "groups"), [("device", (107,)), ("tabrmd", (107,)), ("mssim", ()), ("swtpm:path=/s", ())]
)
def test_only_workers_that_need_it_get_the_group_of_the_tpm(tcti: str, groups: tuple[int, ...]) -> None:
    plan = read_text(_text(AUTH, tcti))
    assert plan.warnings == ()
    assert _settings(plan).groups == plan.broker.workers[0].groups == groups


def test_a_machine_without_the_group_is_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.config.documents.GROUPS", {})
    plan = read_text(_text(AUTH))
    assert (plan.warnings, plan.broker.workers[0].groups) == ((), ())


def test_keys_with_other_parents_cannot_be_given_back() -> None:
    assert _problems(_text(f"{AUTH}application_parents = true\n[kim]\ngive_back = true\n")) == (
        (
            "config.toml:15: provider[0].application_parents: found true together with kim.give_back, "
            "allowed: only one of them, as Parsec cannot load keys under another parent than its own"
        ),
    )


def test_what_others_may_overhear_is_said() -> None:
    for tcti in ("mssim", "swtpm", "swtpm:path=/s", "tabrmd"):
        assert read_text(_text(f"{AUTH}bus_protection = false", tcti)).warnings == (
            (
                "config.toml:15: provider[0].bus_protection: passwords and keys are sent in the clear, and "
                "not directly to a device of this machine"
            ),
        )


def test_a_bus_that_is_out_of_reach_is_named() -> None:
    assert read_text(_text(AUTH, "tabrmd:bus_type=session")).warnings == (
        "config.toml:13: provider[0].tcti: the worker belongs to no login session, so it cannot reach this bus",
    )


@pytest.mark.parametrize("tcti", [f"device:{SECRET}", f"mssim:host={SECRET}", f"swtpm:{SECRET}=1", SECRET])
def test_a_tcti_that_is_refused_is_not_shown(tcti: str) -> None:
    (problem,) = _problems(_text(f"{AUTH}bus_protection = false", tcti))
    assert problem.startswith("config.toml:13: provider[0].tcti: found a string, allowed: a string `device:PATH`, ")
    assert "; parameters may be left out (it" in problem
    assert SECRET not in problem


@pytest.mark.parametrize("key", ["module_readable", "module_writable"])
@pytest.mark.parametrize(
    ("path", "found"),
    [("/srv/owner", "a password"), ("/srv/endorsement", "a password"), ("/srv/kek", "the key-encryption key")],
)
def test_no_module_gets_the_secrets_of_a_tpm(key: str, path: str, found: str) -> None:
    keys = (
        'owner_hierarchy_auth_file = "/srv/owner"\nendorsement_hierarchy_auth_file = "/srv/endorsement"\n'
        'key_encryption_key_file = "/srv/kek"\n'
    )
    (problem,) = _problems(_text(f'{keys}{MODULE}{key} = ["{path}"]'))
    assert problem.endswith(f"{key}[0]: found a path that holds {found}, allowed: one that does not")


def test_a_provider_in_software_uses_none_of_it() -> None:
    plan = read_text(
        SMALL + 'tcti = 1\nowner_hierarchy_auth_file = "/p"\napplication_parents = 1\nbus_protection = 1\n'
    )
    assert [warning.partition(" has ")[2] for warning in plan.warnings] == [
        'no effect with provider_type "MbedCrypto"'
    ] * 4


NO_DEVICE = frozenset({"/dev/tpm1"})


def test_a_provider_without_its_device_is_left_out_if_that_is_wanted() -> None:
    text = _text(AUTH + "skip_if_no_tpm = true\n") + SOFTWARE
    plan = read_text(text, devices=NO_DEVICE)
    assert [worker.name for worker in plan.broker.workers] == ["mbed-crypto-provider"]
    assert plan.warnings == (
        "config.toml:15: provider[0].skip_if_no_tpm: the provider is left out, as there is no device /dev/tpmrm0",
    )
    assert len(read_text(text).broker.workers) == 2


@pytest.mark.parametrize(
    ("keys", "tcti"),
    [("", "device"), ("skip_if_no_tpm = true\n", "swtpm"), ("skip_if_no_tpm = true\n", "device:/srv/tpm")],
)
def test_a_provider_stays_if_it_is_needed_or_its_tpm_may_exist(keys: str, tcti: str) -> None:
    plan = read_text(_text(AUTH + keys, tcti), devices=NO_DEVICE)
    assert [worker.name for worker in plan.broker.workers] == ["tpm-provider"]


def test_a_service_has_a_provider() -> None:
    with pytest.raises(ConfigError) as caught:
        read_text(_text(AUTH + "skip_if_no_tpm = true\n"), devices=NO_DEVICE)
    (problem,) = caught.value.problems
    assert "no provider left" in problem
