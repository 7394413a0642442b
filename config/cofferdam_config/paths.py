"""The table of all paths of a configuration: what each is for, and what may lie beside it or within it."""

import posixpath
from collections.abc import Iterator
from typing import Final, NamedTuple

from cofferdam_config.host_facts import HostFacts
from cofferdam_config.places import BESIDE, Secret, status_path, type_of
from cofferdam_config.schema import Document
from cofferdam_config.source import Path
from cofferdam_config.tables import ON_DISK, PKCS11, SOFTWARE, Authenticator, KeyManager, Listener, Provider, Service
from cofferdam_config.tokens import AGENT, AUTHORITIES, agent_socket, files, with_tokens
from cofferdam_contracts.folders import holds, normal

DATABASE: Final = "a key store"


class Place(NamedTuple):
    """A path of the configuration."""

    where: Path
    """The setting, whether it is written or has its default."""
    named: str
    """As it is written."""
    path: str
    """Without links, as far as the machine is known."""
    what: str
    is_closed: bool = False
    """Whether it is a folder in which nothing else may be, as it belongs to one process."""
    follows: bool = False
    """Whether a process with privileges makes, or takes over, what is there."""

    def clash(self, other: "Place") -> tuple[str, str] | None:
        """Return how the path gets into the other's way, and what would be allowed; None if it does not."""
        if self.path == other.path:
            # Two secrets of a kind may be the same.
            same = self.what == other.what and self.what in _SECRETS
            return None if same else ("the path of", f"another one for {self.what}")
        if other.is_closed and holds(other.path, self.path):
            return "a path within", "one elsewhere"
        if self.is_closed and holds(self.path, other.path):
            return "a path that holds", "one that does not"
        return None


_SECRETS: Final = frozenset({"a PIN", "a password"})


def places(document: Document, facts: HostFacts, file: str) -> Iterator[Place]:
    """Return every path that a process uses, in the order in which they stand in messages; refused ones are missing."""
    if file.startswith("/"):
        yield _place(facts, (), file, "the configuration")
    listener, service = document.one(Listener), document.one(Service)
    for where, path, what in (
        (listener.at(Listener.socket_path), listener.find(Listener.socket_path), "the clients' socket"),
        (service.at(Service.status_path), status_path(document), "the status socket"),
    ):
        if path is not None:
            yield _place(facts, where, path, what)
    yield from _of_tokens(document, facts)
    used = {provider.find(Provider.key_info_manager) for provider in document.all(Provider)}
    # Of two with one name, or of one type, the second is refused for that.
    managers = {manager.find(KeyManager.name): manager for manager in reversed(document.all(KeyManager))}
    for name in reversed(managers):
        if name in used:
            yield from _of_manager(managers[name], facts)
    providers = {provider.find(Provider.provider_type): provider for provider in reversed(document.all(Provider))}
    for provider in reversed(providers.values()):
        yield from _of_provider(provider, facts)


def shares_its_folder(database: str, document: Document, facts: HostFacts, file: str) -> bool:
    """Tell whether other files of the service are in the folder of a database, or will be."""
    own = _real(database, facts)
    folder, files = posixpath.dirname(own), {own, *(own + suffix for suffix in BESIDE)}
    return any(holds(folder, place.path) and place.path not in files for place in places(document, facts, file))


def secret_files(provider: Provider, facts: HostFacts) -> Iterator[tuple[Path, str, Secret]]:
    """Return the files of secrets that no credential replaces, and where they are named."""
    kind = type_of(provider)
    for secret in kind.secrets if kind else ():
        path = secret.file(provider, facts)
        if path is not None and secret.credential not in facts.credentials:
            *_, setting = (given for given in secret.given(provider) if given is not secret.settings[0])
            yield provider.at(setting), path, secret


def _of_tokens(document: Document, facts: HostFacts) -> Iterator[Place]:
    # Of two of one type, the second is refused for that.
    tables = {table.find(Authenticator.auth_type): table for table in reversed(with_tokens(document))}
    for table in reversed(tables.values()):
        socket, authorities = agent_socket(table), table.find(Authenticator.ca_file)
        if socket is not None:
            yield _place(facts, table.at(Authenticator.workload_endpoint), socket, AGENT)
        if authorities is not None:
            yield _place(facts, table.at(Authenticator.ca_file), authorities, AUTHORITIES)
    for where, path, what in files(document, facts):
        yield _place(facts, where, path, what)


def _of_manager(manager: KeyManager, facts: HostFacts) -> Iterator[Place]:
    folder, database = manager.find(KeyManager.store_path), manager.find(KeyManager.sqlite_db_path)
    if manager.find(KeyManager.manager_type) == ON_DISK:
        if folder is not None:
            where = manager.at(KeyManager.store_path)
            yield _place(facts, where, folder, "the folder of a key store", is_closed=True, follows=True)
    elif database is not None:
        where = manager.at(KeyManager.sqlite_db_path)
        yield _place(facts, where, database, DATABASE, follows=True)
        for suffix in BESIDE:
            yield _place(facts, where, database + suffix, DATABASE)


def _of_provider(provider: Provider, facts: HostFacts) -> Iterator[Place]:
    kind = type_of(provider)
    if kind is None:
        return
    if kind.kek.credential not in facts.credentials:
        where = provider.at(Provider.key_encryption_key_file)
        yield _place(facts, where, kind.kek.file(provider, facts), "a key-encryption key")
    tag = provider.find(Provider.provider_type)
    library, its = provider.find(Provider.library_path), provider.find(Provider.mbed_its_path)
    if tag == PKCS11:
        if library is not None:
            yield _place(facts, provider.at(Provider.library_path), library, "a PKCS#11 module")
        folder = provider.find(Provider.state_folder) or posixpath.join(facts.state_folder, "pkcs11")
        where = provider.at(Provider.state_folder)
        yield _place(facts, where, folder, "the folder of a worker", is_closed=True, follows=True)
    if tag == SOFTWARE and its is not None:
        yield _place(facts, provider.at(Provider.mbed_its_path), its, "the folder of Parsec's keys", follows=True)
    for where, path, secret in secret_files(provider, facts):
        yield _place(facts, where, path, f"a {secret.what}")


def _place(  # noqa: PLR0913  the fields of a place
    facts: HostFacts, where: Path, path: str, what: str, *, is_closed: bool = False, follows: bool = False
) -> Place:
    return Place(where, path, _real(path, facts), what, is_closed, follows)


def _real(path: str, facts: HostFacts) -> str:
    """Return a path without links, by what is known of it or else of the folders above it."""
    found = facts.files.get(path)
    if found is not None:
        return found.real or normal(path)
    folder, name = posixpath.split(normal(path))
    return posixpath.join(_real(folder, facts), name) if name else "/"
