"""A worker that dies at any named step of create or destroy: nothing acknowledged is lost, nothing destroyed works."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.providers.base.device import ATTRIBUTES, LOG, Device, key_store

from cofferdam_contracts.identity import Application, KeyIdentity
from cofferdam_contracts.registry import AuthType
from cofferdam_contracts.status import ServiceError, Status
from cofferdam_providers.base.keyring import Keyring
from cofferdam_providers.base.kim_client import KimClient

APPLICATION = Application(AuthType.UNIX_PEER_CREDENTIALS, "1000")
IDENTITY = KeyIdentity(AuthType.UNIX_PEER_CREDENTIALS, "1000", "k")
CREATE = (
    "before reserve",
    "after reserve",
    "before the device makes it",
    "after the device made it",
    "before activate",
    "after activate",
    "acknowledged",
)
DESTROY = (
    "before mark_deleting",
    "after mark_deleting",
    "before the device destroys it",
    "after the device destroyed it",
    "before remove",
    "after remove",
    "acknowledged",
)


class Died(BaseException):
    """The worker dies at this point."""


class Mortal:
    """A key store client whose owner dies before or after a question."""

    def __init__(self, store: KimClient, step: Callable[[str], None]) -> None:
        self._store = store
        self._step = step

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        method = getattr(self._store, name)

        def ask(*arguments: object) -> object:
            self._step(f"before {name}")
            answer = method(*arguments)
            self._step(f"after {name}")
            return answer

        return ask


def die_at(name: str) -> Callable[[str], None]:
    def step(reached: str) -> None:
        if reached == name:
            raise Died(name)

    return step


def ring(store: Any, device: Device) -> Keyring[bytes]:  # noqa: ANN401  a client, mortal or not
    return Keyring(device, store, 16, LOG)


def create(keyring: Keyring[bytes], device: Device) -> None:
    planned = keyring.begin(IDENTITY, ATTRIBUTES)
    keyring.finish(IDENTITY, device.generate_key(IDENTITY, ATTRIBUTES, planned))


def resolve(keyring: Keyring[bytes]) -> None:
    for _ in keyring.reconcile():
        pass


def check_consistent(store: KimClient, device: Device) -> bool:
    """Return whether the key is there; it must be usable then, and leave nothing behind otherwise."""
    successor = ring(store, device)
    resolve(successor)
    assert not successor.unresolved
    assert list(store.pending()) == []
    try:
        key = successor.get(APPLICATION, "k")
    except ServiceError as error:
        assert error.status is Status.PSA_ERROR_DOES_NOT_EXIST
        assert device.objects == {}
        return False
    assert list(device.objects) == [key.handle]
    return True


@pytest.mark.parametrize("name", CREATE)
def test_dying_while_creating(name: str, tmp_path: Path) -> None:
    step = die_at(name)
    objects: dict[bytes, bytes] = {}
    with key_store(tmp_path) as store:
        try:
            create(ring(Mortal(store, step), Device(objects, step)), Device(objects, step))
            step("acknowledged")
        except Died as died:
            assert str(died) == name
        else:
            pytest.fail("the step was never reached")
        there = check_consistent(store, Device(objects))
        assert there == (name in {"after activate", "acknowledged"})
        if not there:
            create(ring(store, Device(objects)), Device(objects))
            assert check_consistent(store, Device(objects))


@pytest.mark.parametrize("name", DESTROY)
def test_dying_while_destroying(name: str, tmp_path: Path) -> None:
    step = die_at(name)
    objects: dict[bytes, bytes] = {}
    with key_store(tmp_path) as store:
        create(ring(store, Device(objects)), Device(objects))
        try:
            ring(Mortal(store, step), Device(objects, step)).destroy(APPLICATION, "k")
            step("acknowledged")
        except Died as died:
            assert str(died) == name
        else:
            pytest.fail("the step was never reached")
        assert check_consistent(store, Device(objects)) == (name == "before mark_deleting")


def test_a_device_that_refuses_leaves_the_name_free(tmp_path: Path) -> None:
    objects: dict[bytes, bytes] = {}
    device = Device(objects)
    with key_store(tmp_path) as store:
        keyring = ring(store, device)
        keyring.begin(IDENTITY, ATTRIBUTES)
        keyring.abandon(IDENTITY)
        assert not check_consistent(store, device)


class Drawing(Device):
    """A device that plans these ids, one after the other."""

    def __init__(self, *ids: bytes) -> None:
        super().__init__({})
        self.ids = list(ids)

    def plan_key_id(self) -> bytes:
        return self.ids.pop(0)


def test_another_id_is_planned_for_one_that_a_key_has_whose_object_vanished(tmp_path: Path) -> None:
    other = KeyIdentity(AuthType.UNIX_PEER_CREDENTIALS, "1001", "k")
    device = Drawing(b"\1", b"\1", b"\1", b"\2", *[b"\1", b"\2"] * 8, b"\3")
    with key_store(tmp_path) as store:
        keyring = ring(store, device)
        create(keyring, device)
        device.objects.clear()
        assert keyring.begin(other, ATTRIBUTES) == b"\2"
        third = KeyIdentity(AuthType.UNIX_PEER_CREDENTIALS, "1001", "third")
        with pytest.raises(ServiceError) as caught:
            keyring.begin(third, ATTRIBUTES)
        assert caught.value.status is Status.PSA_ERROR_INSUFFICIENT_STORAGE
        assert keyring.begin(third, ATTRIBUTES) == b"\3"


def test_a_name_that_is_being_made_is_taken(tmp_path: Path) -> None:
    device = Device({})
    with key_store(tmp_path) as store:
        keyring = ring(store, device)
        keyring.begin(IDENTITY, ATTRIBUTES)
        with pytest.raises(ServiceError) as caught:
            keyring.begin(IDENTITY, ATTRIBUTES)
        assert caught.value.status is Status.PSA_ERROR_ALREADY_EXISTS


def test_reconcile_leaves_alone_what_is_under_way(tmp_path: Path) -> None:
    device = Device({})
    with key_store(tmp_path) as store:
        keyring = ring(store, device)
        planned = keyring.begin(IDENTITY, ATTRIBUTES)
        resolve(keyring)
        keyring.finish(IDENTITY, device.generate_key(IDENTITY, ATTRIBUTES, planned))
        assert keyring.get(APPLICATION, "k").handle == planned


def test_the_cache_is_bounded_and_forgets_destroyed_keys(tmp_path: Path) -> None:
    device = Device({})
    with key_store(tmp_path) as store:
        keyring = Keyring(device, store, 2, LOG)
        for name in "abc":
            identity = KeyIdentity(3, "1000", name)
            planned = keyring.begin(identity, ATTRIBUTES)
            keyring.finish(identity, device.generate_key(identity, ATTRIBUTES, planned))
            keyring.get(APPLICATION, name)
        assert len(keyring._ready) == 2
        keyring.destroy(APPLICATION, "c")
        assert len(keyring._ready) == 1
        with pytest.raises(ServiceError):
            keyring.get(APPLICATION, "c")
