"""Clients of several uids and authenticators, each of which may see its own keys only.

    everybody = people()
    for who in everybody: who.make(path, "k")
    check(path, everybody)

Every identity has a key of the same name, so that an answer for somebody else is a wrong signature, not an error.
"""

import os
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from tests.harness import wire
from tests.harness.answers import der_of
from tests.harness.service import acting_as
from tests.harness.wire import DIRECT, ECDSA_SHA_256, P256_SIGN, UNIX_PEER, Caller, Request, Response, call

AS_ROOT: Final = os.geteuid() == 0
OTHERS: Final = (59002, 59003)
"""Uids of further clients where root can be somebody else."""
DOES_NOT_EXIST: Final = 1140


@dataclass(frozen=True)
class Identity:
    """An owner of keys: a uid, and with Direct the name that its clients send."""

    uid: int
    direct: str = ""
    keys: dict[str, bytes] = field(default_factory=dict, compare=False)
    """The public points of the keys that were made, by name."""

    @property
    def title(self) -> str:
        """Return its name in messages of failed tests."""
        return f"{self.direct or 'peer'}@{self.uid}"

    def request(self, request: Request) -> Request:
        """Return a request with the credentials of this identity."""
        if self.direct:
            return request.but(auth_type=DIRECT, auth=self.direct.encode())
        return request.but(auth_type=UNIX_PEER, auth=wire.unix_auth(self.uid))

    def call(self, path: str, request: Request) -> Response:
        """Connect as the uid, and send a request with the credentials of this identity."""
        with acting_as(self.uid):
            return call(path, self.request(request))

    def make(self, path: str, name: str) -> None:
        """Generate a signing key, and remember its public point."""
        caller = Caller(self.uid)
        assert self.call(path, caller.generate(name, P256_SIGN)).status == 0
        exported = self.call(path, caller.request(wire.EXPORT_PUBLIC_KEY, wire.blob(1, name.encode())))
        assert exported.status == 0
        self.keys[name] = wire.first_blob(exported.body)

    def sign(self, path: str, name: str, digest: bytes) -> Response:
        """Ask for a signature."""
        return self.call(path, Caller(self.uid).sign(name, ECDSA_SHA_256, digest))

    def listed(self, path: str) -> set[str]:
        """Return the names of the keys that the service lists."""
        answer = self.call(path, Caller(self.uid).request(wire.LIST_KEYS, provider=wire.CORE))
        assert answer.status == 0, (self.title, answer.status)
        infos = [value for number, value in wire.fields(answer.body) if number == 1]
        return {wire.first_blob(info, 2).decode() for info in infos if isinstance(info, bytes)}


def people() -> list[Identity]:
    """Return identities that must never be taken for each other, with keys yet to be made.

    Names of Direct are the uids of the others: an authenticator that is forgotten makes them the same.
    """
    uids = [os.getuid(), *(OTHERS if AS_ROOT else ())]
    return [*(Identity(uid) for uid in uids), Identity(uids[-1], str(uids[0])), Identity(uids[0], str(OTHERS[0]))]


def verifies(point: bytes, signature: bytes, digest: bytes) -> bool:
    """Return whether a signature was made by the key with this public point."""
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    try:
        public.verify(der_of(signature), digest, ec.ECDSA(Prehashed(hashes.SHA256())))
    except InvalidSignature:
        return False
    return True


def check(path: str, everybody: list[Identity]) -> None:
    """Check that each lists its own keys, signs with them, and reaches no key of the others."""
    names = {name for who in everybody for name in who.keys}
    for who in everybody:
        assert who.listed(path) == set(who.keys), who.title
        for name in sorted(names):
            digest = os.urandom(32)
            answer = who.sign(path, name, digest)
            if name not in who.keys:
                assert answer.status == DOES_NOT_EXIST, (who.title, name, answer.status)
                continue
            assert answer.status == 0, (who.title, name, answer.status)
            signature = wire.first_blob(answer.body)
            signers = [
                other.title
                for other in everybody
                if name in other.keys and verifies(other.keys[name], signature, digest)
            ]
            assert signers == [who.title], (who.title, name)
