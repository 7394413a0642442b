"""Whom the servers are told that a frontend's channel may speak for, when, and until when."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.identity import forge
from tests.identity.forge import claims, signer
from tests.identity.stage import (
    ADMIN,
    BOTH,
    BUNDLE,
    FOREVER,
    GRANT,
    JWT,
    KIM,
    SOFTWARE,
    SVID,
    VERIFY,
    WITHDRAW,
    Stage,
    tokens,
)

from cofferdam_contracts.ipc.control import Broken, DownstreamChannel, Violation
from cofferdam_contracts.ipc.framing import Common
from cofferdam_contracts.roles import Role
from cofferdam_contracts.status import Status
from cofferdam_identity import server as server_module
from cofferdam_identity.patience import FREE, PER_S, Patience
from cofferdam_identity.tokens import token_hash
from cofferdam_runtime.channel import ChannelClosedError

REFUSED = int(Status.AUTHENTICATION_ERROR)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage(tmp_path) as made:
        made.learn(signer())
        yield made


def token(**changes: object) -> bytes:
    return signer().token(claims(**changes))


def revoke(stage: Stage, text: str) -> None:
    stage.revocations.write_text(f"[[revocation]]\n{text}\n")
    stage.files._next = 0.0


def test_servers_know_an_identity_before_the_frontend_hears_of_it(stage: Stage) -> None:
    frontend = stage.client()
    stage.show(frontend, token())
    assert stage.said(frontend) == []
    ((_, number, serial, handle, authenticator, name, until),) = stage.acknowledge(KIM)
    assert (number, serial, authenticator, name) == (GRANT, stage.serial(frontend), SVID, forge.SUBJECT)
    assert stage.said(frontend) == [], "the worker has not acknowledged"
    ((_, *told),) = stage.acknowledge(SOFTWARE)
    assert told == [GRANT, serial, handle, SVID, name, until]
    assert stage.said(frontend) == [(VERIFY + 1, 1, 0, handle, 0, until)]


def test_only_the_servers_that_will_be_asked_are_told(stage: Stage) -> None:
    frontend = stage.client()
    for servers, told in ((1 << SOFTWARE, [SOFTWARE]), (1 << KIM, [KIM]), (0, []), (1 << Role.TPM_WORKER, [])):
        stage.show(frontend, token(), servers=servers)
        stage.run()
        assert [role for role, *_ in stage.acknowledge()] == told
        assert [message[2] for message in stage.said(frontend)] == [0]


def test_a_token_has_one_handle_on_a_channel_and_no_other_on_another(stage: Stage) -> None:
    mine, theirs = stage.client(uid=1000), stage.client(uid=1001)
    ((_, first, _),) = stage.verdicts(mine, token())
    assert stage.verdicts(mine, token(iat=forge.NOW - 1)) != [(0, first, 0)]
    stage.show(theirs, token())
    stage.run()
    assert {serial for _, _, serial, *_ in stage.acknowledge()} == {stage.serial(theirs)}


def test_administrators_are_known_by_their_whole_name(stage: Stage) -> None:
    frontend = stage.client()
    assert [verdict[2] for verdict in stage.verdicts(frontend, token(sub=ADMIN))] == [1]
    assert [verdict[2] for verdict in stage.verdicts(frontend, token(sub=f"{ADMIN}/x"))] == [0]


def test_a_refused_token_gets_a_status_and_a_line_that_does_not_hold_it(
    stage: Stage, capfd: pytest.CaptureFixture[str]
) -> None:
    bad = token(aud=["other"])
    assert stage.verdicts(stage.client(uid=1234), bad) == [(REFUSED,)]
    assert stage.acknowledge() == []
    log = capfd.readouterr().err
    assert 'event="a token is refused" check=aud' in log
    assert f"token={token_hash(bad)}" in log
    assert "uid=1234" in log
    assert bad.decode() not in log
    assert bad.rpartition(b".")[2].decode() not in log


def test_a_token_that_is_not_text_has_the_status_of_the_reference(stage: Stage) -> None:
    assert stage.verdicts(stage.client(), b"\xff") == [(int(Status.INVALID_ENCODING),)]


def test_the_wrong_authenticator_does_not_take_a_token(stage: Stage) -> None:
    assert stage.verdicts(stage.client(), token(), authenticator=JWT) == [(REFUSED,)]


@pytest.mark.parametrize(
    "target",
    ['token = "{hash}"', f'subject = "{forge.SUBJECT}"', 'key = "one"', f'issuer = "{forge.DOMAIN}"'],
)
def test_what_is_revoked_ends_for_those_who_have_it_and_is_refused_from_then_on(stage: Stage, target: str) -> None:
    frontend = stage.client()
    ((_, handle, _),) = stage.verdicts(frontend, token())
    revoke(stage, target.format(hash=token_hash(token())))
    if target.startswith("token"):
        # An ECDSA signature is another each time, and the token the same.
        assert token() != token()
    stage.run()
    withdrawn = [(role, WITHDRAW, stage.serial(frontend), handle) for role in (KIM, SOFTWARE)]
    assert stage.acknowledge() == withdrawn
    assert stage.verdicts(frontend, token()) == [(REFUSED,)]


def test_an_old_subject_comes_back_with_a_new_token(stage: Stage) -> None:
    frontend = stage.client()
    revoke(stage, f'subject = "{forge.SUBJECT}"\nnot_before = 2027-01-15T08:00:01Z')
    assert stage.verdicts(frontend, token(iat=forge.NOW)) == [(REFUSED,)]
    assert [status for status, *_ in stage.verdicts(frontend, token(iat=forge.NOW + 2))] == [0]


def test_revocations_that_cannot_be_read_leave_those_before_in_force(
    stage: Stage, capfd: pytest.CaptureFixture[str]
) -> None:
    frontend = stage.client()
    revoke(stage, f'subject = "{forge.SUBJECT}"')
    stage.run()
    for mistake in ("nonsense", f'subjekt = "{forge.SUBJECT}"'):
        revoke(stage, mistake)
        stage.run()
        assert "the revocations cannot be used" in capfd.readouterr().err
        assert stage.verdicts(frontend, token()) == [(REFUSED,)]


@pytest.mark.parametrize("mistake", ["nonsense", "open to others", "too long"])
def test_after_a_start_with_revocations_that_cannot_be_read_every_token_is_refused(stage: Stage, mistake: str) -> None:
    stage.revocations.write_text(
        {"too long": "#" * (1 << 21)}.get(mistake, "nonsense" if mistake == "nonsense" else "")
    )
    stage.revocations.chmod(0o666 if mistake == "open to others" else 0o644)
    frontend = stage.client()
    assert stage.verdicts(frontend, token()) == [(REFUSED,)]
    stage.revocations.write_text("")
    stage.revocations.chmod(0o644)
    stage.files._next = 0.0
    assert [status for status, *_ in stage.verdicts(frontend, token())] == [0]


def test_a_file_of_revocations_that_is_removed_lifts_none(stage: Stage) -> None:
    frontend = stage.client()
    revoke(stage, f'subject = "{forge.SUBJECT}"')
    assert stage.verdicts(frontend, token()) == [(REFUSED,)]
    stage.revocations.unlink()
    stage.files._next = 0.0
    assert stage.verdicts(frontend, token()) == [(REFUSED,)]
    revoke(stage, 'subject = "spiffe://example.org/somebody"')
    assert [status for status, *_ in stage.verdicts(frontend, token())] == [0]


def test_a_key_that_is_rotated_out_ends_what_it_signed(stage: Stage) -> None:
    frontend = stage.client()
    ((_, handle, _),) = stage.verdicts(frontend, token())
    stage.learn(signer(), signer(kid="two"))
    assert stage.acknowledge() == []
    stage.learn(signer(kid="two"))
    assert {told[1:] for told in stage.acknowledge()} == {(WITHDRAW, stage.serial(frontend), handle)}
    assert stage.verdicts(frontend, token()) == [(REFUSED,)]
    assert [status for status, *_ in stage.verdicts(frontend, signer(kid="two").token(claims()))] == [0]


def test_a_token_that_ends_by_the_wall_clock_ends_for_those_who_have_it(stage: Stage) -> None:
    frontend = stage.client()
    stage.verdicts(frontend, token(exp=forge.NOW + 10))
    stage.now += 69
    stage.server._look = 0.0
    stage.run()
    assert stage.acknowledge() == []
    stage.now += 1
    stage.server._look = 0.0
    stage.run()
    assert [told[1] for told in stage.acknowledge()] == [WITHDRAW, WITHDRAW]


def test_a_frontend_that_is_gone_speaks_for_nobody(stage: Stage) -> None:
    frontend = stage.client()
    stage.verdicts(frontend, token())
    frontend.close()
    stage.run()
    assert {told[1:] for told in stage.acknowledge()} == {(WITHDRAW, stage.serial(frontend), "")}


def test_a_frontend_has_so_many_identities(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MOST", 2)
    frontend = stage.client()
    handles = [stage.verdicts(frontend, token(iat=forge.NOW - age))[0][1] for age in (1, 2)]
    stage.verdicts(frontend, token(iat=forge.NOW - 1))
    stage.show(frontend, token(iat=forge.NOW - 3))
    stage.run()
    assert {told[3] for told in stage.acknowledge() if told[1] == WITHDRAW} == {handles[1]}


def test_a_server_that_was_replaced_hears_again_what_it_has_not_acknowledged(stage: Stage) -> None:
    frontend = stage.client()
    stage.show(frontend, token())
    (first,) = stage.said(stage.servers[KIM])
    stage.servers[KIM].send((Common.HELLO,))
    assert stage.said(stage.servers[KIM]) == [first]
    stage.acknowledge(SOFTWARE)
    stage.servers[KIM].send((GRANT + 1, first[1]))
    assert [message[2] for message in stage.said(frontend)] == [0]


def test_a_server_that_is_lost_keeps_nobody_waiting(stage: Stage) -> None:
    frontend = stage.client()
    stage.show(frontend, token())
    stage.run()
    stage.acknowledge(SOFTWARE)
    stage.servers[KIM].close()
    assert [message[2] for message in stage.said(frontend)] == [0]
    assert stage.broker.told(Broken) == [Broken(Role.KIM, 0, 0)]
    stage.servers[KIM] = stage.server_end(KIM, before=1)
    assert [status for status, *_ in stage.verdicts(frontend, token())] == [0]


def test_frontends_of_a_predecessor_are_greeted(stage: Stage) -> None:
    assert stage.said(stage.client(adopted=True)) == [(Common.HELLO,)]


def test_a_token_that_comes_too_late_is_not_looked_at(stage: Stage) -> None:
    frontend = stage.client()
    frontend.send((VERIFY, 1, 1, SVID, BOTH, token()))
    assert stage.said(frontend) == []
    assert stage.acknowledge() == []


@pytest.mark.parametrize(
    "message",
    [
        (VERIFY, 1, FOREVER, 3, BOTH, b"token"),
        (VERIFY, 1, FOREVER, 1, BOTH, b"token"),
        (VERIFY, 1, FOREVER, SVID, BOTH, "token"),
        (VERIFY, 1, FOREVER, SVID, BOTH, bytes(8193)),
        (VERIFY, 1, FOREVER, SVID, BOTH),
        (VERIFY, "1", FOREVER, SVID, BOTH, b""),
        (GRANT, 1, 0, "1", SVID, "name", FOREVER),
        (WITHDRAW, 1, 0, ""),
        (BUNDLE, 1, forge.DOMAIN, b"{}"),
        (VERIFY,),
    ],
    ids=lambda message: repr(message)[:40],
)
def test_a_frontend_that_breaks_the_protocol_is_hung_up_on(stage: Stage, message: tuple[object, ...]) -> None:
    frontend, other = stage.client(), stage.client()
    frontend.send(message)
    assert stage.said(frontend) == [(None,)]
    assert stage.broker.told(Violation) == [Violation(Role.FRONTEND, stage.serial(frontend))]
    assert [status for status, *_ in stage.verdicts(other, token())] == [0]


def test_whoever_shows_many_bad_tokens_waits_and_nobody_else(stage: Stage) -> None:
    guesser, other = stage.client(uid=1), stage.client(uid=2)
    for number in range(FREE + 10):
        stage.show(guesser, b"a.b.c", number)
    stage.run(FREE + 20)
    assert len(stage.said(guesser)) == FREE + 1
    assert [status for status, *_ in stage.verdicts(other, token())] == [0]
    stage.server._resting = dict.fromkeys(stage.server._resting, 0.0)
    stage.run()
    assert len(stage.said(guesser)) == 1


def test_patience_returns() -> None:
    patience = Patience()
    assert [patience.fail(1, 0.0) for _ in range(FREE)] == [0.0] * FREE
    assert patience.fail(1, 0.0) == pytest.approx(1 / PER_S)
    assert patience.fail(2, 0.0) == 0.0
    assert patience.fail(1, 1.0) == 0.0


def test_a_guesser_that_hangs_up_while_it_waits_is_forgotten(stage: Stage) -> None:
    guesser = stage.client(uid=1)
    for number in range(FREE + 2):
        stage.show(guesser, b"a.b.c", number)
    stage.run(FREE + 5)
    guesser.close()
    stage.run()
    assert not stage.server._resting
    assert not stage.server._clients


def test_a_fetcher_brings_the_keys_of_its_authenticator(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        frontend, fetcher = stage.client(), stage.client(Role.FETCHER, number=0)
        assert stage.verdicts(frontend, token()) == [(REFUSED,)]
        fetcher.send((BUNDLE, 1, forge.DOMAIN, forge.jwk_set(signer().jwk())))
        fetcher.send((BUNDLE, 2, "", b""))
        stage.run()
        assert [status for status, *_ in stage.verdicts(frontend, token())] == [0]
        # The next answer is complete without the domain.
        fetcher.send((BUNDLE, 3, "", b""))
        stage.run()
        assert stage.verdicts(frontend, token()) == [(REFUSED,)]


def test_a_document_that_cannot_be_used_leaves_the_keys_from_before(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        frontend, fetcher = stage.client(), stage.client(Role.FETCHER, number=0)
        for document in (forge.jwk_set(signer().jwk()), b"{", b"[]"):
            fetcher.send((BUNDLE, 1, forge.DOMAIN, document))
            fetcher.send((BUNDLE, 2, "", b""))
            stage.run()
            assert [status for status, *_ in stage.verdicts(frontend, token())] == [0]


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (1, (BUNDLE, 1, "https://other.example", b"{}")),
        (0, (BUNDLE, 1, forge.DOMAIN, "text")),
        (0, (BUNDLE, 1, "x" * 2049, b"")),
        (0, (VERIFY, 1, FOREVER, SVID, BOTH, b"token")),
        (0, (GRANT, 1, 0, "1", SVID, "name", FOREVER)),
    ],
)
def test_a_fetcher_that_breaks_the_protocol_is_reported(stage: Stage, number: int, message: tuple[object, ...]) -> None:
    fetcher = stage.client(Role.FETCHER, number=number)
    fetcher.send(message)
    assert stage.said(fetcher) == [(None,)]
    assert stage.broker.told(Violation) == [Violation(Role.FETCHER, stage.serial(fetcher))]


def test_a_trust_domain_that_is_not_configured_is_not_learnt(stage: Stage) -> None:
    stage.learn(signer(kid="two"), issuer="other.example")
    assert (SVID, "other.example") not in stage.trust._held


def test_fetched_keys_grow_old_unless_they_are_confirmed(tmp_path: Path) -> None:
    with Stage(tmp_path, tokens(max_age_s=100)) as stage:
        frontend = stage.client()
        for _ in range(3):
            stage.learn(signer())
            stage.now += 100
            assert [status for status, *_ in stage.verdicts(frontend, token(exp=forge.NOW + 900))] == [0]
        stage.now += 1
        assert stage.verdicts(frontend, token(exp=forge.NOW + 900)) == [(REFUSED,)]


def test_the_first_keys_can_be_pinned(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    right = forge.bundle(signer()).fingerprint
    with Stage(tmp_path, tokens(fingerprint=right)) as stage:
        stage.learn(signer(kid="two"))
        assert "are not those of the configuration" in capfd.readouterr().err
        assert not stage.trust._held
        stage.learn(signer())
        stage.learn(signer(), signer(kid="two"))
        assert [status for status, *_ in stage.verdicts(stage.client(), signer(kid="two").token(claims()))] == [0]


@pytest.mark.parametrize(("role", "number"), [(Role.KIM, 0), (Role.SOFTWARE_WORKER, 0), (Role.FETCHER, 2)])
def test_nobody_else_is_a_client(stage: Stage, role: Role, number: int) -> None:
    with pytest.raises(ValueError, match="a channel to role"):
        stage.server.add_channel(DownstreamChannel(role, 0, number, 1, adopted=False, descriptor=-1))


def test_a_server_that_answers_nonsense_is_left(stage: Stage) -> None:
    stage.servers[KIM].send((GRANT + 1, "x"))
    stage.run()
    with pytest.raises(ChannelClosedError):
        stage.servers[KIM].receive()
    assert stage.broker.told(Broken) == [Broken(Role.KIM, 0, 0)]
