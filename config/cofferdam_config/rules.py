"""What keys have to say together. Each rule looks only at values that were accepted one by one."""

from collections.abc import Callable
from typing import Final

from cofferdam_config.backends import BACKENDS
from cofferdam_config.check import Document, Section
from cofferdam_config.errors import Report, quote
from cofferdam_config.keks import credential_goes_first, keks_differ
from cofferdam_config.kinds import MAX_SOCKET_PATH
from cofferdam_config.pkcs11 import groups_exist, pin_has_one_source, token_is_named_once
from cofferdam_config.provider_table import PROVIDER
from cofferdam_config.reach import modules_stay_away, status_path
from cofferdam_config.surroundings import Surroundings
from cofferdam_config.tables import (
    ADDITIONAL_AUTHENTICATOR,
    AUTHENTICATOR,
    ISOLATION,
    KEY_MANAGER,
    LISTENER,
    SERVICE,
    STATUS_SOCKET,
)
from cofferdam_config.tpm import parents_can_be_given_back, passwords_have_one_source, way_to_the_tpm_is_sound
from cofferdam_contracts.registry import PROVIDERS


def authenticators(document: Document) -> tuple[Section, ...]:
    """Return the authenticators in order, that of Parsec first."""
    return (document.one(AUTHENTICATOR), *document.all(ADDITIONAL_AUTHENTICATOR))


def provider_name(section: Section) -> str | None:
    """Return what a provider is called: its name, or else that of its type."""
    backend = BACKENDS.get(section.find("provider_type", str) or "")
    return section.find("name", str) or (PROVIDERS[backend.id].name if backend else None)


def _authenticators_differ(document: Document, report: Report, _: Surroundings) -> None:
    seen: set[str] = set()
    for section in authenticators(document):
        auth_type = section.find("auth_type", str)
        if auth_type in seen:
            report.refuse((*section.path, "auth_type"), quote(auth_type), "each authenticator once")
        elif auth_type is not None:
            seen.add(auth_type)
        if auth_type == "Direct":
            report.warn((*section.path, "auth_type"), "clients choose their own names, so each can act as any other")


def _admins_can_be(document: Document, report: Report, _: Surroundings) -> None:
    for section in authenticators(document):
        if section.find("auth_type", str) != "UnixPeerCredentials":
            continue
        for admin in section.arrays["admins"]:
            name = admin.find("name", str)
            if name is not None and not (name.isascii() and name.isdigit() and str(int(name)) == name):
                report.warn((*admin.path, "name"), f"{quote(name)} is no uid in decimal, so it is nobody's name")


def _key_managers_differ(document: Document, report: Report, _: Surroundings) -> None:
    _refuse_repeated(document.all(KEY_MANAGER), "name", lambda section: section.find("name", str), report)


def _key_managers_are_used(document: Document, report: Report, _: Surroundings) -> None:
    used = {section.find("key_info_manager", str) for section in document.all(PROVIDER)}
    if None in used:
        return
    for section in document.all(KEY_MANAGER):
        name = section.find("name", str)
        if name is not None and name not in used:
            report.warn((*section.path, "name"), "no provider uses this key manager, so it is not opened")


def _providers_have_a_key_manager(document: Document, report: Report, _: Surroundings) -> None:
    known = [section.find("name", str) for section in document.all(KEY_MANAGER)]
    names = [name for name in known if name is not None]
    if len(names) < len(known):
        return
    first: str | None = None
    for section in document.all(PROVIDER):
        name = section.find("key_info_manager", str)
        path = (*section.path, "key_info_manager")
        if name is None:
            continue
        if name not in names:
            report.refuse(path, quote(name), " or ".join(map(quote, names)) or "the name of a [[key_manager]]")
        elif first is None:
            first = name
        elif name != first:
            report.refuse(path, quote(name), f"{quote(first)}, as all providers share one key manager")


def _providers_differ(document: Document, report: Report, _: Surroundings) -> None:
    providers = document.all(PROVIDER)
    seen: set[str] = set()
    for section in providers:
        kind = section.find("provider_type", str)
        if kind in seen:
            report.refuse(
                (*section.path, "provider_type"),
                quote(kind),
                "one provider of each type (of several, Parsec serves only the last)",
            )
        elif kind is not None:
            seen.add(kind)
    _refuse_repeated(providers, "name", provider_name, report)


def _sockets_differ(document: Document, report: Report, _: Surroundings) -> None:
    place = status_path(document)
    path = (SERVICE.name, "status_path")
    if place is None:
        return
    if len(place.encode()) > MAX_SOCKET_PATH:
        report.refuse(
            (LISTENER.name, "socket_path"),
            f"a folder in which the path of {STATUS_SOCKET} has more than {MAX_SOCKET_PATH} bytes",
            "a shorter one, or any with service.status_path set",
        )
    elif place == document.one(LISTENER).find("socket_path", str):
        report.refuse(path, quote(place), "another path than listener.socket_path")


def _level_can_be_reached(document: Document, report: Report, surroundings: Surroundings) -> None:
    if document.one(ISOLATION).find("require", str) == "uid" and not surroundings.is_root:
        report.refuse(
            (ISOLATION.name, "require"),
            '"uid"',
            '"landlock", "seccomp", "none" (only a service started as root can give its processes uids)',
        )


def _refuse_repeated(
    sections: tuple[Section, ...], key: str, value_of: Callable[[Section], str | None], report: Report
) -> None:
    seen: set[str] = set()
    for section in sections:
        value = value_of(section)
        if value is None:
            continue
        if value in seen:
            report.refuse((*section.path, key), quote(value), "each name once")
        seen.add(value)


RULES: Final[tuple[Callable[[Document, Report, Surroundings], None], ...]] = (
    _authenticators_differ,
    _admins_can_be,
    _key_managers_differ,
    _key_managers_are_used,
    _providers_have_a_key_manager,
    _providers_differ,
    _sockets_differ,
    _level_can_be_reached,
    credential_goes_first,
    keks_differ,
    token_is_named_once,
    pin_has_one_source,
    groups_exist,
    passwords_have_one_source,
    parents_can_be_given_back,
    way_to_the_tpm_is_sound,
    modules_stay_away,
)
