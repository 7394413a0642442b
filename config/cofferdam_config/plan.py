"""From a configuration document to the settings of every process. No I/O: everything comes in as arguments.

`read` parses, checks each key against the tables, then what keys say together, and reports all errors at once. Only a
document without any becomes a `Plan`.
"""

from dataclasses import dataclass
from typing import Final

from cofferdam_config.backends import BACKENDS
from cofferdam_config.check import Document, Section, check_document
from cofferdam_config.errors import Report
from cofferdam_config.kinds import INT32_MAX
from cofferdam_config.provider_table import PROVIDER
from cofferdam_config.reach import status_path
from cofferdam_config.rules import RULES, authenticators, provider_name
from cofferdam_config.source import parse
from cofferdam_config.surroundings import Surroundings
from cofferdam_config.tables import (
    CORE_SETTINGS,
    ISOLATION,
    KEY_MANAGER,
    KIM,
    LEAST_REQUEST_TIMEOUT_MS,
    LIMITS,
    LISTENER,
    TABLES,
)
from cofferdam_config.tpm import without_absent
from cofferdam_contracts.ipc.control import Level, Role
from cofferdam_contracts.registry import PROVIDERS, AuthType
from cofferdam_contracts.settings import (
    AuthenticatorSettings,
    BrokerSettings,
    FrontendSettings,
    KimSettings,
    LogSettings,
    ProviderEntry,
    WorkerEntry,
    WorkerSettings,
)

_MAX_BODY: Final = (1 << 32) - 1
"""The length of a body is a 32-bit field on the wire."""
_AUTH_TYPES: Final = {"Direct": AuthType.DIRECT, "UnixPeerCredentials": AuthType.UNIX_PEER_CREDENTIALS}
_LEVELS: Final = {level.name.lower(): level for level in Level}
_LOG_LEVELS: Final = {"warn": "warning", "trace": "debug"}
"""Parsec's words for levels that are called something else here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a configuration comes to."""

    broker: BrokerSettings
    documents: tuple[tuple[Role, int, object], ...]
    """Settings of the other processes: role, number within the role, value for `settings.dump`."""
    warnings: tuple[str, ...]
    """What an operator should know, one line of text each."""


def read(document: bytes, *, path: str, surroundings: Surroundings) -> Plan:
    """Turn a configuration document into settings.

    Args:
        document: The content of the file.
        path: What the file is called in messages.
        surroundings: What else the settings depend on.

    Raises:
        ConfigError: The document cannot be used. It has all reasons, or the first one if the document is no TOML.
    """
    tree, lines = parse(document, path)
    report = Report(file=path, lines=lines)
    checked = check_document(tree, TABLES, report)
    for rule in RULES:
        rule(checked, report, surroundings)
    report.raise_problems()
    checked = without_absent(checked, report, surroundings)
    report.raise_problems()
    return Plan(
        broker=_broker(checked, surroundings),
        documents=(
            (Role.KIM, 0, _kim(checked)),
            (Role.FRONTEND, 0, _frontend(checked)),
            *_workers(checked, surroundings),
        ),
        warnings=report.warnings(),
    )


def _broker(document: Document, surroundings: Surroundings) -> BrokerSettings:
    limits, isolation = document.one(LIMITS), document.one(ISOLATION)
    return BrokerSettings(
        log=_log(document),
        socket_path=document.one(LISTENER).text("socket_path"),
        status_path=status_path(document) or "",
        uid_base=isolation.number("uid_base"),
        require=_LEVELS[isolation.text("require")],
        workers=tuple(
            WorkerEntry(
                index=index,
                role=backend.role,
                name=entry.name,
                groups=backend.groups(section, surroundings),
            )
            for index, (section, entry) in enumerate(zip(document.all(PROVIDER), _providers(document), strict=True))
            for backend in (BACKENDS[section.text("provider_type")],)
        ),
        subuids=surroundings.subuids,
        max_frontends=limits.number("max_frontends"),
        max_connections=limits.number("max_connections"),
        idle_ms=limits.number("frontend_idle_ms"),
        hang_ms=limits.number("hang_ms"),
        start_ms=limits.number("start_ms"),
        generate_ms=limits.number("generate_ms"),
        drain_ms=limits.number("drain_ms"),
    )


def _frontend(document: Document) -> FrontendSettings:
    core, limits = document.one(CORE_SETTINGS), document.one(LIMITS)
    read_timeout_ms = min(document.one(LISTENER).number("timeout"), INT32_MAX)
    return FrontendSettings(
        log=_log(document),
        providers=_providers(document),
        authenticators=_authenticators(document),
        body_len_limit=min(core.number("body_len_limit"), _MAX_BODY),
        read_timeout_ms=read_timeout_ms,
        request_timeout_ms=limits.find("request_timeout_ms", int) or max(LEAST_REQUEST_TIMEOUT_MS, read_timeout_ms),
        answer_timeout_ms=limits.number("answer_timeout_ms"),
        idle_connection_ms=limits.number("idle_connection_ms"),
        max_connections=limits.number("max_connections"),
        max_in_flight=limits.number("max_in_flight"),
        buffer_limit=limits.number("frontend_buffer_mb") << 20,
        buffer_size_limit=min(core.number("buffer_size_limit"), _MAX_BODY),
    )


def _kim(document: Document) -> KimSettings:
    name = document.all(PROVIDER)[0].text("key_info_manager")
    manager = next(section for section in document.all(KEY_MANAGER) if section.text("name") == name)
    return KimSettings(
        log=_log(document),
        path=manager.text("sqlite_db_path"),
        providers=_providers(document),
        authenticators=_authenticators(document),
        max_keys=document.one(LIMITS).number("max_keys"),
    )


def _workers(document: Document, surroundings: Surroundings) -> tuple[tuple[Role, int, object], ...]:
    core = document.one(CORE_SETTINGS)
    documents: list[tuple[Role, int, object]] = []
    for index, (section, entry) in enumerate(zip(document.all(PROVIDER), _providers(document), strict=True)):
        backend = BACKENDS[section.text("provider_type")]
        worker = WorkerSettings(
            log=_log(document),
            index=index,
            provider=entry,
            authenticators=_authenticators(document),
            buffer_size_limit=min(core.number("buffer_size_limit"), _MAX_BODY),
            body_len_limit=min(core.number("body_len_limit"), _MAX_BODY),
            allow_deprecated=core.flag("allow_deprecated"),
            key_cache=document.one(LIMITS).number("key_cache"),
            memory_limit=document.one(LIMITS).number("worker_memory_mb") << 20,
            adopt_rows=document.one(KIM).flag("adopt_rows"),
        )
        documents.append((backend.role, index, backend.settings(section, worker, surroundings, document)))
    return tuple(documents)


def _log(document: Document) -> LogSettings:
    core = document.one(CORE_SETTINGS)
    level = core.text("log_level").lower()
    return LogSettings(
        level=_LOG_LEVELS.get(level, level),
        details=core.flag("log_error_details"),
        timestamp=core.flag("log_timestamp"),
    )


def _authenticators(document: Document) -> tuple[AuthenticatorSettings, ...]:
    return tuple(
        AuthenticatorSettings(
            auth_type=_AUTH_TYPES[section.text("auth_type")],
            admins=tuple(admin.text("name") for admin in section.arrays["admins"]),
        )
        for section in authenticators(document)
    )


def _providers(document: Document) -> tuple[ProviderEntry, ...]:
    return tuple(_provider(section) for section in document.all(PROVIDER))


def _provider(section: Section) -> ProviderEntry:
    backend = BACKENDS[section.text("provider_type")]
    description = PROVIDERS[backend.id]
    opcodes = description.opcodes | (description.more_opcodes if section.flag("list_all_opcodes") else frozenset())
    return ProviderEntry(
        id=description.id,
        uuid=description.uuid,
        name=provider_name(section) or description.name,
        opcodes=tuple(sorted(opcodes)),
    )
