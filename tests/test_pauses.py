"""Pauses between tries."""

from intellicolab.redis.pauses import pause_after


def test_they_double_up_to_the_longest_and_differ():
    for failures, whole in enumerate((1, 2, 4, 8, 10, 10), 1):
        found = {pause_after(failures, first=1, longest=10) for _ in range(50)}
        assert whole / 2 <= min(found) < max(found) <= whole


def test_an_outage_of_days_ends_nobody():
    assert 5 <= pause_after(1_000_000, first=0.2, longest=10) <= 10
