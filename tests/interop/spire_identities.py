"""JWT-SVIDs of SPIRE as identities of the service's clients: two trust domains, rotation, revocation, a lost agent."""

import os

from tests.harness.service import Service
from tests.harness.watch import wait_for
from tests.interop import spire
from tests.interop.report import Report

from cofferdam_client import (
    AsymmetricSignature,
    Client,
    Curve,
    Hash,
    JwtSvid,
    ServiceStatusError,
    SignatureScheme,
    ecc_signing_key,
)
from cofferdam_contracts.status import Status

HOME, OTHER = "example.org", "other.example"
SIGNING = AsymmetricSignature(SignatureScheme.ECDSA, Hash.SHA_256)
KEY = ecc_signing_key(Curve.P_256, Hash.SHA_256)


def run(report: Report) -> None:
    """Use keys as workloads of SPIRE."""
    programs = spire.build()
    with (
        spire.SpireServer(programs, HOME) as server,
        spire.SpireAgent(programs, server) as agent,
    ):
        service = Service()
        _configure(service, agent)
        with service:
            _follow(server, agent, service, report)


def _configure(service: Service, agent: spire.SpireAgent) -> None:
    service.configure(
        {},
        f"""
[[additional_authenticator]]
auth_type = "JwtSvid"
workload_endpoint = "{agent.endpoint}"
trust_domains = ["{HOME}"]

[identity]
revocations = "{service.folder}/identity/revocations.toml"
""",
    )


def _fetcher_uid(service: Service) -> int:
    if os.geteuid() != 0:
        return os.geteuid()
    (row,) = service.rows("fetcher")
    assert row["uid"] is not None
    return row["uid"]


def _follow(server: spire.SpireServer, agent: spire.SpireAgent, service: Service, report: Report) -> None:
    fetcher, mine = _fetcher_uid(service), os.geteuid()
    with report.check("SPIRE: without keys of the trust domain a token is refused"):
        if fetcher != mine:
            server.register("workload", mine)
            assert _status(service, agent.token()) == Status.AUTHENTICATION_ERROR
    server.register("fetcher", fetcher)
    name = "workload" if fetcher != mine else "fetcher"
    with report.check("SPIRE: a workload makes and uses a key as its SPIFFE ID"):
        wait_for(lambda: "the keys of an issuer are in force" in service.log(), 60)
        with _client(service, agent.token()) as client:
            client.generate_key("key of a workload", KEY)
            assert client.sign_hash("key of a workload", bytes(32), SIGNING)
    with report.check("SPIRE: another token of the workload finds the key, another uid's client does not"):
        with _client(service, agent.token()) as client:
            assert [key.name for key in client.list_keys()] == ["key of a workload"]
        with service.client() as plain:
            assert [key.name for key in plain.list_keys()] == []
    with report.check("SPIRE: a token for another audience is refused"):
        assert _status(service, agent.token(audience="other")) == Status.AUTHENTICATION_ERROR
    with report.check("SPIRE: tokens of a new key are taken as soon as there are any"):
        before = agent.token()
        old = server.rotate()
        wait_for(lambda: service.log().count("the keys of an issuer are in force") >= 2, 60)
        assert _status(service, before) == Status.SUCCESS
    with report.check("SPIRE: a key that is revoked ends the tokens that it has signed"):
        server.revoke(old)
        wait_for(lambda: _status(service, before) == Status.AUTHENTICATION_ERROR, 60)
        wait_for(lambda: _status(service, agent.token()) == Status.SUCCESS, 60)
    with report.check("SPIRE: without its agent the service goes on, and follows the next one"):
        token = agent.token()
        agent.kill()
        assert _status(service, token) == Status.SUCCESS
        agent.start()
        server.rotate()
        wait_for(lambda: service.log().count("the keys of an issuer are in force") >= 4, 90)
    with report.check("SPIRE: a subject that is revoked is refused for good"):
        wait_for(lambda: _status(service, agent.token()) == Status.SUCCESS, 60)
        path = service.folder / "identity" / "revocations.toml"
        path.parent.mkdir(mode=0o755, exist_ok=True)
        path.write_text(f'[[revocation]]\nsubject = "spiffe://{HOME}/{name}"\n')
        path.chmod(0o644)
        wait_for(lambda: _status(service, agent.token()) == Status.AUTHENTICATION_ERROR)


def _client(service: Service, token: str) -> Client:
    return Client(service.endpoint, auth=JwtSvid(token))


def _status(service: Service, token: str) -> Status | int:
    """Return how a listing of keys ends with a token."""
    with _client(service, token) as client:
        try:
            client.list_keys()
        except ServiceStatusError as error:
            return error.status
    return Status.SUCCESS
