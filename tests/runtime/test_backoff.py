"""When the successor of something that died may start."""

from cofferdam_runtime.backoff import BREAKER_S, FREE_RESTARTS, LONGEST_REST_S, History


def test_back_off_grows_and_the_breaker_opens() -> None:
    history = History()
    delays = []
    for death in range(7):
        history.record(float(death))
        delays.append(history.delay(float(death)))
    assert delays[:FREE_RESTARTS] == [0.0] * FREE_RESTARTS
    assert delays == sorted(delays)
    assert delays[-1] == BREAKER_S
    assert history.is_closed(7.0)
    assert not history.is_closed(100.0)
    assert history.delay(1000.0) == 0.0


def test_what_took_too_long_rests_for_as_long() -> None:
    """So starts that are killed as too late never have more than half of a processor."""
    history = History()
    for took in (10.0, 20.0, 300.0, 5000.0):
        history.record(took, took)
        assert history.delay(took) >= min(took, LONGEST_REST_S)
        assert history.is_closed(took + min(took, LONGEST_REST_S) - 1)
    assert history.late == 4
    history.record(10_000.0)
    assert (history.late, history.delay(10_000.0)) == (0, 0.0)
