"""The worker's client of the key store: its questions, one at a time, and what it trusts in the answers.

The channel outlives the key store's process: when a new one says HELLO, the pending question is sent again. That is why
every question is idempotent. A worker waits at most `PATIENCE_MS`; by then the broker has long replaced a key store
that died. A row is trusted only if its code is right, see `base.row_codes`.

A question that the key store's table does not allow is not sent: its fields come from clients, and no client's request
may make this process look like a compromised one.
"""

import select
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from cofferdam_contracts.identity import Application, KeyIdentity
from cofferdam_contracts.ipc.framing import Common, FramingError
from cofferdam_contracts.ipc.keystore import (
    CODED_ROW,
    MISPLACED,
    PENDING_STATES,
    ROWS_AT_ONCE,
    SCHEMAS,
    KimMessage,
    PendingState,
)
from cofferdam_contracts.opaque import Opaque
from cofferdam_contracts.psa.encoding import EncodingError, decode_attributes, encode_attributes
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.provider import REFERENCE_FORM, StoredKey
from cofferdam_providers.base.row_codes import ACTIVE, HeldCodes, RowCodes, key_name, split, tag_of
from cofferdam_runtime.channel import Channel, ChannelClosedError
from cofferdam_runtime.log import Log

PATIENCE_MS: Final = 3000
_MIN_ANSWER: Final = 3
_REPEATS: Final = 3
"""How often a question is sent again to a successor."""
_STATUSES: Final[Mapping[object, Status]] = {int(status): status for status in Status}
_REASONS: Final = {
    Status.PSA_ERROR_DOES_NOT_EXIST: "the provider has no key of this name",
    Status.PSA_ERROR_ALREADY_EXISTS: "the application has a key of this name, in this provider or another one",
    Status.PSA_ERROR_INSUFFICIENT_STORAGE: "the application has as many keys as limits.max_keys permits",
    Status.KEY_INFO_MANAGER_ERROR: "the key store failed, as its own line says",
    MISPLACED: "the provider has keys in another store than that of its key manager; the key store's line says where",
}
"""What answers of the key store mean for who reads the log."""
_PROVED: Final = 16
"""How many sealed rows are tried, of which one has to open before a key is accepted as theirs: some may be damaged."""


class WrongKeyError(Exception):
    """Raised when the key-encryption key is not the one that the provider's rows were made with."""

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(expected, found)
        self.expected = expected
        self.found = found


class SilentStoreError(ServiceError):
    """Raised when the key store did not answer in time."""

    def __init__(self) -> None:
        super().__init__(Status.KEY_INFO_MANAGER_ERROR, f"no answer of the key store within {PATIENCE_MS} ms")


Row = tuple[int, KeyIdentity, StoredKey]
"""Number, identity and content of a row."""


class _Held(Opaque, Struct):
    """The codes of the provider's active rows, fetched once: what the key store says about them later is compared."""

    sum: HeldCodes
    codes: set[bytes]
    whole: bool
    """Whether they are the set that was sealed; if not, rows without a code are no longer trusted."""
    enrolled: bool
    """Whether the key store keeps the check value, and therefore a seal."""
    taken: set[bytes]
    """Tags of the objects that have an owner, or had one during the life of this process."""
    doubt: tuple[frozenset[bytes], frozenset[bytes]] | None = None
    """The codes added and removed by a change that the key store may or may not have made."""


class KimClient:
    """The key store as one provider sees it."""

    def __init__(self, channel: Channel, codes: RowCodes, log: Log) -> None:
        self._channel = channel
        self._codes = codes
        self._log = log
        self._known: _Held | None = None
        self._last_id = time.monotonic_ns()
        self._poll = select.poll()
        self._poll.register(channel.fileno(), select.POLLIN)
        self.waited_ns = 0
        """How long the worker was blocked waiting for answers."""

    def open(self, *, adopt: bool, is_new: bool = False) -> None:
        """Compare the key of the codes with the one that the rows were made with, and examine the existing codes.

        Args:
            adopt: Whether to trust all rows as they are now, and to bind them from then on.
            is_new: Whether the key was created just now, when nothing depended on another one or `adopt` permitted it.

        Raises:
            WrongKeyError: It is another key.
            ServiceError: The key store does not answer, or cannot store what it has to.
        """
        check, _, _ = self._ask(KimMessage.STATE)
        if check and check != self._codes.check and not is_new:
            raise WrongKeyError(key_name(check), key_name(self._codes.check))
        if not check:
            self._prove()
        if adopt or is_new:
            self._adopt_all()
        held = self._held()
        if not held.enrolled:
            # Otherwise, whoever removes the check value and all codes would have every row trusted anew.
            held.whole = held.whole and not self._has_rows_without_code()
            if held.whole:
                self._try_to_enrol(held)
        if not held.whole:
            self._log.error(
                "codes of rows were removed or put back",
                effect="rows without a code are refused",
                remedy="if another service had the key store, set kim.adopt_rows for one start",
            )

    def lookup(self, identity: KeyIdentity) -> StoredKey:
        """Return the stored record of a key.

        Raises:
            ServiceError: There is none (`PSA_ERROR_DOES_NOT_EXIST`), or the row is not the one that was made for this
                key (`PSA_ERROR_CORRUPTION_DETECTED`).
        """
        *record, code, number = self._ask(KimMessage.LOOKUP, *_name(identity))
        stored = _stored(record)
        if not code:
            self._adopt(identity, stored, number)
        elif not self._codes.is_right(code, ACTIVE, identity, stored):
            raise _corrupt("its authentication code is that of another row, or it was changed")
        elif (held := self._held()).whole and code not in held.codes:
            raise _corrupt("its authentication code is not valid any more")
        return stored

    def confirm(self, identity: KeyIdentity, stored: StoredKey) -> None:
        """Raise `PSA_ERROR_CORRUPTION_DETECTED` if the row is bound by its encryption and does not open."""
        if not self._codes.needs_code(stored) and not self._codes.opens(identity, stored):
            raise _corrupt("it does not open")

    def reserve(self, identity: KeyIdentity, planned: StoredKey) -> None:
        """Reserve the name of a key that is about to be created; raise `PSA_ERROR_ALREADY_EXISTS` when it is taken."""
        code = self._codes.code(PendingState.RESERVED, identity, planned)
        self._ask(KimMessage.RESERVE, *_name(identity), *_row(planned), code)

    def activate(self, identity: KeyIdentity, stored: StoredKey) -> None:
        """Make a reserved key usable."""
        code = self._codes.code(ACTIVE, identity, stored)
        self._change(KimMessage.ACTIVATE, *_name(identity), *_row(stored), code, added=(code,))

    def cancel(self, identity: KeyIdentity) -> None:
        """Release a reserved name."""
        self._ask(KimMessage.CANCEL, *_name(identity))

    def mark_deleting(self, identity: KeyIdentity, stored: StoredKey) -> None:
        """Make a key permanently unusable."""
        code = self._codes.code(PendingState.DELETING, identity, stored)
        was = self._codes.code(ACTIVE, identity, stored)
        self._change(KimMessage.MARK_DELETING, *_name(identity), code, removed=(was,))

    def remove(self, identity: KeyIdentity) -> None:
        """Remove a key that was marked and has been destroyed."""
        self._ask(KimMessage.REMOVE, *_name(identity))

    def pending(self) -> Iterator[tuple[PendingState, KeyIdentity, StoredKey]]:
        """Yield the keys whose creation or destruction was interrupted.

        A row that is not trusted is left alone, and so is its object in the device.
        """
        (rows,) = self._ask(KimMessage.PENDING)
        # A row from before a key was created, or from before a destruction was given up, may name an object in use.
        in_use = set(map(tag_of, self._held().codes)) if rows else set()
        for number, *row, code in rows:
            if number not in PENDING_STATES:
                raise _malformed(KimMessage.PENDING.name)
            state, identity, stored = PendingState(number), KeyIdentity(*row[:3]), _stored(row[3:])
            is_right = self._codes.is_right(code, state, identity, stored)
            if is_right and tag_of(self._codes.code(ACTIVE, identity, stored)) not in in_use:
                yield state, identity, stored
            else:
                self._log.error(
                    "a half-made or half-destroyed key remains, as its row was changed",
                    **self._log.detail(app=identity.application, key=identity.key_name),
                )

    def keys_of(self, application: Application) -> tuple[str, ...]:
        """Return the names of an application's keys in this provider."""
        (names,) = self._ask(KimMessage.CLIENT_KEYS, int(application.authenticator), application.name)
        return tuple(names)

    def _enrol(self, held: _Held) -> None:
        self._ask(KimMessage.ENROL, self._codes.check, 0, self._codes.held(()).seal())
        held.enrolled = True

    def _try_to_enrol(self, held: _Held) -> None:
        try:
            self._enrol(held)
        except SilentStoreError:
            raise
        except ServiceError as error:
            self._log.warning("the key store cannot keep the check value of the key-encryption key", cause=error)

    def _held(self) -> _Held:
        """Return what is known about the codes."""
        if self._known is None:
            check, seal, joined = self._ask(KimMessage.STATE)
            codes = tuple(split(joined))
            held = self._codes.held(codes)
            self._known = _Held(
                sum=held,
                codes=set(codes),
                whole=held.is_sealed_by(seal) if check else not codes,
                enrolled=bool(check),
                taken=set(map(tag_of, codes)),
            )
        if self._known.doubt is not None:
            self._settle(self._known, *self._known.doubt)
        return self._known

    def _settle(self, held: _Held, added: frozenset[bytes], removed: frozenset[bytes]) -> None:
        """Ask the key store whether a change was made; nothing else that it says about the codes is trusted."""
        _, seal, joined = self._ask(KimMessage.STATE)
        found = sorted(split(joined))
        held.doubt = None
        for change in ((frozenset[bytes](), frozenset[bytes]()), (added, removed)):
            codes, total = (held.codes | change[0]) - change[1], held.sum.after(added=change[0], removed=change[1])
            if found == sorted(codes) and (not held.whole or total.is_sealed_by(seal)):
                held.codes, held.sum = codes, total
                held.taken.update(map(tag_of, change[0]))
                return
        held.whole = False
        self._log.error("the key store has other codes of rows than before", effect="rows without a code are refused")

    def _change(
        self, number: KimMessage, *fields: object, added: Sequence[bytes] = (), removed: Sequence[bytes] = ()
    ) -> None:
        """Send a change of rows that adds and removes codes; the last field of the question seals the resulting set."""
        held = self._held()
        new, old = frozenset(filter(None, added)) - held.codes, frozenset(filter(None, removed)) & held.codes
        after = held.sum.after(added=new, removed=old)
        seal = after.seal() if held.whole and (new or old) else b""
        if seal and not held.enrolled:
            self._enrol(held)
        try:
            self._ask(number, *fields, seal)
        except ServiceError as error:
            if error.status is Status.KEY_INFO_MANAGER_ERROR:
                held.doubt = (new, old)
            raise
        held.sum = after
        held.codes |= new
        held.codes -= old
        # The tag of a marked key stays: its object still exists for a moment.
        held.taken.update(map(tag_of, new))

    def _adopt(self, identity: KeyIdentity, stored: StoredKey, number: int) -> None:
        """Give a row made by the reference service its code, or reject it."""
        code = self._codes.code(ACTIVE, identity, stored)
        if not code:
            return
        held = self._held()
        if not held.whole or stored.version != REFERENCE_FORM:
            raise _corrupt("it has no authentication code")
        if tag_of(code) in held.taken:
            raise _corrupt("it has no authentication code, and another row has its object")
        self._change(KimMessage.ADOPT, CODED_ROW.pack(number, code), added=(code,))

    def _adopt_all(self) -> None:
        """Give all rows codes, whatever codes they have."""
        nothing = self._codes.held(())
        self._ask(KimMessage.ENROL, self._codes.check, 1, nothing.seal())
        self._known = _Held(sum=nothing, codes=set(), whole=True, enrolled=True, taken=set())
        count = 0
        for rows in self.rows():
            coded = [
                (number, code)
                for number, identity, stored in rows
                if (code := self._codes.code(ACTIVE, identity, stored))
            ]
            if coded:
                packed = b"".join(CODED_ROW.pack(*entry) for entry in coded)
                self._change(KimMessage.ADOPT, packed, added=[code for _, code in coded])
            count += len(coded)
        if count:
            self._log.notice("rows of the key store were trusted as they are", rows=count)

    def _prove(self) -> None:
        """Reject a key that opens none of the first sealed rows, when nothing else tells whether it is theirs."""
        first = next(self.rows(), [])
        sealed = [(identity, stored) for _, identity, stored in first if not self._codes.needs_code(stored)][:_PROVED]
        if sealed and not any(self._codes.opens(*row) for row in sealed):
            raise WrongKeyError("the one that the stored keys were encrypted with", key_name(self._codes.check))

    def _has_rows_without_code(self) -> bool:
        return any(self._codes.needs_code(stored) for rows in self.rows() for _, _, stored in rows)

    def rows(self) -> Iterator[list[Row]]:
        """Yield the provider's active rows, trusted or not, as many at a time as one ADOPT accepts."""
        after = 0
        while rows := self._ask(KimMessage.ROWS, after)[0][:ROWS_AT_ONCE]:
            found: list[Row] = []
            for number, *row in rows:
                if number <= after:
                    raise _malformed(KimMessage.ROWS.name)
                after = number
                found.append((number, KeyIdentity(*row[:3]), _stored(row[3:])))
            yield found

    def _ask(self, number: KimMessage, *fields: object) -> tuple[Any, ...]:
        if not SCHEMAS[number].accepts(fields):
            raise ServiceError(Status.PSA_ERROR_INVALID_ARGUMENT, f"{number.name} with a value that no row can have")
        self._last_id += 1
        question = (int(number), self._last_id, *fields)
        try:
            deadline = time.monotonic() + PATIENCE_MS / 1000
            while time.monotonic() < deadline and self._channel.receive() is not None:
                pass  # a HELLO, or an answer that came after its question was given up
            self._channel.send(question)
            message = self._await(question, deadline)
        except (ChannelClosedError, FramingError) as error:
            raise ServiceError(Status.KEY_INFO_MANAGER_ERROR, f"the key store's channel failed: {error}") from error
        status = _STATUSES.get(message[2])
        if status is None or (not status and not SCHEMAS[number].accepts_answer(message[_MIN_ANSWER:])):
            raise _malformed(number.name)
        if status:
            raise ServiceError(status, _REASONS.get(status) or f"the key store answers {status.name} to {number.name}")
        return message[_MIN_ANSWER:]

    def _await(self, question: tuple[object, ...], deadline: float) -> tuple[Any, ...]:
        repeats = _REPEATS
        while (left := deadline - time.monotonic()) > 0:
            self._channel.flush()
            self._poll.modify(self._channel.fileno(), select.POLLIN | (select.POLLOUT if self._channel.backlog else 0))
            began = time.monotonic_ns()
            self._poll.poll(max(1, int(left * 1000)))
            self.waited_ns += time.monotonic_ns() - began
            while time.monotonic() < deadline and (message := self._channel.receive()) is not None:
                if message[0] == Common.HELLO and repeats:
                    repeats -= 1
                    self._channel.send(question)
                elif len(message) >= _MIN_ANSWER and message[:2] == (question[0] + 1, question[1]):  # type: ignore[operator]
                    return message
        raise SilentStoreError


def _malformed(what: str) -> ServiceError:
    return ServiceError(Status.KEY_INFO_MANAGER_ERROR, f"the key store's answer to {what} is malformed")


def _corrupt(why: str) -> ServiceError:
    return ServiceError(
        Status.PSA_ERROR_CORRUPTION_DETECTED, f"the row is not the one that was made for the key: {why}"
    )


def _name(identity: KeyIdentity) -> tuple[int, str, str]:
    return int(identity.authenticator), identity.application, identity.key_name


def _row(stored: StoredKey) -> tuple[bytes, int, bytes]:
    return stored.key_id, stored.version, encode_attributes(stored.attributes)


def _stored(values: Sequence[Any]) -> StoredKey:
    key_id, version, attributes = values
    try:
        return StoredKey(key_id=key_id, version=version, attributes=decode_attributes(attributes))
    except EncodingError as error:
        raise ServiceError(Status.PSA_ERROR_DATA_CORRUPT, f"stored attributes: {error}") from error
