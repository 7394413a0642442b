"""Which uids belong to which user, from the tables of the machine: malformed lines are skipped, never fatal."""

from cofferdam_config.notices import MOST, hand_on
from cofferdam_config.subuids import MAX_RANGES, ranges
from cofferdam_contracts.settings import BrokerSettings, LogSettings, UidRange, dump

PASSWD = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\nbroken\nbob:x:minus\n"


def test_names_and_numbers_are_owners() -> None:
    assert ranges("ann:100000:65536\n1001:165536:65536\n", PASSWD) == (
        UidRange(first=100000, size=65536, owner=1000),
        UidRange(first=165536, size=65536, owner=1001),
    )


def test_a_user_that_is_not_in_the_table_is_one_owner_of_all_its_ranges() -> None:
    found = ranges("far:200000:10\nfar:300000:10\n", PASSWD)
    assert [(each.first, each.owner) for each in found] == [(200000, 200000), (300000, 200000)]


def test_malformed_lines_are_skipped() -> None:
    nonsense = [
        *("ann", "ann:1", "ann:1:2:3", "ann:-1:5", "ann:x:5", "ann:0:5", "ann:4294967295:1", "ann:99999999999:1"),
        *("ann:\u0661:5", "", ":", "#ann:1:5 "),
    ]
    found = ranges("\n".join([*nonsense, "ann:7:8"]), PASSWD)
    assert UidRange(first=7, size=8, owner=1000) in found
    assert all(each.owner == 1000 for each in found)
    assert len(found) == 1


def test_the_most_ranges_fit_the_document_of_the_broker() -> None:
    text = "\n".join(f"{4_000_000_000 + number}:{4_000_000_000 + number}:4000000000" for number in range(20_000))
    found = ranges(text, "")
    assert len(found) == MAX_RANGES
    settings = BrokerSettings(
        log=LogSettings(),
        socket_path="/" + "x" * 107,
        status_path="/" + "x" * 107,
        status_group=None,
        configured=(),
        uid_base=1,
        require=0,
        workers=(),
        others=(),
        subuids=found,
        max_frontends=1,
        max_connections=1,
        idle_ms=1,
        hang_ms=1,
        start_ms=1,
        generate_ms=1,
        drain_ms=1,
        notices=hand_on([(1 << 32) - 1 - number for number in range(2 * MOST)]),
    )
    assert len(dump(settings)) < (1 << 20) - 4096
