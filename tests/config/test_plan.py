"""The settings that each process gets."""

from typing import TypeVar

import pytest
from tests.config.documents import PARSEC, PKCS11, SMALL, TPM, read_text

from cofferdam_config.host_facts import HostFacts
from cofferdam_config.places import PROVIDER_TYPES
from cofferdam_config.plan import Plan, read
from cofferdam_config.tables import Provider
from cofferdam_contracts import settings as documents
from cofferdam_contracts.ipc.control import Level
from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import (
    AuthenticatorSettings,
    BrokerSettings,
    ConfiguredProvider,
    FrontendSettings,
    KimSettings,
    LogSettings,
    ProviderEntry,
    SoftwareSettings,
    StoreSettings,
    WorkerEntry,
    WorkerSettings,
)

T = TypeVar("T")

_UUID = "1c1139dc-ad7c-47dc-ad6b-db6fdb466552"
_OPCODES = (2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 15, 16, 17, 18, 19, 32)


def _document(plan: Plan, role: Role, kind: type[T]) -> T:
    (value,) = (value for wanted, number, value in plan.documents if wanted is role and number == 0)
    assert isinstance(value, kind)
    return value


def test_the_settings_from_a_file_of_parsec() -> None:
    plan = read_text(PARSEC)
    log = LogSettings(level="warning", details=True, timestamp=True)
    provider = ProviderEntry(id=1, uuid=_UUID, name="software", opcodes=_OPCODES)
    authenticators = (AuthenticatorSettings(auth_type=3, admins=("1000", "1001")),)
    assert plan.broker == BrokerSettings(
        log=log,
        socket_path="/run/p/parsec.sock",
        status_path="/run/p/cofferdam-status.sock",
        status_group=None,
        uid_base=60706,
        require=Level.LANDLOCK,
        configured=(
            ConfiguredProvider(name="software", type="MbedCrypto", id=1, role=Role.SOFTWARE_WORKER, absent=""),
            ConfiguredProvider(name="key store", type="SQLite", id=0, role=Role.KIM, absent=""),
        ),
        workers=(WorkerEntry(role=Role.SOFTWARE_WORKER, name="software"),),
        others=(),
        subuids=(),
        max_frontends=64,
        max_connections=1024,
        idle_ms=60000,
        hang_ms=5000,
        start_ms=10000,
        generate_ms=120_000,
        drain_ms=10000,
        notices=plan.broker.notices,
    )
    worker = WorkerSettings(
        log=log,
        provider=provider,
        authenticators=authenticators,
        buffer_size_limit=4096,
        body_len_limit=2097152,
        allow_deprecated=True,
        key_cache=10_000,
        memory_limit=256 << 20,
        adopt_rows=False,
    )
    assert plan.documents == (
        (
            Role.KIM,
            0,
            KimSettings(
                log=log,
                stores=(StoreSettings("/var/lib/p/kim.sqlite3", shared=False, on_disk=False, providers=(1,)),),
                providers=(provider,),
                max_keys=10_000,
                authenticators=authenticators,
            ),
        ),
        (
            Role.FRONTEND,
            0,
            FrontendSettings(
                log=log,
                providers=(provider,),
                authenticators=authenticators,
                body_len_limit=2097152,
                read_timeout_ms=6000,
                request_timeout_ms=6000,
                answer_timeout_ms=10000,
                idle_connection_ms=30000,
                max_connections=1024,
                max_in_flight=256,
                buffer_limit=16 << 20,
                buffer_size_limit=4096,
            ),
        ),
        (
            Role.SOFTWARE_WORKER,
            0,
            SoftwareSettings(
                worker=worker,
                kek_file="/var/lib/parsec/cofferdam/software.kek",
                kek_create=True,
                mbed_its_path=None,
            ),
        ),
    )


def test_defaults_are_those_of_parsec() -> None:
    plan = read_text(SMALL)
    assert plan.broker.socket_path == "/run/parsec/parsec.sock"
    assert plan.broker.log == LogSettings(level="info", details=False, timestamp=False)
    kim = _document(plan, Role.KIM, KimSettings)
    assert kim.stores[0].path == "/var/lib/parsec/kim-mappings/sqlite/sqlite-key-info-manager.sqlite3"
    assert kim.providers[0].name == "mbed-crypto-provider"
    assert kim.authenticators == (AuthenticatorSettings(auth_type=3),)
    frontend = _document(plan, Role.FRONTEND, FrontendSettings)
    assert (frontend.body_len_limit, frontend.read_timeout_ms, frontend.request_timeout_ms) == (1 << 20, 200, 5000)
    assert frontend.buffer_size_limit == 1 << 20
    assert _document(plan, Role.SOFTWARE_WORKER, SoftwareSettings).worker.buffer_size_limit == 1 << 20


@pytest.mark.parametrize(("more", "path"), [("", "/var/lib/parsec/mappings"), ('\nstore_path = "/s"', "/s")])
def test_mapping_files_are_in_their_folder(more: str, path: str) -> None:
    plan = read_text(SMALL.replace('"SQLite"', f'"OnDisk"{more}'))
    kim = _document(plan, Role.KIM, KimSettings)
    assert kim.stores == (StoreSettings(path, shared=False, on_disk=True, providers=(1,)),)


def test_each_provider_has_the_store_of_its_manager() -> None:
    text = SMALL.replace('"SQLite"', '"SQLite"\nsqlite_db_path = "/a/k"') + PKCS11.replace('"m"', '"files"')
    text += '[[key_manager]]\nname = "files"\nmanager_type = "OnDisk"\n'
    text += '[[key_manager]]\nname = "unused"\nmanager_type = "SQLite"\nsqlite_db_path = "/b/k"\n'
    kim = _document(read_text(text), Role.KIM, KimSettings)
    assert kim.stores == (
        StoreSettings("/a/k", shared=False, on_disk=False, providers=(1,)),
        StoreSettings("/var/lib/parsec/mappings", shared=False, on_disk=True, providers=(2,)),
    )


def test_two_databases_in_one_folder_share_it() -> None:
    text = SMALL.replace('"SQLite"', '"SQLite"\nsqlite_db_path = "/a/k"') + PKCS11.replace('"m"', '"other"')
    text += '[[key_manager]]\nname = "other"\nmanager_type = "SQLite"\nsqlite_db_path = "/a/l"\n'
    kim = _document(read_text(text), Role.KIM, KimSettings)
    assert [(store.path, store.shared, store.providers) for store in kim.stores] == [
        ("/a/k", True, (1,)),
        ("/a/l", True, (2,)),
    ]


def test_every_value_of_our_own_arrives() -> None:
    plan = read_text(
        SMALL
        + """\
list_all_opcodes = true
key_encryption_key_file = "/etc/parsec/kek"
mbed_its_path = "/home/parsec"
[[additional_authenticator]]
auth_type = "Direct"
admins = [{ name = "root" }]
[service]
status_path = "/run/status"
[isolation]
require = "none"
uid_base = 100000
[kim]
give_back = true
[limits]
max_frontends = 2
frontend_idle_ms = 3
hang_ms = 104
start_ms = 105
drain_ms = 6
request_timeout_ms = 7
answer_timeout_ms = 8
idle_connection_ms = 9
max_connections = 10
max_in_flight = 11
frontend_buffer_mb = 12
key_cache = 12
"""
    )
    broker = plan.broker
    assert (broker.status_path, broker.require, broker.uid_base) == ("/run/status", Level.NONE, 100000)
    assert (broker.max_frontends, broker.idle_ms, broker.hang_ms, broker.start_ms, broker.drain_ms) == (
        2,
        3,
        104,
        105,
        6,
    )
    frontend = _document(plan, Role.FRONTEND, FrontendSettings)
    assert (frontend.request_timeout_ms, frontend.answer_timeout_ms, frontend.idle_connection_ms) == (7, 8, 9)
    assert (frontend.max_connections, frontend.max_in_flight, frontend.buffer_limit) == (10, 11, 12 << 20)
    assert frontend.authenticators == (
        AuthenticatorSettings(auth_type=3),
        AuthenticatorSettings(auth_type=1, admins=("root",)),
    )
    software = _document(plan, Role.SOFTWARE_WORKER, SoftwareSettings)
    assert software.worker.key_cache == 12
    assert software.worker.provider.opcodes == tuple(sorted((*_OPCODES, 20, 21, 24, 25)))
    assert (software.kek_file, software.kek_create, software.mbed_its_path) == ("/etc/parsec/kek", True, "/home/parsec")


@pytest.mark.parametrize(
    ("level", "name"),
    [("off", "off"), ("ERROR", "error"), ("Warn", "warning"), ("info", "info"), ("debug", "debug"), ("trace", "debug")],
)
def test_log_levels(level: str, name: str) -> None:
    assert (
        read_text(SMALL.replace("[core_settings]", f'[core_settings]\nlog_level = "{level}"')).broker.log.level == name
    )


def test_a_credential_takes_the_place_of_the_file() -> None:
    credentials = {"cofferdam.software.kek": "/run/credentials/kek", "other": "/run/credentials/other"}
    plan = read_text(SMALL + 'key_encryption_key_file = "/k"\n', credentials=credentials)
    software = _document(plan, Role.SOFTWARE_WORKER, SoftwareSettings)
    assert (software.kek_file, software.kek_create) == ("/run/credentials/kek", False)


def test_files_without_a_path_are_in_the_state_folder() -> None:
    facts = HostFacts(credentials={"other": "/x"}, groups={}, is_root=False, state_folder="/srv/state")
    plan = read(SMALL.encode(), path="c", facts=facts)
    assert _document(plan, Role.SOFTWARE_WORKER, SoftwareSettings).kek_file == "/srv/state/cofferdam/software.kek"


def test_values_beyond_what_the_wire_or_the_kernel_can_express_are_cut() -> None:
    huge = str((1 << 63) - 1)
    text = SMALL.replace("200", huge)
    text = text.replace("[core_settings]", f"[core_settings]\nbody_len_limit = {huge}\nbuffer_size_limit = {huge}")
    plan = read_text(text)
    frontend = _document(plan, Role.FRONTEND, FrontendSettings)
    assert (frontend.read_timeout_ms, frontend.request_timeout_ms) == ((1 << 31) - 1, (1 << 31) - 1)
    assert frontend.body_len_limit == (1 << 32) - 1
    worker = _document(plan, Role.SOFTWARE_WORKER, SoftwareSettings).worker
    assert (worker.body_len_limit, worker.buffer_size_limit) == ((1 << 32) - 1, (1 << 32) - 1)


@pytest.mark.parametrize("text", [PARSEC, SMALL, SMALL + 'mbed_its_path = "/é\\u0001"\n'])
def test_settings_survive_being_dumped_and_loaded(text: str) -> None:
    plan = read_text(text)
    values = [plan.broker, *(value for _, _, value in plan.documents)]
    assert [type(value) for value in values] == [BrokerSettings, KimSettings, FrontendSettings, SoftwareSettings]
    for value in values:
        assert documents.load(type(value), documents.dump(value)) == value


def test_every_provider_type_that_is_allowed_is_served() -> None:
    assert set(Provider.provider_type.kind.choices) == set(PROVIDER_TYPES)


@pytest.mark.parametrize(("group", "gid"), [('"pcscd"', 108), ("4711", 4711), ('"root"', 0)])
def test_the_readers_of_the_status_are_a_group(group: str, gid: int) -> None:
    assert read_text(f"{SMALL}[service]\nstatus_group = {group}\n").broker.status_group == gid
    assert read_text(SMALL).broker.status_group is None


def test_a_provider_that_is_left_out_is_in_the_status() -> None:
    absent = TPM.replace("[[provider]]", "[[provider]]\nskip_if_no_tpm = true")
    plan = read_text(f"{absent}{SMALL}{PKCS11}", devices=frozenset())
    found = [(one.type, one.role, one.absent) for one in plan.broker.configured]
    why = "the provider is left out, as there is no device /dev/tpmrm0; start the TPM, then reload"
    assert found == [
        ("Tpm", Role.TPM_WORKER, why),
        ("MbedCrypto", Role.SOFTWARE_WORKER, ""),
        ("Pkcs11", Role.PKCS11_WORKER, ""),
        ("SQLite", Role.KIM, ""),
    ]
    served = {one.role for one in plan.broker.configured if not one.absent}
    assert served == {Role.KIM, *(one.role for one in plan.broker.workers)}
