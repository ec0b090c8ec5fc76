"""When an outgoing message is sent again, and when it is given up."""

from datetime import timedelta

from core.outbox import compute_backoff, is_given_up


def test_a_message_waits_longer_each_time_but_as_long_as_the_receiver_asks():
    assert [compute_backoff(n, None) for n in (1, 2, 3, 20)] == [5, 10, 20, 600]
    assert compute_backoff(1, 3000.0) == 3000
    assert compute_backoff(1, 1e9) == 24 * 3600
    assert is_given_up(True, timedelta(0))
    assert not is_given_up(False, timedelta(hours=2))
    assert is_given_up(False, timedelta(hours=25))
