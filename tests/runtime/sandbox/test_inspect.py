"""Reading what the kernel says about a process."""

import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cofferdam_runtime.sandbox.inspect import Observed, observe, parse, shortfalls

STATUS = b"""Name:\tpython
Umask:\t0022
State:\tS (sleeping)
Uid:\t60123\t60123\t60123\t60123
Gid:\t60123\t60123\t60123\t60123
Groups:\t4 20 \nThreads:\t2
CapInh:\t0000000000000001
CapPrm:\t0000000000000002
CapEff:\t0000000000000003
CapBnd:\t000001fffeffffff
CapAmb:\t0000000000000004
NoNewPrivs:\t1
Seccomp:\t2
Seccomp_filters:\t1
"""
CONFINED = Observed(
    uids=(9,) * 4,
    gids=(9,) * 4,
    groups=(),
    inheritable=0,
    permitted=0,
    effective=0,
    bounding=0,
    ambient=0,
    no_new_privs=True,
    seccomp=2,
    seccomp_filters=1,
    threads=1,
)


def test_every_field_is_read() -> None:
    assert parse(STATUS) == Observed(
        uids=(60123,) * 4,
        gids=(60123,) * 4,
        groups=(4, 20),
        inheritable=1,
        permitted=2,
        effective=3,
        bounding=0x1FFFEFFFFFF,
        ambient=4,
        no_new_privs=True,
        seccomp=2,
        seccomp_filters=1,
        threads=2,
    )


@given(st.binary())
@example(STATUS.replace(b"Seccomp:", b"Seccomb:"))
@example(STATUS.replace(b"NoNewPrivs:\t1", b"NoNewPrivs:\t"))
@example(STATUS.replace(b"60123\t60123", b"60123"))
@example(STATUS.replace(b"CapEff:\t0", b"CapEff:\tx"))
def test_anything_else_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse(data)


@given(st.data())
def test_a_damaged_status_is_read_or_refused(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(STATUS)))
    end = data.draw(st.integers(start, len(STATUS)))
    damaged = STATUS[:start] + data.draw(st.binary(max_size=8)) + STATUS[end:]
    try:
        observed = parse(damaged)
    except ValueError:
        return
    assert len(observed.uids) == len(observed.gids) == 4


def test_this_process_is_seen_as_it_is() -> None:
    threads = observe(os.getpid())
    assert {thread.uids for thread in threads} == {(*os.getresuid(), os.geteuid())}
    assert {thread.groups for thread in threads} == {tuple(sorted(os.getgroups()))}


def test_a_process_that_is_gone_is_an_error() -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(OSError, match="No such"):
        observe(child)


def test_a_confined_thread_falls_short_of_nothing() -> None:
    assert shortfalls(CONFINED, uid=9, seccomp=True) == ()
    assert shortfalls(CONFINED, uid=None, seccomp=True) == ()


def test_groups_have_to_be_exactly_the_expected_ones() -> None:
    member = CONFINED._replace(groups=(4, 20))
    assert shortfalls(member, uid=9, groups=(20, 4), seccomp=True) == ()
    assert shortfalls(member, uid=9, groups=(4,), seccomp=True) == ("is in groups (4, 20)",)
    assert shortfalls(CONFINED, uid=9, groups=(4,), seccomp=True) == ("is in groups ()",)
    assert shortfalls(member, uid=None, seccomp=True) == ()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"uids": (9, 9, 0, 9)}, "has uids (9, 9, 0, 9)"),
        ({"gids": (0,) * 4}, "has gids (0, 0, 0, 0)"),
        ({"groups": (4,)}, "is in groups (4,)"),
        ({"inheritable": 1}, "has capabilities 0x1"),
        ({"permitted": 2}, "has capabilities 0x2"),
        ({"effective": 4}, "has capabilities 0x4"),
        ({"ambient": 8}, "has capabilities 0x8"),
        ({"bounding": 16}, "has a bounding set 0x10"),
        ({"no_new_privs": False}, "may gain privileges by exec"),
        ({"seccomp": 0}, "has no seccomp filter"),
        ({"seccomp": 1}, "has no seccomp filter"),
    ],
)
def test_each_shortfall_is_named(change: dict[str, object], complaint: str) -> None:
    assert shortfalls(CONFINED._replace(**change), uid=9, seccomp=True) == (complaint,)  # type: ignore[arg-type]
