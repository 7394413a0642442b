"""From a configuration document to the settings of every process. No I/O: everything comes in as arguments.

`read` parses, checks each setting against the tables, then applies the rules, and reports all errors at once. Only a
document without any becomes a `Plan`.
"""

import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from cofferdam_config import tables
from cofferdam_config.host_facts import HostFacts
from cofferdam_config.host_rules import HOST_RULES
from cofferdam_config.notices import hand_on, identity, keeps, served
from cofferdam_config.paths import shares_its_folder
from cofferdam_config.places import PROVIDER_TYPES, database_of, key_managers, name_of, status_path, uri_of
from cofferdam_config.relative import complete
from cofferdam_config.report import Report
from cofferdam_config.rules import RULES, apply_rules, gid_of
from cofferdam_config.schema import Document, check_document
from cofferdam_config.source import parse
from cofferdam_config.tables import TPM, Provider
from cofferdam_config.token_rules import TOKEN_RULES
from cofferdam_config.token_uri import NO_MATCH, unpadded
from cofferdam_config.tokens import AUTH_TYPES, authenticators, settings_of
from cofferdam_contracts import settings
from cofferdam_contracts.ipc.control import Level
from cofferdam_contracts.registry import PROVIDERS
from cofferdam_contracts.roles import PLAIN, Role

T = TypeVar("T")
_LOG_LEVELS: Final = {"warn": "warning", "trace": "debug"}
"""Parsec's words for levels that have another name here."""
REQUEST_TIMEOUT_MS: Final = 5000
"""Default of `request_timeout_ms`, unless `listener.timeout` is longer."""
_DEVICES: Final = "/dev/tpm"
"""How the paths begin that `HostFacts.devices` knows."""
_TPM_GROUP: Final = "tss"
"""The group that the rules of tpm-udev, and the resource manager daemon, give access to."""
_KEY_STORE: Final = settings.ConfiguredProvider(name="key store", type="", id=0, role=Role.KIM, absent="")
"""What the status says of it, but for its type."""
_TCTIS_OF_THE_GROUP: Final = frozenset({"device", "tabrmd"})


class Plan(NamedTuple):
    """The settings that a configuration results in."""

    broker: settings.BrokerSettings
    documents: tuple[tuple[Role, int, object], ...]
    """Settings of the other processes: role, number within the role, value for `settings.dump`."""
    warnings: tuple[str, ...]
    """What an operator should know, one line of text each."""
    lacks: tuple[str, ...]
    """What providers cannot work without, one line of text each."""


def read(document: bytes, *, path: str, facts: HostFacts) -> Plan:
    """Turn a configuration document into settings.

    Args:
        document: The content of the file.
        path: The name of the file in messages.
        facts: What else the settings depend on.

    Raises:
        ConfigError: The document cannot be used. It has all reasons, or the first one if the document is not TOML.
    """
    tree, lines = parse(document, path)
    report = Report(file=path, lines=lines)
    checked = complete(check_document(tree, tables.TABLES, report), facts, report)
    apply_rules((*RULES, *TOKEN_RULES, *HOST_RULES), checked, facts, report)
    report.raise_problems()
    served = _without_absent_devices(checked, facts, report)
    report.raise_problems()
    return _plan(served, checked.all(Provider), facts, report)


def _without_absent_devices(document: Document, facts: HostFacts, report: Report) -> Document:
    """Leave out the providers whose TPM is missing, where `skip_if_no_tpm` says so.

    Only a device shows whether it is there; whether a simulator or a daemon is, its worker finds out.
    """
    providers = document.all(Provider)
    absent = [provider for provider in providers if _is_absent(provider, facts)]
    for provider in absent:
        text = _left_out(provider)
        report.warn(provider.at(Provider.skip_if_no_tpm), text)
    remaining = tuple(provider for provider in providers if provider not in absent)
    if not remaining:
        report.refuse((Provider.table_name,), "no provider left", "at least one whose device exists")
    return Document({**document.tables, Provider: remaining})


def _is_absent(provider: Provider, facts: HostFacts) -> bool:
    if provider.provider_type != TPM or not provider.skip_if_no_tpm:
        return False
    path = provider.tcti.path or ""
    return provider.tcti.kind == "device" and path.startswith(_DEVICES) and path not in facts.devices


def _plan(document: Document, configured: Sequence[Provider], facts: HostFacts, report: Report) -> Plan:
    """Make the settings of every process from a document without errors, which lacks some `configured` providers."""
    managers = key_managers(document)
    said = (identity(text, report.file) for text in (*report.warnings(), *report.lacks()))
    opened = (keeps(place[1]) for manager in managers if (place := database_of(manager)) is not None)
    values = _values(document, facts, report.file)
    rows = (_configured(provider, document.all(Provider)) for provider in configured)
    values["configured"] = (*rows, _KEY_STORE._replace(type=", ".join(one.manager_type for one in managers)))
    values["notices"] = hand_on((*opened, *map(served, document.all(Provider)), *said))
    with_tokens = settings_of(document, facts, values)
    values["others"] = tuple(settings.ProcessEntry(role, number) for role, number, _ in with_tokens)
    workers = (_worker(provider, values, facts) for provider in document.all(Provider))
    return Plan(
        broker=_fill(settings.BrokerSettings, values),
        documents=(
            (Role.KIM, 0, _fill(settings.KimSettings, values)),
            (Role.FRONTEND, 0, _fill(settings.FrontendSettings, values)),
            *((role, 0, values["log"]) for role in PLAIN),
            *workers,
            *with_tokens,
        ),
        warnings=report.warnings(),
        lacks=report.lacks(),
    )


def _fill(make: Callable[..., T], values: Mapping[str, object]) -> T:
    """Make the settings of a process: each field takes the value of its name."""
    return make(**{name: values[name] for name in make.__annotations__})


def _values(document: Document, facts: HostFacts, file: str) -> dict[str, object]:
    """Return the values of fields by name: those of settings of that name, and what is derived from others."""
    values: dict[str, object] = {}
    for table in (document.one(table) for table in tables.TABLES if not table.is_array):
        values |= table.values()
    limits, timeout = document.one(tables.Limits), document.one(tables.Listener).timeout
    group = document.one(tables.Service).find(tables.Service.status_group)
    return values | {
        "log": _log(document.one(tables.CoreSettings)),
        "providers": tuple(_entry(provider) for provider in document.all(Provider)),
        "authenticators": tuple(_authenticator(table) for table in authenticators(document)),
        "status_path": status_path(document),
        "status_group": None if group is None else gid_of(group, facts),
        "require": Level[document.one(tables.Isolation).require.upper()],
        "workers": tuple(_started(provider, facts) for provider in document.all(Provider)),
        "subuids": facts.subuids,
        "idle_ms": limits.frontend_idle_ms,
        "read_timeout_ms": timeout,
        "request_timeout_ms": limits.find(tables.Limits.request_timeout_ms) or max(REQUEST_TIMEOUT_MS, timeout),
        "buffer_limit": limits.frontend_buffer_mb << 20,
        "memory_limit": limits.worker_memory_mb << 20,
        "stores": tuple(_stores(document, facts, file)),
    }


def _stores(document: Document, facts: HostFacts, file: str) -> Iterator[settings.StoreSettings]:
    """Yield the stores of the key managers that are used."""
    for manager in document.all(tables.KeyManager):
        own = tuple(_entry(each).id for each in document.all(Provider) if each.key_info_manager == manager.name)
        on_disk = manager.manager_type == tables.ON_DISK
        path = manager.store_path if on_disk else manager.sqlite_db_path
        if own:
            shared = not on_disk and shares_its_folder(path, document, facts, file)
            yield settings.StoreSettings(path=path, shared=shared, on_disk=on_disk, providers=own)


def _log(core: tables.CoreSettings) -> settings.LogSettings:
    level = _LOG_LEVELS.get(core.log_level, core.log_level)
    return settings.LogSettings(level=level, details=core.log_error_details, timestamp=core.log_timestamp)


def _authenticator(table: tables.Authenticator) -> settings.AuthenticatorSettings:
    admins = tuple(admin.name for admin in table.inner(tables.Admin))
    return settings.AuthenticatorSettings(auth_type=AUTH_TYPES[table.auth_type], admins=admins)


def _configured(provider: Provider, served: Sequence[Provider]) -> settings.ConfiguredProvider:
    """Return what the status says of a provider that may have been left out."""
    kind = PROVIDER_TYPES[provider.provider_type]
    is_served = provider in served
    return settings.ConfiguredProvider(
        name=_entry(provider).name,
        type=provider.provider_type,
        id=kind.id,
        role=kind.role,
        absent="" if is_served else f"{_left_out(provider)}; start the TPM, then reload",
    )


def _left_out(provider: Provider) -> str:
    return f"the provider is left out, as there is no device {provider.tcti.path}"


def _started(provider: Provider, facts: HostFacts) -> settings.WorkerEntry:
    """Return what the broker starts for a provider."""
    role, name = PROVIDER_TYPES[provider.provider_type].role, _entry(provider).name
    return settings.WorkerEntry(role=role, name=name, groups=_groups(provider, facts))


def _worker(provider: Provider, values: Mapping[str, object], facts: HostFacts) -> tuple[Role, int, object]:
    """Return role, number and settings of a provider's worker; what its type has no field for is not used."""
    kind = PROVIDER_TYPES[provider.provider_type]
    own: dict[str, object] = {
        **values,
        **provider.values(),
        "worker": _fill(settings.WorkerSettings, {**values, "provider": _entry(provider)}),
        "kek_file": kind.kek.file(provider, facts),
        "kek_create": kind.kek.credential not in facts.credentials,
        "groups": _groups(provider, facts),
        "token": _token(provider),
        "state_folder": provider.find(Provider.state_folder) or posixpath.join(facts.state_folder, "pkcs11"),
        "environment": provider.module_environment,
        "readable": provider.module_readable,
        "writable": provider.module_writable,
        "needs": provider.module_needs,
    }
    for secret in kind.secrets:
        own |= {secret.field: secret.plain(provider, facts), f"{secret.field}_file": secret.file(provider, facts)}
        own[f"{secret.field}_change"] = secret.change(facts)
    return kind.role, 0, _fill(kind.settings, own)


def _groups(provider: Provider, facts: HostFacts) -> tuple[int, ...]:
    """Return the supplementary groups of a worker: `module_groups`, or the one that may use the machine's TPM."""
    groups = provider.module_groups
    if provider.provider_type == TPM and provider.tcti.kind in _TCTIS_OF_THE_GROUP:
        groups = (_TPM_GROUP,)
    return tuple(sorted({gid for group in groups if (gid := gid_of(group, facts)) is not None}))


def _entry(provider: Provider) -> settings.ProviderEntry:
    description = PROVIDERS[PROVIDER_TYPES[provider.provider_type].id]
    opcodes = description.opcodes | (description.more_opcodes if provider.list_all_opcodes else frozenset())
    name = name_of(provider) or description.name
    return settings.ProviderEntry(id=description.id, uuid=description.uuid, name=name, opcodes=tuple(sorted(opcodes)))


def _token(provider: Provider) -> settings.TokenMatch:
    match = uri_of(provider).match
    serial, label = provider.find(Provider.serial_number), provider.find(Provider.token_label)
    if match.serial is None and serial is not None:
        match = match._replace(serial=unpadded(serial))
    if match.label is None and label is not None:
        match = match._replace(label=unpadded(label))
    # Slot numbers change with what is plugged in, so one counts only if nothing else is known of the token.
    slot_number = provider.find(Provider.slot_number)
    return match._replace(slot_id=slot_number) if match == NO_MATCH else match
