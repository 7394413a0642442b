"""Where the service's secrets and files are, and how each type of provider differs in that."""

import posixpath
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from cofferdam_config.host_facts import MAPPINGS_DATABASE, HostFacts
from cofferdam_config.schema import Document, Setting
from cofferdam_config.tables import (
    ON_DISK,
    PKCS11,
    SOFTWARE,
    STATUS_SOCKET,
    TPM,
    KeyManager,
    Listener,
    Provider,
    Service,
)
from cofferdam_config.token_uri import NO_MATCH, TokenUri
from cofferdam_contracts.folders import normal
from cofferdam_contracts.registry import PROVIDERS, ProviderId
from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import Pkcs11Settings, SoftwareSettings, TpmSettings

BESIDE: Final = ("-wal", "-journal", "-shm")
"""Suffixes of SQLite's files beside a database."""


class KekSource(NamedTuple):
    """Where the key-encryption key of a type of provider can be."""

    credential: str
    """The systemd credential, which takes precedence over every file."""
    default_file: str
    """The file in the state folder."""

    def file(self, provider: Provider, facts: HostFacts) -> str:
        """Return the file of a provider's key."""
        return (
            facts.credentials.get(self.credential)
            or provider.find(Provider.key_encryption_key_file)
            or posixpath.join(facts.state_folder, self.default_file)
        )


class Secret(NamedTuple):
    """A secret that a device asks for, such as a PIN, and where it can be."""

    what: str
    """The word for it."""
    field: str
    """The field that has it in the settings of the worker; the one with a file of it is this and `_file`."""
    credential: str
    """The systemd credential, which takes precedence over both settings."""
    settings: tuple[Setting[str], Setting[str]]
    """The setting that has it itself, and the one that names a file with it."""

    def given(self, provider: Provider) -> dict[Setting[Any], object]:
        """Return the settings that say what or where it is; a PIN's place can also be in `token_uri`."""
        values: dict[Setting[Any], object] = {setting: provider.find(setting) for setting in self.settings}
        if self is PIN:
            values[Provider.token_uri] = uri_of(provider).pin_file
        return {setting: value for setting, value in values.items() if value is not None}

    def plain(self, provider: Provider, facts: HostFacts) -> str | None:
        """Return its bytes in hexadecimal if they are taken from the configuration itself."""
        return None if self.credential in facts.credentials else provider.find(self.settings[0])

    def change(self, facts: HostFacts) -> str:
        """Return what makes another one known: systemd copies credentials when it starts the service, and only then."""
        return "restart" if self.credential in facts.credentials else "reload"

    def file(self, provider: Provider, facts: HostFacts) -> str | None:
        """Return the file that it is in."""
        named = uri_of(provider).pin_file if self is PIN else None
        return facts.credentials.get(self.credential) or provider.find(self.settings[1]) or named


class ProviderType(NamedTuple):
    """How one type of provider is served."""

    id: ProviderId
    role: Role
    settings: Callable[..., object]
    """What its worker is told, by the names of fields."""
    kek: KekSource
    secrets: tuple[Secret, ...] = ()


PIN: Final = Secret("PIN", "pin", "cofferdam.pkcs11.pin", (Provider.user_pin, Provider.user_pin_file))
OWNER: Final = Secret(
    "password",
    "owner_auth",
    "cofferdam.tpm.owner-auth",
    (Provider.owner_hierarchy_auth, Provider.owner_hierarchy_auth_file),
)
ENDORSEMENT: Final = Secret(
    "password",
    "endorsement_auth",
    "cofferdam.tpm.endorsement-auth",
    (Provider.endorsement_hierarchy_auth, Provider.endorsement_hierarchy_auth_file),
)
PROVIDER_TYPES: Final[Mapping[str, ProviderType]] = {
    SOFTWARE: ProviderType(
        id=ProviderId.MBED_CRYPTO,
        role=Role.SOFTWARE_WORKER,
        settings=SoftwareSettings,
        kek=KekSource("cofferdam.software.kek", "cofferdam/software.kek"),
    ),
    PKCS11: ProviderType(
        id=ProviderId.PKCS11,
        role=Role.PKCS11_WORKER,
        settings=Pkcs11Settings,
        kek=KekSource("cofferdam.pkcs11.kek", "cofferdam/pkcs11.kek"),
        secrets=(PIN,),
    ),
    TPM: ProviderType(
        id=ProviderId.TPM,
        role=Role.TPM_WORKER,
        settings=TpmSettings,
        kek=KekSource("cofferdam.tpm.kek", "cofferdam/tpm.kek"),
        secrets=(OWNER, ENDORSEMENT),
    ),
}
"""By `provider_type`."""


class OwnPath(NamedTuple):
    """A file or folder of the service."""

    what: str
    path: str
    within: bool = False
    """Whether nothing below it may be given away either."""


def type_of(provider: Provider) -> ProviderType | None:
    """Return the type of a provider, unless that was refused."""
    return PROVIDER_TYPES.get(provider.find(Provider.provider_type) or "")


def name_of(provider: Provider) -> str | None:
    """Return the name of a provider: its own, or else that of its type."""
    kind = type_of(provider)
    return provider.find(Provider.name) or (PROVIDERS[kind.id].name if kind else None)


def uri_of(provider: Provider) -> TokenUri:
    """Return the URI of a provider's token; one that says nothing if there is none."""
    return provider.find(Provider.token_uri) or TokenUri(match=NO_MATCH)


def key_managers(document: Document) -> tuple[KeyManager, ...]:
    """Return the key managers that are used; a rule has refused a document without one."""
    names = {provider.key_info_manager for provider in document.all(Provider)}
    return tuple(one for one in document.all(KeyManager) if one.name in names)


def database_of(manager: KeyManager) -> tuple[Setting[str], str] | None:
    """Return the setting that says where the database of a key manager is, and its path, unless that was refused."""
    on_disk = manager.find(KeyManager.manager_type) == ON_DISK
    setting = KeyManager.store_path if on_disk else KeyManager.sqlite_db_path
    path = manager.find(setting)
    return None if path is None else (setting, f"{path.rstrip('/')}/{MAPPINGS_DATABASE}" if on_disk else path)


def status_path(document: Document) -> str | None:
    """Return the path of the status socket: beside that for clients, unless it is set."""
    socket_path = document.one(Listener).find(Listener.socket_path)
    beside = f"{socket_path.rpartition('/')[0]}/{STATUS_SOCKET}" if socket_path else None
    return document.one(Service).find(Service.status_path) or beside


def own_paths(document: Document, facts: HostFacts, is_shared: Callable[[str], bool]) -> Iterator[OwnPath]:
    """Return the files and folders of the service that a module must not reach.

    `is_shared` tells whether other files of the service are in the folder of a database.
    """
    for manager in document.all(KeyManager):
        database, folder = manager.find(KeyManager.sqlite_db_path), manager.find(KeyManager.store_path)
        if manager.find(KeyManager.manager_type) == ON_DISK and folder is not None:
            yield OwnPath("the folder of the key store", normal(folder), within=True)
        elif database is not None and is_shared(database):
            yield from (OwnPath("the key store", normal(database) + suffix) for suffix in ("", *BESIDE))
        elif database is not None:
            yield OwnPath("the folder of the key store", posixpath.dirname(normal(database)), within=True)
    served = [(provider, kind) for provider in document.all(Provider) if (kind := type_of(provider))]
    for provider, kind in served:
        yield OwnPath("the key-encryption key", normal(kind.kek.file(provider, facts)))
    for secret in (PIN, OWNER, ENDORSEMENT):
        for provider in (provider for provider, kind in served if secret in kind.secrets):
            file = secret.file(provider, facts)
            if file is not None:
                yield OwnPath(f"a {secret.what}", normal(file))
    # Anybody may own other files beside the sockets, but whoever can write to their folder could replace the sockets.
    for socket in (document.one(Listener).find(Listener.socket_path), status_path(document)):
        if socket is not None:
            yield OwnPath("the folder of a socket", posixpath.dirname(normal(socket)))
            yield OwnPath("a socket", normal(socket))
