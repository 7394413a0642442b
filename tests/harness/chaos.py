"""Every process is a victim, several uids work all along, and a history of each key says what must be true afterwards.

Each client keeps a model of its keys: a name is absent, or present with a public point. An answer binds: what was
acknowledged is there, signatures are those of the recorded key, a listing is the model, and nobody reaches anybody
else's key. An operation whose answer was lost, or says that nobody knows, may or may not have happened; its name is not
used again, and is looked at when all is quiet. The next victim dies when every client has got something done since the
last one: what counts is work, not time.
"""

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from tests.harness import wire
from tests.harness.identities import AS_ROOT, DOES_NOT_EXIST, OTHERS, verifies
from tests.harness.pkcs11.service import PROVIDER as TOKEN
from tests.harness.pkcs11.service import WORKER as TOKEN_WORKER
from tests.harness.pkcs11.service import TokenService
from tests.harness.pkcs11.token import Object, Token, objects
from tests.harness.service import Service, acting_as
from tests.harness.watch import wait_for
from tests.harness.wire import ECDSA_SHA_256, P256_SIGN, SOFTWARE, Caller, Request, Response

UNCERTAIN: Final = frozenset({1145, 14, 15, 1132, 4})
"""The outcome is unknown: communication failure, key store, connection, hardware; or the provider is down."""
MOST_KEYS: Final = 12
"""Keys of one client at a time: a token is slow with many."""
ROLES: Final = ("frontend", "worker[software]", TOKEN_WORKER, "kim", "broker")

_one_at_a_time: Final = threading.Lock()
"""Acting as another uid affects all threads of the process."""


@dataclass
class Actor:
    """A client with the model of its keys."""

    path: str
    uid: int
    provider: int
    seed: int
    present: dict[str, bytes] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)
    done: int = 0
    """Number of binding responses."""
    others: list["Actor"] = field(default_factory=list)

    def run(self, stop: threading.Event) -> None:
        """Perform random operations until told to stop."""
        chance = random.Random(self.seed)
        count = 0
        while not stop.is_set():
            count += 1
            kinds: list[Callable[[random.Random], None]] = [self._use, self._use, self._list, self._reach_over]
            if len(self.present) < MOST_KEYS:
                kinds.append(lambda _chance, number=count: self._create(f"{self.uid}-{self.provider}-{number}"))  # type: ignore[misc]
            if len(self.present) > 2:
                kinds.append(self._destroy)
            chance.choice(kinds)(chance)

    def _call(self, request: Request) -> Response | None:
        """Return a binding response, None if there is none."""
        try:
            with _one_at_a_time, acting_as(self.uid):
                connection = wire.connect(self.path)
            with connection:
                connection.sendall(request.to_bytes())
                response = wire.read_response(connection)
        except (OSError, wire.BrokenResponseError):
            return None
        if response.status in UNCERTAIN:
            return None
        self.done += 1
        return response

    @property
    def _caller(self) -> Caller:
        return Caller(self.uid, provider=self.provider)

    def _create(self, name: str) -> None:
        response = self._call(self._caller.generate(name, P256_SIGN))
        if response is None:
            self.unknown.add(name)
            return
        self._expect(response, name, 0)
        while (
            exported := self._call(self._caller.request(wire.EXPORT_PUBLIC_KEY, wire.blob(1, name.encode())))
        ) is None:
            pass
        self._expect(exported, name, 0)
        self.present[name] = wire.first_blob(exported.body)

    def _use(self, chance: random.Random) -> None:
        name = chance.choice([*self.present, *self.absent, "never made"])
        self.sign(name)

    def sign(self, name: str) -> bool:
        """Ask for a signature and judge the answer; tell whether there was one."""
        digest = os.urandom(32)
        response = self._call(self._caller.sign(name, ECDSA_SHA_256, digest))
        if response is None:
            return False
        self._expect(response, name, 0 if name in self.present else DOES_NOT_EXIST)
        if name in self.present and not verifies(self.present[name], wire.first_blob(response.body), digest):
            self.complaints.append(f"{name}: signed with another key")
        return True

    def _destroy(self, chance: random.Random) -> None:
        name = chance.choice(list(self.present))
        response = self._call(self._caller.destroy(name))
        del self.present[name]
        if response is None:
            self.unknown.add(name)
            return
        self._expect(response, name, 0)
        self.absent.add(name)

    def _list(self, _chance: random.Random) -> None:
        self.listing()

    def listing(self) -> set[str] | None:
        """Return the names that the service lists for this provider, and judge them; None without an answer."""
        response = self._call(self._caller.request(wire.LIST_KEYS, provider=wire.CORE))
        if response is None:
            return None
        self._expect(response, "the listing", 0)
        names = set(_names(response.body, self.provider))
        if missing := self.present.keys() - names:
            self.complaints.append(f"not listed: {sorted(missing)}")
        if foreign := names - self.present.keys() - self.unknown:
            self.complaints.append(f"listed: {sorted(foreign)}")
        return names

    def _reach_over(self, chance: random.Random) -> None:
        """Try to use a key of another client by its name."""
        name = chance.choice([name for other in self.others for name in list(other.present)] or ["never made"])
        for request in (self._caller.sign(name, ECDSA_SHA_256, bytes(32)), self._caller.destroy(name)):
            if (response := self._call(request)) is not None:
                self._expect(response, f"another's {name}", DOES_NOT_EXIST)

    def settle(self) -> None:
        """Once nothing is in flight, determine the outcome of the operations whose outcome is unknown."""
        names = self.listing()
        assert names is not None, "no listing though all is quiet"
        for name in sorted(self.unknown):
            digest = os.urandom(32)
            response = self._call(self._caller.sign(name, ECDSA_SHA_256, digest))
            assert response is not None, name
            self._expect(response, f"{name}, which may be there", 0 if name in names else DOES_NOT_EXIST)
        for name in self.present:
            assert self.sign(name), name
        for name in names:
            response = self._call(self._caller.destroy(name))
            if response is None or response.status:
                self.complaints.append(f"{name} cannot be destroyed: {response}")
        self.present.clear()
        self.unknown.clear()

    def _expect(self, response: Response, name: str, status: int) -> None:
        if response.status != status:
            self.complaints.append(f"{name}: status {response.status} instead of {status}")


def _names(body: bytes, provider: int) -> Iterator[str]:
    for number, info in wire.fields(body):
        if number == 1 and isinstance(info, bytes) and dict(wire.fields(info)).get(1) == provider:
            yield wire.first_blob(info, 2).decode()


def victims(chance: random.Random) -> Iterator[str]:
    """Yield roles, each once before any comes again."""
    while True:
        roles = list(ROLES)
        chance.shuffle(roles)
        yield from roles


def unleash(seed: int, goes_on: Callable[[int], bool], steps: int = 3) -> tuple[int, int]:
    """Kill processes as long as `goes_on`, given how many were killed, says so; return deaths and binding answers.

    Args:
        seed: Of every choice.
        goes_on: Asked before each death.
        steps: Binding answers that every client gets between two deaths.

    Raises:
        AssertionError: Something was lost, forged or shown; its text has the seed.
    """
    chance = random.Random(seed)
    with TokenService() as token:
        service = token.service
        uids = [os.getuid(), *(OTHERS if AS_ROOT else ())]
        actors = [
            Actor(service.socket_path, uid, provider, chance.randrange(1 << 32))
            for uid in uids
            for provider in (SOFTWARE, TOKEN)
        ]
        for actor in actors:
            actor.others = [other for other in actors if other.uid != actor.uid or other.provider != actor.provider]
        stop = threading.Event()
        threads = [threading.Thread(target=actor.run, args=(stop,)) for actor in actors]
        for thread in threads:
            thread.start()
        killed = 0
        try:
            for role in victims(chance):
                if not goes_on(killed):
                    break
                _wait_for_work(service, actors, steps)
                _kill(service, role, chance)
                killed += 1
            _wait_for_work(service, actors, steps)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        wait_for(lambda: _is_well(service))
        for actor in actors:
            actor.settle()
        complaints = [complaint for actor in actors for complaint in actor.complaints]
        assert complaints == [], (seed, complaints, service.log())
        # What a killed worker had half-made goes when its successor next resolves such keys.
        wait_for(lambda: not _named(token.token), 60, lambda: (seed, objects(token.token)))
        service.stop()
        return killed, sum(actor.done for actor in actors)


def _named(token: Token) -> list[Object]:
    """Return the objects that have an id or a label.

    SoftHSM writes an object in steps. One whose maker is killed in between has neither, and nobody knows whose it is.
    """
    return [found for found in objects(token) if found.id or found.label]


def _wait_for_work(service: Service, actors: list[Actor], steps: int) -> None:
    before = [actor.done for actor in actors]
    # A provider that died often has its next try after half a minute.
    wait_for(
        lambda: all(actor.done >= done + steps for actor, done in zip(actors, before, strict=True)),
        100,
        lambda: ([actor.done - done for actor, done in zip(actors, before, strict=True)], service.log()),
    )


def _kill(service: Service, role: str, chance: random.Random) -> None:
    with _one_at_a_time:
        if role == "broker":
            service.kill()
            service.start()
            return
        pids = service.pids(role)
        if pids:
            pid = chance.choice(pids)
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it died of something else


def _is_well(service: Service) -> bool:
    rows = service.status()["processes"]
    return {"kim", "worker[software]", TOKEN_WORKER} <= {row["role"] for row in rows if row["state"] == "ready"}
