"""Identities by token through the whole service: real processes, real tokens, real confinement."""

import json
import os
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.harness.interpreter import cofferdam
from tests.harness.service import Service
from tests.harness.watch import wait_for
from tests.identity import forge
from tests.identity.forge import Signer, signer

from cofferdam_client import (
    AsymmetricSignature,
    Client,
    Curve,
    Hash,
    Jwt,
    ServiceStatusError,
    SignatureScheme,
    ecc_signing_key,
)
from cofferdam_contracts.status import Status
from cofferdam_identity.tokens import token_hash

SIGNING = AsymmetricSignature(SignatureScheme.ECDSA, Hash.SHA_256)
KEY = ecc_signing_key(Curve.P_256, Hash.SHA_256)
REFUSED = Status.AUTHENTICATION_ERROR


class Issuer:
    """An issuer whose keys are in a file, and a service that trusts it."""

    def __init__(self) -> None:
        self.service = Service(admins=())
        self.folder = self.service.folder / "trust"
        self.folder.mkdir(mode=0o755)
        self.keys, self.revocations = self.folder / "keys.json", self.folder / "revocations.toml"
        self.publish(signer())
        self.service.configure(
            {},
            f"""
[[additional_authenticator]]
auth_type = "Jwt"
issuer = "{forge.ISSUER}"
audience = ["parsec"]
key_file = "{self.keys}"
admins = [{{ name = "boss" }}]

[identity]
revocations = "{self.revocations}"
""",
        )

    def publish(self, *signers: Signer) -> None:
        """Replace the file with the keys, as an administrator should, and wait until a running service has it."""
        before = self.in_force()
        self.replace(self.keys, json.dumps({"keys": [one.jwk() for one in signers]}))
        if before:
            wait_for(lambda: self.in_force() > before)

    def in_force(self) -> int:
        """Return how often keys have come into force."""
        return self.service.log().count("the keys of an issuer are in force") if self.service.log_path.exists() else 0

    def replace(self, path: Path, text: str) -> None:
        fresh = path.with_suffix(".new")
        fresh.write_text(text)
        fresh.chmod(0o644)
        fresh.replace(path)

    def revoke(self, text: str) -> None:
        self.replace(self.revocations, f"[[revocation]]\n{text}\n")

    def token(self, name: str = "app", *, by: Signer | None = None, **changes: object) -> str:
        now = time.time()
        claims = forge.jwt_claims(sub=name, iat=now, exp=now + 300, **changes)
        return (by or signer()).token(claims).decode()

    @contextmanager
    def client(self, name: str = "app", *, token: str | None = None) -> Iterator[Client]:
        with Client(self.service.endpoint, auth=Jwt(token or self.token(name))) as client:
            yield client


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    with made.service:
        yield made


def refused(client: Client) -> bool:
    """Tell whether a use of a key is refused for its identity; anything else is not expected."""
    try:
        client.list_keys()
    except ServiceStatusError as error:
        assert error.status == REFUSED
        return True
    return False


def pid_of(service: Service, role: str) -> int:
    """Return the pid of a process that is ready or answers a sign of life; 0 while there is none."""
    states = {"ready", "asked"}
    return next((row["pid"] for row in service.rows(role) if row["state"] in states), 0)


def test_a_token_is_an_identity_of_its_own(issuer: Issuer) -> None:
    with issuer.client("one") as one, issuer.client("two") as two, issuer.service.client() as plain:
        one.generate_key("mine", KEY)
        signature = one.sign_hash("mine", bytes(32), SIGNING)
        assert signature
        assert [key.name for key in one.list_keys()] == ["mine"]
        for other in (two, plain):
            assert "mine" not in [key.name for key in other.list_keys()]
            with pytest.raises(ServiceStatusError) as caught:
                other.sign_hash("mine", bytes(32), SIGNING)
            assert caught.value.status == Status.PSA_ERROR_DOES_NOT_EXIST
        with issuer.client("one") as again:
            assert again.sign_hash("mine", bytes(32), SIGNING)


def test_authenticators_are_listed_in_the_configured_order(issuer: Issuer) -> None:
    with issuer.service.client() as client:
        assert [entry.id for entry in client.list_authenticators()] == [3, 2]


def test_each_authenticator_has_its_own_administrators(issuer: Issuer) -> None:
    with issuer.client("doomed") as doomed, issuer.client("boss") as boss:
        doomed.generate_key("last", KEY)
        with pytest.raises(ServiceStatusError) as caught:
            doomed.list_clients()
        assert caught.value.status == Status.ADMIN_OPERATION
        assert "doomed" in boss.list_clients()
        boss.delete_client("doomed")
        assert doomed.list_keys() == []


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"aud": "other"}, "aud"),
        ({"iss": "https://other.example"}, "iss"),
        ({"by": signer(kid="unknown")}, "key"),
    ],
)
def test_a_bad_token_is_refused_and_said_without_the_token(
    issuer: Issuer, changes: dict[str, object], check: str
) -> None:
    token = issuer.token(**changes)  # type: ignore[arg-type]
    with issuer.client(token=token) as client:
        assert refused(client)
    wait_for(lambda: f"token={token_hash(token.encode())}" in issuer.service.log())
    log = issuer.service.log()
    assert f'event="a token is refused" check={check}' in log
    assert token not in log


def test_what_is_revoked_is_refused_from_the_next_request_on(issuer: Issuer) -> None:
    with issuer.client("gone") as client:
        assert not refused(client)
        issuer.revoke('subject = "gone"')
        wait_for(lambda: refused(client))
        with issuer.client("gone") as fresh, issuer.client("other") as other:
            assert refused(fresh)
            assert not refused(other)
    issuer.replace(issuer.revocations, "")


def test_the_command_revokes_what_the_log_names(issuer: Issuer) -> None:
    token = issuer.token("stolen")
    with issuer.client(token=token) as thief, issuer.client("stolen") as owner:
        assert not refused(thief)
        command = [*cofferdam(), "revoke", "--file", str(issuer.revocations)]
        done = subprocess.run(
            [*command, "--token", token_hash(token.encode())], check=True, capture_output=True, text=True
        )
        assert done.stdout.startswith("Revoked: token ")
        wait_for(lambda: refused(thief))
        assert not refused(owner), "another token of the same application"
        listed = subprocess.run([*command, "--list"], check=True, capture_output=True, text=True).stdout
        assert listed == f"token {token_hash(token.encode())}\n"
        assert stat.S_IMODE(issuer.revocations.stat().st_mode) == 0o644
        again = subprocess.run([*command, "--token", "/nonexistent"], check=False, capture_output=True, text=True)
        assert (again.returncode, again.stdout) == (1, "")
        assert "/nonexistent" in again.stderr
    issuer.replace(issuer.revocations, "")


def test_keys_are_rotated_while_clients_are_served(issuer: Issuer) -> None:
    second = signer(kid="second")
    with issuer.client("turn") as old, issuer.client(token=issuer.token("turn", by=second)) as new:
        assert not refused(old)
        assert refused(new)
        issuer.publish(signer(), second)
        wait_for(lambda: not refused(new))
        assert not refused(old)
        issuer.publish(second)
        wait_for(lambda: refused(old))
        assert not refused(new)
    issuer.publish(signer())


def test_a_file_that_is_none_keeps_the_keys_from_before(issuer: Issuer) -> None:
    issuer.replace(issuer.keys, "{")
    wait_for(lambda: "the keys of an issuer cannot be used" in issuer.service.log())
    with issuer.client("kept") as client:
        assert not refused(client)
    issuer.publish(signer(), signer(kid="third"))


@pytest.mark.parametrize("role", ["identity", "worker[software]", "kim"])
def test_identities_survive_the_death_of_any_process(issuer: Issuer, role: str) -> None:
    with issuer.client("survivor") as client:
        name = f"lasting {role}"
        client.generate_key(name, KEY)
        assert client.sign_hash(name, bytes(32), SIGNING)
        before = pid_of(issuer.service, role)
        os.kill(before, signal.SIGKILL)
        wait_for(lambda: pid_of(issuer.service, role) not in {0, before})
        assert client.sign_hash(name, bytes(32), SIGNING)
        assert name in [key.name for key in client.list_keys()]


def test_a_reload_keeps_clients_with_tokens(issuer: Issuer) -> None:
    with issuer.client("through") as client:
        assert not refused(client)
        before = pid_of(issuer.service, "identity")
        issuer.service.signal(signal.SIGHUP)
        wait_for(lambda: issuer.service.is_ready() and pid_of(issuer.service, "identity") not in {0, before})
        assert not refused(client)


def test_the_identity_process_is_confined_as_the_others(issuer: Issuer) -> None:
    wait_for(lambda: pid_of(issuer.service, "identity") != 0)
    (row,) = issuer.service.rows("identity")
    assert row["level"] == ("uid" if os.geteuid() == 0 else "landlock")
