"""Transient objects, keys and their parents: as many are loaded at a time as the TPM has slots for.

An object is in one of these states:

- *not loaded*: `load` creates it in a slot from what the key store has, which for a child needs its parent loaded and
  the parent's authorisation.
- *loaded*: it has a handle, and stays loaded after use. `Slots` keeps the loaded objects in the order of their last
  use.
- *saved*: when another object needs its slot, the least recently used object gives way. Its context is saved, once, and
  the object flushed. To restore a context costs a TPM less than to load a key, and needs neither parent nor
  authorisation. A context that the TPM rejects is discarded; the object is *not loaded*.
- *dropped*: the cache of keys let go of it. It is flushed, and its context discarded.

A reset of the TPM empties all slots and invalidates all contexts: `forget` makes every object *not loaded* by counting
up `life`, without touching them. `TpmDevice` calls it and has the work done again.

How many slots there are is known from the TPM, but other programs may hold some: when the TPM says that it has no room,
the capacity shrinks to what is loaded then, until the next reset. The objects of one command (`wanted`, and a parent
while its child is loaded) never give way to each other. Handles are the TPM's own, or a resource manager's.

Source: TCG part 1, 30 (contexts), part 3, 28.
"""

from collections import OrderedDict
from collections.abc import Callable

from cofferdam_providers.tpm.codes import Command
from cofferdam_providers.tpm.connection import Named, TpmConnection
from cofferdam_providers.tpm.errors import NO_ROOM, TpmError
from cofferdam_providers.tpm.marshal import U32


class TpmObject:
    """A key or parent, loaded or not."""

    def __init__(self, name: bytes, auth: bytes, parent: "TpmObject | None" = None) -> None:
        """Describe an object that is not loaded.

        Args:
            name: Its Name, empty until it is known.
            auth: The authorisation value for its use.
            parent: The object that has to be loaded first.
        """
        self.name = name
        self.auth = auth
        self.parent = parent
        self.proved = False
        """Whether the TPM has accepted the authorisation value."""
        self.handle = 0
        self.context: bytes | None = None
        """Its saved context, if it has one."""
        self.life = 0
        """The life of the TPM that the context belongs to."""

    def load(self) -> int:
        """Load it and return its handle; a slot is free, and its parent is loaded.

        Raises:
            TpmError: The TPM refuses.
        """
        raise NotImplementedError


class Slots:
    """The slots of a TPM, and what they hold."""

    def __init__(self, connection: TpmConnection, capacity: int) -> None:
        """Use at most `capacity` slots."""
        self._connection = connection
        self._most = self._capacity = capacity
        self._loaded: OrderedDict[TpmObject, None] = OrderedDict()
        self._life = 1

    @property
    def capacity(self) -> int:
        """How many objects can be loaded at a time, as far as is known."""
        return self._capacity

    def forget(self) -> None:
        """Take note that nothing is loaded and no saved context valid any more."""
        self._loaded.clear()
        self._capacity = self._most
        self._life += 1

    def handles(self) -> list[int]:
        """Return the handles of the loaded objects."""
        return [one.handle for one in self._loaded]

    def ensure_loaded(self, *wanted: TpmObject, free: int = 0) -> list[Named]:
        """Load these objects where necessary, and have `free` more slots free; return their handles.

        Raises:
            TpmError: One of them cannot be loaded.
        """
        for one in wanted:
            self._ensure(one, wanted)
        self.make_room(free, wanted)
        return [Named(one.handle, one.name) for one in wanted]

    def make_room(self, free: int, keep: tuple[TpmObject, ...] = ()) -> None:
        """Have `free` slots free, without evicting the objects in `keep`."""
        while len(self._loaded) + free > self._capacity and self._evict(keep):
            pass

    def with_room(self, load: Callable[[], int], keep: tuple[TpmObject, ...] = ()) -> int:
        """Load something into a slot, evicting other objects for as long as the TPM says that it has no room.

        Raises:
            TpmError: It cannot be loaded, or other programs hold the slots.
        """
        self.make_room(1, keep)
        while True:
            try:
                return load()
            except TpmError as error:
                if error.code not in NO_ROOM or not self._evict(keep):
                    raise
                # Another program has slots as well, or there were fewer than the TPM promised.
                self._capacity = max(1, len(self._loaded) + 1)

    def drop(self, one: TpmObject) -> None:
        """Flush an object for good."""
        if self._is_loaded(one):
            self._flush(one)
        one.context = None

    def _is_loaded(self, one: TpmObject) -> bool:
        return one in self._loaded

    def _ensure(self, one: TpmObject, keep: tuple[TpmObject, ...]) -> None:
        if self._is_loaded(one):
            self._loaded.move_to_end(one)
        else:
            self._load(one, keep)

    def _load(self, one: TpmObject, keep: tuple[TpmObject, ...]) -> None:
        if one.context is not None and one.life == self._life:
            context = one.context
            try:
                one.handle = self.with_room(lambda: self._restore(context), keep)
            except TpmError as error:
                if error.code in NO_ROOM:
                    raise
                # It is stale, for whatever reason; after a reset the TPM will reject other things as well.
                one.context = None
            else:
                self._loaded[one] = None
                return
        if one.parent is not None:
            keep = (*keep, one.parent)
            self._ensure(one.parent, keep)
        one.context = None
        one.handle = self.with_room(one.load, keep)
        one.life = self._life
        self._loaded[one] = None

    def _restore(self, context: bytes) -> int:
        return self._connection.execute(Command.CONTEXT_LOAD, parameters=context).handle

    def _evict(self, keep: tuple[TpmObject, ...]) -> bool:
        """Evict the least recently used object; return whether there was one."""
        for one in self._loaded:
            if one not in keep:
                break
        else:
            return False
        if one.context is None:
            one.context = self._connection.execute(
                Command.CONTEXT_SAVE, [Named(one.handle, one.name)]
            ).parameters.rest()
        self._flush(one)
        return True

    def _flush(self, one: TpmObject) -> None:
        # Remove it from the table first: should the command fail, the TPM has forgotten everything.
        del self._loaded[one]
        handle, one.handle = one.handle, 0
        self._connection.execute(Command.FLUSH_CONTEXT, parameters=U32.pack(handle))
