"""The client of the Workload API against SPIRE: bundles, rotations, an agent that dies."""

import base64
import json
import os
from collections.abc import Callable

from tests.fetcher.turns import Heard, turn
from tests.interop import spire
from tests.interop.report import Report

from cofferdam_contracts.endpoints import parse_endpoint
from cofferdam_fetcher.limits import USUAL
from cofferdam_fetcher.workload_api import WorkloadApi
from cofferdam_runtime.loop import Loop

HOME, OTHER = "example.org", "other.example"


def run(report: Report) -> None:
    """Follow the bundles of two trust domains through all that happens to them."""
    programs = spire.build()
    with spire.SpireServer(programs, HOME) as server, spire.SpireServer(programs, OTHER) as other:
        server.federate(other)
        with spire.SpireAgent(programs, server) as agent:
            _follow(server, other, agent, report)


def _follow(server: spire.SpireServer, other: spire.SpireServer, agent: spire.SpireAgent, report: Report) -> None:
    loop, heard = Loop(), Heard()
    source = WorkloadApi(loop, parse_endpoint(agent.endpoint), heard.reports, USUAL._replace(longest_pause_s=0.5))

    def until(done: Callable[[], bool]) -> None:
        turn(loop, source, done)

    source.start()
    with report.check(f"SPIRE {spire.VERSION}: a process that is no workload is told what to do"):
        until(lambda: bool(heard.failed))
        assert "PERMISSION_DENIED" in heard.failed[0], heard.failed
        assert "register the uid" in heard.failed[0], heard.failed
    server.register("fetcher", os.geteuid(), OTHER)
    with report.check("SPIRE: the bundles of both trust domains come"):
        until(lambda: {HOME, OTHER} <= dict(heard.found).keys())
        assert _keys(heard, HOME) == {server.authorities()["active"]["authority_id"]}
        assert _keys(heard, OTHER) == {other.authorities()["active"]["authority_id"]}
    with report.check("SPIRE: a token for a workload is signed with one of these keys"):
        header = agent.token().partition(".")[0]
        assert _key_of(header) in _keys(heard, HOME)
    with report.check("SPIRE: a new key comes when it is made, and the old one goes when it is revoked"):
        old = server.rotate()
        until(lambda: len(_keys(heard, HOME)) == 2)
        server.revoke(old)
        until(lambda: old not in _keys(heard, HOME))
        assert len(_keys(heard, HOME)) == 1
    with report.check("SPIRE: an agent that was killed is found again, and the new keys with it"):
        agent.kill()
        failures = len(heard.failed)
        until(lambda: len(heard.failed) > failures)
        active = server.rotate()
        agent.start()
        until(lambda: len(_keys(heard, HOME)) == 2)
        assert active in _keys(heard, HOME)
    with report.check("SPIRE: a trust domain that is no longer federated is told"):
        server.run("bundle", "delete", "-id", f"spiffe://{OTHER}", "-mode", "dissociate")
        until(lambda: dict(heard.found)[OTHER] == b"")
    source.close()


def _keys(heard: Heard, domain: str) -> set[str]:
    """Return the ids of a trust domain's keys as they were reported last."""
    return {key["kid"] for key in json.loads(dict(heard.found)[domain])["keys"]}


def _key_of(header: str) -> str:
    key: str = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))["kid"]
    return key
