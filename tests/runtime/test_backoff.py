"""When the successor of something that died may start."""

from cofferdam_runtime.backoff import BREAKER_S, FREE_RESTARTS, History


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
