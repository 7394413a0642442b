"""The worker's questions to the key store, one at a time.

The channel outlives the key store's process: when a new one says HELLO, the question under way is asked again. Every
question is idempotent for that reason. A worker waits here at most `PATIENCE_MS`; by then the broker has long replaced
a key store that died.
"""

import select
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from cofferdam_contracts.identity import Application, KeyIdentity
from cofferdam_contracts.ipc.framing import Common, FramingError
from cofferdam_contracts.ipc.keystore import SCHEMAS, KimMessage, PendingState
from cofferdam_contracts.psa.encoding import EncodingError, decode_attributes, encode_attributes
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.provider import StoredKey
from cofferdam_runtime.channel import Channel, ChannelClosedError

PATIENCE_MS: Final = 3000
_MIN_ANSWER: Final = 3
_REPEATS: Final = 3
"""How often a question is asked again of a successor."""
_STATUSES: Final[Mapping[object, Status]] = {int(status): status for status in Status}


class KeyStore:
    """The key store as one provider sees it."""

    def __init__(self, channel: Channel) -> None:
        """Ask over this channel."""
        self._channel = channel
        self._last_id = time.monotonic_ns()
        self._poll = select.poll()
        self._poll.register(channel.fileno(), select.POLLIN)

    def lookup(self, identity: KeyIdentity) -> StoredKey:
        """Return what is stored of a key; `PSA_ERROR_DOES_NOT_EXIST` when there is none."""
        key_id, version, attributes = self._ask(KimMessage.LOOKUP, *_name(identity))
        return _stored(key_id, version, attributes)

    def reserve(self, identity: KeyIdentity, planned: StoredKey) -> None:
        """Take the name for a key that is about to be made; `PSA_ERROR_ALREADY_EXISTS` when it is taken."""
        self._ask(KimMessage.RESERVE, *_name(identity), *_row(planned))

    def activate(self, identity: KeyIdentity, stored: StoredKey) -> None:
        """Make a reserved key usable."""
        self._ask(KimMessage.ACTIVATE, *_name(identity), *_row(stored))

    def cancel(self, identity: KeyIdentity) -> None:
        """Give a reserved name free."""
        self._ask(KimMessage.CANCEL, *_name(identity))

    def mark_deleting(self, identity: KeyIdentity) -> None:
        """Make a key unusable for good."""
        self._ask(KimMessage.MARK_DELETING, *_name(identity))

    def remove(self, identity: KeyIdentity) -> None:
        """Forget a key that was marked and is destroyed."""
        self._ask(KimMessage.REMOVE, *_name(identity))

    def pending(self) -> Iterator[tuple[PendingState, KeyIdentity, StoredKey]]:
        """Yield the keys that were being made or destroyed when something died."""
        (rows,) = self._ask(KimMessage.PENDING)
        for row in rows:
            try:
                state, authenticator, application, key_name, key_id, version, attributes = row
                pending = PendingState(state)
            except (TypeError, ValueError) as error:
                raise _malformed(KimMessage.PENDING) from error
            yield pending, KeyIdentity(authenticator, application, key_name), _stored(key_id, version, attributes)

    def keys_of(self, application: Application) -> tuple[str, ...]:
        """Return the names of an application's keys in this provider."""
        (names,) = self._ask(KimMessage.CLIENT_KEYS, application.authenticator, application.name)
        return tuple(names)

    def _ask(self, number: KimMessage, *fields: object) -> tuple[Any, ...]:
        self._last_id += 1
        question = (int(number), self._last_id, *fields)
        try:
            while self._channel.receive() is not None:
                pass  # a HELLO, or an answer that came after its question was given up
            self._channel.send(question)
            message = self._await(question)
        except (ChannelClosedError, FramingError) as error:
            raise ServiceError(Status.KEY_INFO_MANAGER_ERROR, f"the key store's channel failed: {error}") from error
        status = _STATUSES.get(message[2])
        if status is None or (not status and tuple(map(type, message[_MIN_ANSWER:])) != SCHEMAS[number].answer):
            raise _malformed(number)
        if status:
            raise ServiceError(status, f"the key store refused {number.name}")
        return message[_MIN_ANSWER:]

    def _await(self, question: tuple[object, ...]) -> tuple[Any, ...]:
        deadline = time.monotonic() + PATIENCE_MS / 1000
        repeats = _REPEATS
        while (left := deadline - time.monotonic()) > 0:
            self._channel.flush()
            self._poll.modify(self._channel.fileno(), select.POLLIN | (select.POLLOUT if self._channel.backlog else 0))
            self._poll.poll(max(1, int(left * 1000)))
            while time.monotonic() < deadline and (message := self._channel.receive()) is not None:
                if message[0] == Common.HELLO and repeats:
                    repeats -= 1
                    self._channel.send(question)
                elif len(message) >= _MIN_ANSWER and message[:2] == (question[0] + 1, question[1]):  # type: ignore[operator]
                    return message
        raise ServiceError(Status.KEY_INFO_MANAGER_ERROR, f"no answer of the key store within {PATIENCE_MS} ms")


def _malformed(number: KimMessage) -> ServiceError:
    return ServiceError(Status.KEY_INFO_MANAGER_ERROR, f"the key store's answer to {number.name} is malformed")


def _name(identity: KeyIdentity) -> tuple[int, str, str]:
    return identity.authenticator, identity.application, identity.key_name


def _row(stored: StoredKey) -> tuple[bytes, int, bytes]:
    return stored.key_id, stored.version, encode_attributes(stored.attributes)


def _stored(key_id: bytes, version: int, attributes: bytes) -> StoredKey:
    try:
        return StoredKey(key_id=key_id, version=version, attributes=decode_attributes(attributes))
    except EncodingError as error:
        raise ServiceError(Status.PSA_ERROR_DATA_CORRUPT, f"stored attributes: {error}") from error
