"""What a worker trusts in a compromised key store, which remembers what it was told and answers anything."""

import select
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.providers.base.device import ATTRIBUTES, KEK, LOG, Device

from cofferdam_contracts.identity import Application, KeyIdentity
from cofferdam_contracts.ipc.keystore import CODED_ROW, KimMessage, PendingState
from cofferdam_contracts.ipc.limits import MAX_ANSWER
from cofferdam_contracts.psa.encoding import encode_attributes
from cofferdam_contracts.registry import AuthType
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.keyring import Keyring
from cofferdam_providers.base.kim_client import KimClient
from cofferdam_providers.base.provider import StoredKey
from cofferdam_providers.base.row_codes import ACTIVE, RowCodes
from cofferdam_runtime.channel import Channel, ChannelClosedError
from cofferdam_runtime.pairs import socket_pair

CODES = RowCodes(KEK, Device({}))
ENCODED = encode_attributes(ATTRIBUTES)
ANN, BEN = (KeyIdentity(AuthType.UNIX_PEER_CREDENTIALS, uid, "k") for uid in ("1000", "2000"))
OBJECT = StoredKey(key_id=b"\1\2\3\4", version=1, attributes=ATTRIBUTES)
EMPTY = (0, CODES.check, CODES.held(()).seal(), b"")
"""A STATE of no codes that is right."""
UNKNOWN = (int(Status.KEY_INFO_MANAGER_ERROR),)
Answer = tuple[Any, ...]


class LyingStore:
    """Answers every question with success, or with the entry in `answers`."""

    def __init__(self) -> None:
        mine, theirs = socket_pair()
        self.channel = Channel(mine, MAX_ANSWER)
        self.answers: dict[KimMessage, Answer | Callable[[Answer], Answer]] = {KimMessage.STATE: EMPTY}
        self.asked: list[tuple[KimMessage, Answer]] = []
        self._theirs = Channel(theirs, MAX_ANSWER)
        self._thread = threading.Thread(target=self._answer_all, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.channel.close()
        self._thread.join()
        self._theirs.close()

    def _answer_all(self) -> None:
        poll = select.poll()
        poll.register(self._theirs.fileno(), select.POLLIN)
        while True:
            poll.poll()
            try:
                message = self._theirs.receive()
            except ChannelClosedError:
                return
            if message is None:
                continue
            number, request_id, *fields = message
            self.asked.append((KimMessage(number), tuple(fields)))
            answer = self.answers.get(KimMessage(number), (0,))
            self._theirs.send((number + 1, request_id, *(answer(tuple(fields)) if callable(answer) else answer)))


@pytest.fixture
def liar() -> Iterator[LyingStore]:
    store = LyingStore()
    yield store
    store.close()


@pytest.fixture
def store(liar: LyingStore) -> KimClient:
    store = KimClient(liar.channel, CODES, LOG)
    store.open(adopt=False)
    return store


def row_of(code: bytes, number: int = 7) -> Answer:
    """Return the answer to LOOKUP that has the object."""
    return 0, OBJECT.key_id, OBJECT.version, ENCODED, code, number


def test_a_set_without_a_seal_is_not_believed(liar: LyingStore) -> None:
    for state in ((0, CODES.check, b"", b""), (0, CODES.check, CODES.held([b"x" * 48]).seal(), b"")):
        liar.answers[KimMessage.STATE] = state
        store = KimClient(liar.channel, CODES, LOG)
        store.open(adopt=False)
        liar.answers[KimMessage.LOOKUP] = row_of(b"")
        with pytest.raises(ServiceError) as refused:
            store.lookup(ANN)
        assert refused.value.status is Status.PSA_ERROR_CORRUPTION_DETECTED


def test_a_first_start_with_an_old_key_believes_no_row_without_a_code(liar: LyingStore) -> None:
    rows = ((1, *row_name(BEN), OBJECT.key_id, OBJECT.version, ENCODED),)
    liar.answers |= {
        KimMessage.STATE: (0, b"", b"", b""),
        KimMessage.ROWS: lambda fields: (0, () if fields[0] else rows),
        KimMessage.LOOKUP: row_of(b""),
    }
    for is_new in (False, True):
        store = KimClient(liar.channel, CODES, LOG)
        store.open(adopt=False, is_new=is_new)
        assert (KimMessage.ENROL in [number for number, _ in liar.asked]) == is_new
        if is_new:
            (adopted,) = [fields[0] for number, fields in liar.asked if number is KimMessage.ADOPT]
            assert adopted == CODED_ROW.pack(1, CODES.code(ACTIVE, BEN, OBJECT))
        else:
            with pytest.raises(ServiceError):
                store.lookup(BEN)


def test_a_code_that_was_valid_once_is_not_any_more(liar: LyingStore, store: KimClient) -> None:
    code = CODES.code(ACTIVE, BEN, OBJECT)
    store.activate(BEN, OBJECT)
    liar.answers[KimMessage.LOOKUP] = row_of(code)
    assert store.lookup(BEN) == OBJECT
    store.mark_deleting(BEN, OBJECT)
    with pytest.raises(ServiceError) as refused:
        store.lookup(BEN)
    assert refused.value.status is Status.PSA_ERROR_CORRUPTION_DETECTED


@pytest.mark.parametrize("state", PendingState)
def test_an_old_state_of_a_row_destroys_no_key_in_use(liar: LyingStore, store: KimClient, state: PendingState) -> None:
    objects: dict[bytes, Any] = {}
    device = Device(objects)
    keyring = Keyring(device, store, 10, LOG)
    planned = keyring.begin(BEN, ATTRIBUTES)
    made = device.generate_key(BEN, ATTRIBUTES, planned)
    keyring.finish(BEN, made)
    row = (int(state), *row_name(BEN), made.key_id, made.version, ENCODED, CODES.code(state, BEN, made))
    pending = [(0, (row,))]
    liar.answers[KimMessage.PENDING] = lambda _: pending.pop() if pending else (0, ())
    for _ in keyring.reconcile():
        pass
    assert not pending
    assert planned in objects


def test_after_an_answer_that_says_nothing_two_sets_are_possible(liar: LyingStore, store: KimClient) -> None:
    liar.answers[KimMessage.LOOKUP] = row_of(b"")
    store.lookup(BEN)
    hers = CODES.code(ACTIVE, BEN, OBJECT)
    other = StoredKey(key_id=b"q" * 16, version=2, attributes=ATTRIBUTES)
    codes = {"neither": [hers], "both": [hers, CODES.code(ACTIVE, ANN, other)], "old": []}
    for name in ("neither", "both", "old"):
        liar.answers[KimMessage.ACTIVATE] = UNKNOWN
        with pytest.raises(ServiceError):
            store.activate(ANN, other)
        held = codes[name]
        liar.answers[KimMessage.STATE] = (0, CODES.check, CODES.held(held).seal(), b"".join(held))
        # The object is Ben's, whatever the key store says now.
        with pytest.raises(ServiceError) as refused:
            store.lookup(ANN)
        assert refused.value.status is Status.PSA_ERROR_CORRUPTION_DETECTED
        assert store._held().whole == (name != "old")


MALFORMED: list[tuple[KimMessage, Answer, Callable[[KimClient], object]]] = [
    *(
        (KimMessage.PENDING, (0, (row,)), lambda store: list(store.pending()))
        for row in (
            (1, -1, "a", "b", b"x", 2, ENCODED, b"c"),
            (1, 3, "a", "b", b"x", -1, ENCODED, b"c"),
            (0, 3, "a", "b", b"x", 2, ENCODED, b"c"),
            (3, 3, "a", "b", b"x", 2, ENCODED, b"c"),
            (1, 3, "a", 4, b"x", 2, ENCODED, b"c"),
            (1, 3, "a", "b", b"x", 2, ENCODED),
            5,
        )
    ),
    *(
        (KimMessage.LOOKUP, (0, *fields), lambda store: store.lookup(ANN))
        for fields in (
            (b"\1", 1, ENCODED, b"", -1),
            (b"\1", 1, ENCODED, b"", 1 << 63),
            (b"\1", -1, ENCODED, b"x", 1),
            (b"\1", 1, ENCODED, b"x" * 49, 1),
            (b"\1", 1, ENCODED, b""),
        )
    ),
    *(
        (
            KimMessage.CLIENT_KEYS,
            (0, names),
            lambda store: store.keys_of(Application(AuthType.UNIX_PEER_CREDENTIALS, "1000")),
        )
        for names in ((1, 2), (b"k",), ("k", ()), "k")
    ),
    *(
        (KimMessage.ROWS, (0, (row,)), lambda store: store.open(adopt=True))
        for row in ((5, -3, "a", "b", b"x", 2, ENCODED), (0, 3, "a", "b", b"x", 2, ENCODED), (-1, 3, "a", "b", b"x", 2))
    ),
    *(
        (KimMessage.STATE, (0, *fields), lambda store: store.open(adopt=False))
        for fields in ((b"c" * 17, b"", b""), (b"", b"s" * 33, b""), (b"", b""), (1, b"", b""))
    ),
]


@pytest.mark.parametrize(("number", "answer", "ask"), MALFORMED)
def test_a_malformed_answer_fails_one_question(
    liar: LyingStore, store: KimClient, number: KimMessage, answer: Answer, ask: Callable[[KimClient], object]
) -> None:
    liar.answers[number] = answer
    with pytest.raises(ServiceError) as refused:
        ask(store)
    assert refused.value.status is Status.KEY_INFO_MANAGER_ERROR


def row_name(identity: KeyIdentity) -> Answer:
    """Return a name as it stands in an answer."""
    return int(identity.authenticator), identity.application, identity.key_name
