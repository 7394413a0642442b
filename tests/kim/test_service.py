"""Who may ask what, and that everything else is refused."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.kim.support import (
    ECDSA,
    MBED,
    PKCS11,
    PLANNED,
    PROVIDERS,
    RECORD,
    RSA,
    TPM,
    alone,
    answer,
    create,
    mapping_row,
    name,
    open_store,
    reference_database,
)

from cofferdam_contracts.identity import MAX_APPLICATION, MAX_KEY_NAME
from cofferdam_contracts.ipc.control import DownstreamChannel
from cofferdam_contracts.ipc.errors import ForbiddenMessageError
from cofferdam_contracts.ipc.keystore import CODED_ROW, SCHEMAS, Asker, KimMessage
from cofferdam_contracts.ipc.limits import MAX_CODE, MAX_KEY_ID, MAX_SEAL, MAX_STORED_KEY_NAME
from cofferdam_contracts.ipc.pages import keys_of
from cofferdam_contracts.registry import TOKEN_AUTHENTICATORS, AuthType
from cofferdam_contracts.roles import Role
from cofferdam_contracts.settings import AuthenticatorSettings
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_kim.rows import KNOWN_AUTHENTICATORS
from cofferdam_kim.service import FrontendPeer, KimService, Peer, WorkerPeer
from cofferdam_kim.store import MappingStore

UNIX = AuthenticatorSettings(auth_type=AuthType.UNIX_PEER_CREDENTIALS, admins=("0", "admin"))
DIRECT = AuthenticatorSettings(auth_type=AuthType.DIRECT, admins=("root",))
WORKER = WorkerPeer(MBED)
FRONTEND = FrontendPeer(1000)
PEERS: dict[Asker, Peer] = {Asker.WORKER: WORKER, Asker.FRONTEND: FRONTEND}
NAME = (3, "1000", "key")
ROW = (b"", 2, ECDSA, b"code")
SEAL = b"seal"
GOOD: dict[KimMessage, tuple[Any, ...]] = {
    KimMessage.LOOKUP: NAME,
    KimMessage.RESERVE: NAME + ROW,
    KimMessage.ACTIVATE: (*NAME, *ROW, SEAL),
    KimMessage.CANCEL: NAME,
    KimMessage.MARK_DELETING: (*NAME, b"code", SEAL),
    KimMessage.REMOVE: NAME,
    KimMessage.PENDING: (),
    KimMessage.CLIENT_KEYS: (3, "1000"),
    KimMessage.STATE: (),
    KimMessage.ENROL: (b"check", 0, b"seal"),
    KimMessage.ROWS: (0,),
    KimMessage.ADOPT: (b"", SEAL),
    KimMessage.LIST_KEYS: (3, ""),
    KimMessage.LIST_CLIENTS: (3, ""),
}
SHAPES = [*set(GOOD.values()), (None,), (3,), (3, "", "", ""), NAME + ROW + (b"",)]


@pytest.fixture
def service(store: MappingStore) -> KimService:
    return KimService(alone(store), PROVIDERS, (UNIX, DIRECT))


def ok(service: KimService, peer: Peer, number: KimMessage, *fields: object) -> tuple[Any, ...]:
    """Return the fields of an answer; instead of the pages of a listing, its keys."""
    status, found = answer(service, peer, number, fields)
    assert status is Status.SUCCESS
    assert SCHEMAS[number].accepts_answer(found)
    return (tuple(keys_of(found[0])),) if number is KimMessage.LIST_KEYS else found


def forbidden(service: KimService, peer: Peer, number: object, fields: tuple[Any, ...]) -> None:
    with pytest.raises(ForbiddenMessageError):
        answer(service, peer, number, fields)


def test_every_message_is_tried() -> None:
    assert set(GOOD) == set(KimMessage)


@pytest.mark.parametrize("asker", Asker)
def test_everything_outside_the_table_is_refused(service: KimService, asker: Asker) -> None:
    allowed = {(SCHEMAS[number].asker, int(number), fields) for number, fields in GOOD.items()}
    allowed |= {
        (asker, int(number), fields)
        for number, fields in itertools.product(KimMessage, SHAPES)
        if SCHEMAS[number].asker is asker and SCHEMAS[number].accepts(fields)
    }
    refused = 0
    for number, fields in itertools.product(range(-1, 257), SHAPES):
        if (asker, number, fields) not in allowed:
            forbidden(service, PEERS[asker], number, fields)
            refused += 1
    assert refused > 258 * len(SHAPES) - 50


@pytest.mark.parametrize("number", [10.0, "10", b"\n", None, True, (10,), [10], {}, 1 << 64])
def test_only_numbers_select_a_row(service: KimService, number: object) -> None:
    forbidden(service, WORKER, number, NAME)


WRONG = [None, True, 1.0, "1", b"1", (), ("1",), -1, 1 << 63, 1 << 64, "\ud800", bytearray(b"1"), 256]


def wrong_fields() -> Iterator[tuple[KimMessage, tuple[Any, ...]]]:
    for number, fields in GOOD.items():
        schema = SCHEMAS[number]
        yield number, (*fields, 0)
        yield number, fields[:-1] if fields else ("",)
        for at, value in itertools.product(range(len(fields)), WRONG):
            if not schema.fields[at].accepts(value):
                yield number, (*fields[:at], value, *fields[at + 1 :])


@pytest.mark.parametrize("asker", Asker)
def test_fields_of_the_wrong_shape_are_refused(service: KimService, asker: Asker) -> None:
    tried = 0
    for number, fields in wrong_fields():
        forbidden(service, PEERS[asker], number, fields)
        tried += 1
    assert tried > 250


@pytest.mark.parametrize(
    ("number", "fields"),
    [
        (KimMessage.LOOKUP, (3, "x" * (MAX_APPLICATION + 1), "key")),
        (KimMessage.LOOKUP, (3, "é" * (MAX_APPLICATION // 2 + 1), "key")),
        (KimMessage.LOOKUP, (3, "1000", "x" * (MAX_STORED_KEY_NAME + 1))),
        (KimMessage.RESERVE, (3, "1000", "x" * (MAX_KEY_NAME + 1), b"", 2, ECDSA, b"")),
        (KimMessage.RESERVE, (*NAME, bytes(MAX_KEY_ID + 1), 2, ECDSA, b"")),
        (KimMessage.RESERVE, (*NAME, b"", 0, ECDSA, b"")),
        (KimMessage.RESERVE, (*NAME, b"", 3, ECDSA, b"")),
        (KimMessage.RESERVE, (*NAME, b"", 2, b"", b"")),
        (KimMessage.RESERVE, (*NAME, b"", 2, ECDSA + b"\0", b"")),
        (KimMessage.ACTIVATE, (*NAME, b"", 2, bytes(257), b"", b"")),
        (KimMessage.RESERVE, (*NAME, b"", 2, ECDSA, bytes(MAX_CODE + 1))),
        (KimMessage.ACTIVATE, (*NAME, *ROW, bytes(MAX_SEAL + 1))),
        (KimMessage.ENROL, (b"check", 2, b"seal")),
        (KimMessage.ADOPT, (b"not whole rows", b"")),
        (KimMessage.LOOKUP, (5, "1000", "key")),
        (KimMessage.LOOKUP, (254, "1000", "key")),
        (KimMessage.CLIENT_KEYS, (5, "1000")),
    ],
)
def test_a_worker_beyond_its_limits_is_refused(
    service: KimService, number: KimMessage, fields: tuple[Any, ...]
) -> None:
    forbidden(service, WORKER, number, fields)


def test_the_largest_fields_are_taken(service: KimService) -> None:
    fields = (3, "a" * MAX_APPLICATION, "k" * MAX_KEY_NAME, bytes(MAX_KEY_ID), 2, ECDSA, bytes(MAX_CODE))
    ok(service, WORKER, KimMessage.ENROL, *GOOD[KimMessage.ENROL])
    ok(service, WORKER, KimMessage.RESERVE, *fields)
    ok(service, WORKER, KimMessage.ACTIVATE, *fields, bytes(MAX_SEAL))
    assert ok(service, WORKER, KimMessage.LOOKUP, *fields[:3]) == (*fields[3:], 1)


def test_the_life_of_a_key(service: KimService) -> None:
    made = (b"wrapped", 2, RSA, b"code")
    assert ok(service, WORKER, KimMessage.RESERVE, *NAME, *ROW) == ()
    assert ok(service, WORKER, KimMessage.PENDING) == (((1, *NAME, *ROW),),)
    assert ok(service, WORKER, KimMessage.ENROL, b"check", 0, b"") == ()
    assert ok(service, WORKER, KimMessage.ACTIVATE, *NAME, *made, SEAL) == ()
    assert ok(service, WORKER, KimMessage.LOOKUP, *NAME) == (*made, 1)
    assert ok(service, WORKER, KimMessage.STATE) == (b"check", SEAL, b"code")
    assert ok(service, WORKER, KimMessage.ROWS, 0) == (((1, *NAME, *made[:3]),),)
    assert ok(service, WORKER, KimMessage.ROWS, 1) == ((),)
    assert ok(service, WORKER, KimMessage.CLIENT_KEYS, 3, "1000") == (("key",),)
    assert ok(service, FRONTEND, KimMessage.LIST_KEYS, 3, "") == (((1, "key", RSA),),)
    assert ok(service, FrontendPeer(0), KimMessage.LIST_CLIENTS, 3, "") == (("1000",),)
    assert ok(service, WORKER, KimMessage.MARK_DELETING, *NAME, b"deleting", b"") == ()
    assert ok(service, WORKER, KimMessage.STATE) == (b"check", SEAL, b"")
    assert ok(service, WORKER, KimMessage.PENDING) == (((2, *NAME, *made[:3], b"deleting"),),)
    assert answer(service, WORKER, KimMessage.LOOKUP, NAME) == (Status.PSA_ERROR_DOES_NOT_EXIST, ())
    assert ok(service, WORKER, KimMessage.REMOVE, *NAME) == ()
    assert ok(service, WORKER, KimMessage.CANCEL, *NAME) == ()
    assert ok(service, WORKER, KimMessage.PENDING) == ((),)


def test_a_seal_that_cannot_be_kept_refuses_the_change(service: KimService, store: MappingStore) -> None:
    """Whatever brings a seal: codes without it would look, at the next start, as if some had been removed."""
    create(store, name(), MBED)
    changes: dict[KimMessage, tuple[object, ...]] = {
        KimMessage.ACTIVATE: (3, "1000", "new", *ROW, SEAL),
        KimMessage.ADOPT: (CODED_ROW.pack(1, b"code"), SEAL),
        KimMessage.MARK_DELETING: (*NAME, b"deleting", SEAL),
    }
    sealed = {question for question, schema in SCHEMAS.items() if MAX_SEAL in [field.most for field in schema.fields]}
    assert set(changes) == sealed - {KimMessage.ENROL}
    ok(service, WORKER, KimMessage.RESERVE, 3, "1000", "new", *ROW)

    def kept() -> list[object]:
        asked = ((KimMessage.STATE, ()), (KimMessage.PENDING, ()), (KimMessage.ROWS, (0,)), (KimMessage.LOOKUP, NAME))
        return [ok(service, WORKER, question, *fields) for question, fields in asked] + [
            ok(service, FRONTEND, KimMessage.LIST_KEYS, 3, "")
        ]

    before = kept()
    for question, fields in changes.items():
        assert answer(service, WORKER, question, fields) == (Status.KEY_INFO_MANAGER_ERROR, ())
        assert kept() == before
    ok(service, WORKER, KimMessage.ENROL, *GOOD[KimMessage.ENROL])
    for question, fields in changes.items():
        ok(service, WORKER, question, *fields)
        assert ok(service, WORKER, KimMessage.STATE)[1] == SEAL


def test_a_worker_reaches_its_own_provider_only(service: KimService, store: MappingStore) -> None:
    create(store, name(), PKCS11)
    assert answer(service, WORKER, KimMessage.LOOKUP, NAME) == (Status.PSA_ERROR_DOES_NOT_EXIST, ())
    assert answer(service, WORKER, KimMessage.MARK_DELETING, (*NAME, b"", b"")) == (Status.PSA_ERROR_DOES_NOT_EXIST, ())
    assert answer(service, WORKER, KimMessage.RESERVE, NAME + ROW) == (Status.PSA_ERROR_ALREADY_EXISTS, ())
    assert ok(service, WorkerPeer(PKCS11), KimMessage.LOOKUP, *NAME) == (RECORD.key_id, 1, ECDSA, b"", 1)


def test_a_frontend_speaks_for_its_uid(service: KimService, store: MappingStore) -> None:
    create(store, name("mine", "1000"))
    create(store, name("theirs", "1001"))
    assert ok(service, FrontendPeer(1001), KimMessage.LIST_KEYS, 3, "") == (((1, "theirs", ECDSA),),)
    assert ok(service, FrontendPeer(7), KimMessage.LIST_KEYS, 3, "") == ((),)
    forbidden(service, FRONTEND, KimMessage.LIST_KEYS, (3, "1001"))
    forbidden(service, FRONTEND, KimMessage.LIST_KEYS, (3, "1000"))
    forbidden(service, FRONTEND, KimMessage.LIST_CLIENTS, (3, "0"))


def test_direct_names_count_where_they_are_configured(store: MappingStore) -> None:
    create(store, name("key", "app", 1))
    both = KimService(alone(store), PROVIDERS, (UNIX, DIRECT))
    assert ok(both, FRONTEND, KimMessage.LIST_KEYS, 1, "app") == (((1, "key", ECDSA),),)
    forbidden(both, FRONTEND, KimMessage.LIST_KEYS, (1, ""))
    forbidden(KimService(alone(store), PROVIDERS, (UNIX,)), FRONTEND, KimMessage.LIST_KEYS, (1, "app"))
    forbidden(KimService(alone(store), PROVIDERS, (DIRECT,)), FRONTEND, KimMessage.LIST_KEYS, (3, ""))


@pytest.mark.parametrize("number", [KimMessage.LIST_KEYS, KimMessage.LIST_CLIENTS])
def test_other_authenticators_are_refused(store: MappingStore, number: KimMessage) -> None:
    every = tuple(AuthenticatorSettings(auth_type=kind, admins=("app", "1000")) for kind in range(256))
    service = KimService(alone(store), PROVIDERS, every)
    for authenticator, name_ in itertools.product(sorted({*range(256)} - {1, 3}), ("", "app")):
        if authenticator in TOKEN_AUTHENTICATORS and name_:
            # A handle that the identity process has not granted.
            assert answer(service, FRONTEND, number, (authenticator, name_)) == (Status.AUTHENTICATION_ERROR, ())
        else:
            forbidden(service, FRONTEND, number, (authenticator, name_))


def test_only_administrators_list_clients(service: KimService, store: MappingStore) -> None:
    create(store, name(application="1000"))
    refused = (Status.ADMIN_OPERATION, ())
    assert answer(service, FrontendPeer(1000), KimMessage.LIST_CLIENTS, (3, "")) == refused
    assert answer(service, FrontendPeer(1000), KimMessage.LIST_CLIENTS, (1, "admin")) == refused
    assert answer(service, FrontendPeer(0), KimMessage.LIST_CLIENTS, (1, "0")) == refused
    assert ok(service, FrontendPeer(0), KimMessage.LIST_CLIENTS, 3, "") == (("1000",),)
    assert ok(service, FRONTEND, KimMessage.LIST_CLIENTS, 1, "root") == ((),)


def test_administrators_list_clients_of_their_own_authenticator(service: KimService, store: MappingStore) -> None:
    """Whose keys a name means depends on who vouches for it, and so does who may see it."""
    for authenticator in KNOWN_AUTHENTICATORS:
        create(store, name(f"of {authenticator}", f"client of {authenticator}", authenticator), PKCS11)
    for peer, authenticator, claimed in ((FrontendPeer(0), 3, ""), (FRONTEND, 1, "root")):
        clients = ok(service, peer, KimMessage.LIST_CLIENTS, authenticator, claimed)
        assert clients == ((f"client of {authenticator}",),)


def test_failures_of_the_store_are_reported_and_refusals_are_not(path: Path) -> None:
    bad = mapping_row(name("bad"))
    bad[6] = 9
    reference_database(path, [bad])
    store = open_store(path)
    heard: list[ServiceError] = []
    service = KimService(alone(store), PROVIDERS, (UNIX,), on_failure=heard.append)
    answer(service, WORKER, KimMessage.LOOKUP, NAME)
    assert heard == []
    assert answer(service, WORKER, KimMessage.LOOKUP, (3, "1000", "bad")) == (Status.PSA_ERROR_DATA_CORRUPT, ())
    assert [error.status for error in heard] == [Status.PSA_ERROR_DATA_CORRUPT]
    assert "key id version 9" in heard[0].detail
    store._connection.close()
    heard.clear()
    assert answer(service, WORKER, KimMessage.LOOKUP, NAME) == (Status.KEY_INFO_MANAGER_ERROR, ())
    assert str(path) in heard[0].detail


def test_a_listing_that_is_too_long(service: KimService, store: MappingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client gets none of it; a worker gets some and comes again."""
    monkeypatch.setattr("cofferdam_kim.service.MAX_ANSWER", 64 << 10)
    for module in ("listings", "catalogue"):
        monkeypatch.setattr(f"cofferdam_kim.{module}.MAX_LISTING", 64 << 10)
    every = {f"{number:02}" + "x" * (MAX_KEY_NAME - 2) for number in range(20)}
    for key_name in every:
        create(store, name(key_name))
        create(store, name("key", application=key_name))
    assert answer(service, FRONTEND, KimMessage.LIST_KEYS, (3, "")) == (Status.RESPONSE_TOO_LARGE, ())
    assert answer(service, FrontendPeer(0), KimMessage.LIST_CLIENTS, (3, "")) == (Status.RESPONSE_TOO_LARGE, ())
    seen: list[str] = []
    while some := ok(service, WORKER, KimMessage.CLIENT_KEYS, 3, "1000")[0]:
        seen += some
        for known in some:
            store.mark_deleting(MBED, name(known))
    assert sorted(seen) == sorted(every)
    assert ok(service, FRONTEND, KimMessage.LIST_KEYS, 3, "") == ((),)


def test_an_application_has_a_quota(store: MappingStore) -> None:
    store._max_keys = 2
    create(store, name("one"))
    store.reserve(MBED, name("two"), PLANNED)
    with pytest.raises(ServiceError) as caught:
        store.reserve(MBED, name("three"), PLANNED)
    assert caught.value.status is Status.PSA_ERROR_INSUFFICIENT_STORAGE
    store.reserve(MBED, name("three", application="2000"), PLANNED)
    store.cancel(MBED, name("two"))
    store.reserve(MBED, name("three"), PLANNED)


def channel(role: int, number: int, *, uid: int = 0) -> DownstreamChannel:
    return DownstreamChannel(role, uid, number, serial=1, adopted=False, descriptor=-1)


def test_peers_of_channels(store: MappingStore) -> None:
    """A worker gets the rows of its own provider, in whatever order the providers are configured."""
    for order in itertools.permutations((PKCS11, MBED, TPM)):
        service = KimService(alone(store), order, ())
        assert service.peer(channel(Role.FRONTEND, 0, uid=1234)) == FrontendPeer(1234, serial=1)
        found = [service.peer(channel(role, 0)) for role in (Role.SOFTWARE_WORKER, Role.PKCS11_WORKER, Role.TPM_WORKER)]
        assert found == [WorkerPeer(MBED), WorkerPeer(PKCS11), WorkerPeer(TPM)]


@pytest.mark.parametrize("role", [Role.TPM_WORKER, Role.KIM, Role.CONFIG, 200])
def test_others_have_no_questions(store: MappingStore, role: int) -> None:
    with pytest.raises(ValueError, match="a channel to role"):
        KimService(alone(store), (PKCS11, MBED), ()).peer(channel(role, 0))


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.binary(max_size=50) | st.floats()


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    peer=st.sampled_from([WORKER, FRONTEND]),
    number=st.sampled_from(KimMessage) | st.integers(0, 255),
    fields=st.lists(SCALARS | st.tuples(SCALARS), max_size=7).map(tuple) | st.sampled_from(list(GOOD.values())),
)
def test_anything_is_answered_or_forbidden(
    service: KimService, peer: Peer, number: int, fields: tuple[Any, ...]
) -> None:
    try:
        status, found = answer(service, peer, number, fields)
    except ForbiddenMessageError:
        return
    assert SCHEMAS[KimMessage(number)].asker is peer.asker
    assert status is Status.SUCCESS or found == ()
