"""Malformed requests to a running service: each gets the right response, and nothing in the service changes."""

import itertools
import os

import pytest
from tests.harness import malformed, wire
from tests.harness.service import Service
from tests.harness.watch import Holdings, drifts, holdings, wait_for

pytestmark = pytest.mark.e2e

SEED = 20_000
COUNT = 20_000
AT_REST = 100
"""Number of consecutive looks without a change of descriptors after which the service is at rest."""
UID = os.geteuid()
ECHO = (wire.SOFTWARE, 0, wire.GENERATE_RANDOM)


@pytest.mark.parametrize(
    ("changes", "status", "echo"),
    [
        ({"content_type": 1, "opcode": 0}, 2, None),
        ({"opcode": 0, "provider": 9}, 9, None),
        ({"provider": 4}, 5, (4, 0, wire.GENERATE_RANDOM)),
        ({"provider": 4, "auth_type": 3, "auth": b"...."}, 11, (4, 0, wire.GENERATE_RANDOM)),
        ({"auth_type": 2}, 13, ECHO),
        ({"auth_type": 5}, 12, None),
        ({"body_len": malformed.BODY_LIMIT + 1}, 20, None),
        ({"body_len": malformed.BODY_LIMIT}, 15, None),
        ({"header_size": 31}, 17, None),
        ({"header_size": 99}, 15, None),
        ({"reserved2": 1}, 17, None),
        ({"version_minor": 1}, 4, None),
        ({"provider": 0}, 1134, (0, 0, wire.GENERATE_RANDOM)),
        ({"status": 5, "session": 7}, 0, (wire.SOFTWARE, 7, wire.GENERATE_RANDOM)),
        ({"opcode": wire.LIST_CLIENTS, "provider": 0}, 19, (0, 0, wire.LIST_CLIENTS)),
    ],
)
def test_the_judge_knows_the_protocol(
    changes: dict[str, int | bytes], status: int, echo: tuple[int, int, int] | None
) -> None:
    """Rows of docs/reference/parsec-protocol.md, "Anomalies", by hand, so that `expected` is not its own witness."""
    request = wire.Request(opcode=wire.GENERATE_RANDOM, provider=wire.SOFTWARE, body=wire.number(1, 8)).but(**changes)
    found = malformed.expected(request.to_bytes(), UID, frozenset({0}))
    assert found == malformed.Expected(frozenset({status}), echo)


def test_the_judge_finds_a_wrong_answer(service: Service) -> None:
    answer, reset = wire.converse(service.socket_path, wire.Request(opcode=0).to_bytes())
    right = malformed.Case("", b"", (malformed.Expected(frozenset({9}), None),))
    assert right.complaint(answer, reset=reset) is None
    for wrong in (
        malformed.Case("", b"", (malformed.Expected(frozenset({10}), None),)),
        malformed.Case("", b"", (malformed.Expected(frozenset({9}), (0, 0, 0)),)),
        malformed.Case("", b"", right.expected * 2),
        malformed.Case("", b"", ()),
    ):
        assert wrong.complaint(answer, reset=reset) is not None
    assert right.complaint(answer[:-1], reset=reset) is not None
    assert right.complaint(answer, reset=True) is not None


def test_every_malformed_request_gets_its_answer(service: Service) -> None:
    caller = wire.Caller(UID)
    for name, attributes in malformed.KEYS.items():
        assert wire.call(service.socket_path, caller.generate(name, attributes)).status == 0
    before: dict[int, Holdings] = {}
    complaints = []
    for sent, case in enumerate(itertools.islice(malformed.cases(SEED), COUNT)):
        if sent == COUNT // 4:
            before = _settled(service)
        answer, reset = wire.converse(service.socket_path, case.data, half_close=True)
        if (complaint := case.complaint(answer, reset=reset)) is not None:
            complaints.append(f"request {sent} ({case.name}): {complaint}: {case.data[:100].hex()}")
    assert complaints[:10] == []
    assert drifts(before, _settled(service), growth=0.05, slack_kb=1024) == []
    assert "level=error" not in service.log()
    keys = wire.call(service.socket_path, caller.request(wire.LIST_KEYS, provider=wire.CORE))
    names = {wire.first_blob(entry, 2).decode() for _, entry in wire.fields(keys.body) if isinstance(entry, bytes)}
    assert names == set(malformed.KEYS)


def _settled(service: Service) -> dict[int, Holdings]:
    """Look once the service has closed the connections of the last requests, so that no descriptor count changes."""
    looks = [holdings(service)]

    def is_at_rest() -> bool:
        looks.append(holdings(service))
        last = [{pid: held.descriptors for pid, held in look.items()} for look in looks[-AT_REST:]]
        return len(last) == AT_REST and all(look == last[0] for look in last)

    wait_for(is_at_rest)
    return looks[-1]
