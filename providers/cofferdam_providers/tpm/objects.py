"""Transient objects: keys and their parents, as many loaded at a time as the TPM has slots for.

What is used stays loaded. When another object needs the slot, the context of the one that was not used for longest is
saved, once, and the object flushed; loading a saved context costs the TPM less than loading a key anew, and needs
neither parent nor authorisation. Contexts do not survive a reset of the TPM: then everything is loaded from what the
key store has, as in the beginning.

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
        """Know an object that is not loaded.

        Args:
            name: Its Name, empty until it is known.
            auth: What authorises its use.
            parent: What has to be loaded when it is.
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
        """Which life of the TPM the context belongs to."""

    def load(self) -> int:
        """Load it from nothing and return its handle; there is room, and its parent is loaded.

        Raises:
            TpmError: The TPM refuses.
        """
        raise NotImplementedError


class Slots:
    """The slots of a TPM, and what is in them."""

    def __init__(self, connection: TpmConnection, capacity: int) -> None:
        """Fill at most so many slots."""
        self._connection = connection
        self._most = self._capacity = capacity
        self._loaded: OrderedDict[TpmObject, None] = OrderedDict()
        self._life = 1

    @property
    def capacity(self) -> int:
        """How many objects can be loaded at a time, as far as is known."""
        return self._capacity

    def forget(self) -> None:
        """Know that the TPM has nothing of what was loaded or saved."""
        self._loaded.clear()
        self._capacity = self._most
        self._life += 1

    def handles(self) -> list[int]:
        """Return the handles of what is loaded."""
        return [one.handle for one in self._loaded]

    def ensure_loaded(self, *wanted: TpmObject, free: int = 0) -> list[Named]:
        """Have these objects loaded, and so many slots free besides; return their handles.

        Raises:
            TpmError: One of them cannot be loaded.
        """
        for one in wanted:
            self._ensure(one, wanted)
        self.make_room(free, wanted)
        return [Named(one.handle, one.name) for one in wanted]

    def make_room(self, free: int, keep: tuple[TpmObject, ...] = ()) -> None:
        """Have so many slots free, without touching these objects."""
        while len(self._loaded) + free > self._capacity and self._evict(keep):
            pass

    def with_room(self, load: Callable[[], int], keep: tuple[TpmObject, ...] = ()) -> int:
        """Load something into a slot, emptying others for as long as the TPM says that it has none.

        Raises:
            TpmError: It cannot be loaded, or others have the slots.
        """
        self.make_room(1, keep)
        while True:
            try:
                return load()
            except TpmError as error:
                if error.code not in NO_ROOM or not self._evict(keep):
                    raise
                # Somebody else has slots as well, or there were fewer than the TPM promised.
                self._capacity = max(1, len(self._loaded) + 1)

    def drop(self, one: TpmObject) -> None:
        """Take an object out of its slot for good."""
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
                # It is stale, for whatever reason; a TPM that was reset will say so of other things as well.
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
        """Empty the slot that was not used for longest; return whether there was one."""
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
        # Out of the books first: should the command fail, the TPM has forgotten everything.
        del self._loaded[one]
        handle, one.handle = one.handle, 0
        self._connection.execute(Command.FLUSH_CONTEXT, parameters=U32.pack(handle))
