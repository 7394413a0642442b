"""The stores of a configuration: one for each key manager that a provider uses.

Each provider's keys are in one store, that of its manager, so names are unique within a store, as in the reference. A
provider that has keys in another store is refused, as it would miss them, or go on with an old state of them: somebody
gave it another manager without `cofferdam store convert`, or before that was done. Nothing of it is changed then. A
store also remembers which providers' keys are elsewhere, so that these are missed when that manager is not configured
any more.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from cofferdam_contracts.identity import Application
from cofferdam_contracts.ipc.keystore import MISPLACED
from cofferdam_contracts.registry import AuthType
from cofferdam_contracts.settings import ProviderEntry
from cofferdam_contracts.status import ServiceError
from cofferdam_kim.catalogue import Catalogue
from cofferdam_kim.move import TYPES
from cofferdam_kim.presence import Loss
from cofferdam_kim.store import MappingStore


class Misplaced(NamedTuple):
    """A provider that is refused, as it has keys where they are not served from."""

    provider: str
    found: str
    expected: str
    remedy: str

    def __str__(self) -> str:
        """Return it for the log."""
        return f"found {self.found}, expected {self.expected}; {self.remedy}"


class Stores:
    """The open stores; methods may raise `ServiceError`."""

    def __init__(
        self,
        stores: Sequence[MappingStore],
        providers: Sequence[ProviderEntry],
        authenticator: int = AuthType.UNIX_PEER_CREDENTIALS,
    ) -> None:
        """Serve these stores, of which each has its own providers.

        Args:
            stores: The open stores.
            providers: Those of all stores, in the order of the configuration.
            authenticator: The one whose clients mapping files belong to.

        Raises:
            StoreError: A database cannot be read.
        """
        self._authenticator = authenticator
        self._stores = tuple(stores)
        self._homes = {uuid: store for store in stores for uuid in store.source.served}
        self.catalogue = Catalogue([store.source for store in stores], providers)
        for store in stores:
            store.join(self.catalogue, (other for other in stores if other is not store))
        self._misplaced = dict(self._find_misplaced(providers))

    @property
    def misplaced(self) -> tuple[Misplaced, ...]:
        """The providers that are refused."""
        return tuple(self._misplaced.values())

    def of(self, provider: ProviderEntry) -> MappingStore:
        """Return the store of a provider's keys; `MISPLACED` if it has keys in another one."""
        if (misplaced := self._misplaced.get(provider.uuid)) is not None:
            raise ServiceError(MISPLACED, f"keys of {provider.name}: {misplaced}")
        return self._homes[provider.uuid]

    def warnings(self) -> Iterator[tuple[str, str]]:
        """Yield the lines for the operator, each with the place of its store."""
        for store in self._stores:
            for line in store.report.warnings():
                yield line, store.whereabouts.place

    @property
    def paths(self) -> str:
        """The databases, for the status."""
        return ", ".join(store.path for store in self._stores)

    def damaged(self) -> str:
        """Return what is damaged, empty if nothing is."""
        return next((text for store in self._stores if (text := store.report.damaged())), "")

    def loss(self) -> Loss | None:
        """Return which file of a database is not in its place any more, None if all are."""
        return next((loss for store in self._stores if (loss := store.loss()) is not None), None)

    def flush(self) -> None:
        """Write everything into the databases themselves, as far as that is possible."""
        for store in self._stores:
            store.flush()

    def close(self) -> None:
        """Close all."""
        for store in self._stores:
            store.close()

    def names(self, authenticator: int) -> list[object]:
        """Return the application names that have rows under an authenticator."""
        return [name for store in self._stores for name in store.names(authenticator)]

    def has_keys(self, application: Application) -> bool:
        """Tell whether an application has rows."""
        return any(store.has_keys(application) for store in self._stores)

    def count_keys(self) -> dict[object, int]:
        """Return how many keys each provider has in its store, by its UUID."""
        counts = {store: store.count_keys() for store in self._stores}
        return {uuid: counts[store].get(uuid, 0) for uuid, store in self._homes.items()}

    def _find_misplaced(self, providers: Sequence[ProviderEntry]) -> Iterator[tuple[str, Misplaced]]:
        """Yield the providers that have keys elsewhere than in their store; their rows are listed all the same."""
        held = {store: store.whereabouts.held() for store in self._stores}
        open_now = {store.whereabouts.place for store in self._stores}
        for provider in providers:
            home = self._homes[provider.uuid]
            others = [store for store in self._stores if store is not home and held[store].get(provider.uuid)]
            if others:
                for store in others:
                    store.source.listed |= {provider.uuid}
                yield provider.uuid, self._left(provider, home, others, held)
                continue
            last = home.whereabouts.noted(provider)
            if last is not None and last not in open_now:
                yield provider.uuid, self._missed(provider, home, last)
                continue
            for store in self._stores:
                store.whereabouts.note(provider, None if store is home else home.whereabouts.place)

    def _left(
        self,
        provider: ProviderEntry,
        home: MappingStore,
        others: Sequence[MappingStore],
        held: Mapping[MappingStore, Mapping[object, int]],
    ) -> Misplaced:
        here, place = held[home].get(provider.uuid, 0), home.whereabouts.place
        found = " and ".join(f"{held[store][provider.uuid]} keys in {store.whereabouts.place}" for store in others)
        if here:
            remedy = "find out which are current, stop the service, and remove the others: see Several key managers"
            return Misplaced(provider.name, f"{found} and {here} in {place}", "keys in one place", remedy)
        command = self._command(provider, others[0].whereabouts.place, home)
        remedy = f"stop the service and run: {command}; or name the manager of before in its key_info_manager"
        return Misplaced(provider.name, found, f"its keys in {place}", remedy)

    def _missed(self, provider: ProviderEntry, home: MappingStore, last: str) -> Misplaced:
        found = f"a note that its keys are in {last}"
        remedy = f"stop the service and run: {self._command(provider, last, home)}; or configure that manager again"
        return Misplaced(provider.name, found, f"its keys in {home.whereabouts.place}", remedy)

    def _command(self, provider: ProviderEntry, place: str, home: MappingStore) -> str:
        """Return what moves a provider's keys to its store."""
        kind = next((kind for kind, number in TYPES.items() if number == provider.id), provider.name)
        direct = ["--authenticator", "Direct"] if self._authenticator == AuthType.DIRECT else []
        direction = "to-files" if home.whereabouts.is_folder else "to-database"
        words = ("cofferdam", "store", "convert", *direct, "--provider", kind, direction, place)
        return shlex.join([*words, home.whereabouts.place])
