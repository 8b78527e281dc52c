"""A holder whose lock went to another: what it writes is refused by its fencing number."""

import os
import signal

import pytest
from django.db import transaction

from intellicolab.cache.models import Fence
from intellicolab.redis.fence import StaleFence, advance_fence
from intellicolab.redis.lock import Lock, held

from .test_lock import child, closed_pools, end_lease, in_other_thread, wait_until

__all__ = ["closed_pools"]  # a fixture that every test here uses
pytestmark = [pytest.mark.topology, pytest.mark.database, pytest.mark.django_db]


def number():
    return Fence.objects.get(pk="reports").fence


def test_the_first_number_makes_the_row_and_a_holder_may_write_often():
    for fence in (5, 5, 9, 9):
        Fence.advance("reports", fence)
        assert number() == fence


def test_an_older_number_is_refused_and_changes_nothing():
    Fence.advance("reports", 9)
    with pytest.raises(StaleFence, match="8 is older"):
        Fence.advance("reports", 8)
    assert number() == 9


def test_names_do_not_disturb_each_other():
    Fence.advance("reports", 9)
    Fence.advance("letters", 1)
    assert number() == 9


def test_any_row_with_a_number_can_be_protected():
    Fence.advance("reports", 3)
    rows = Fence.objects.filter(pk="reports")
    assert advance_fence(rows, 4) == 1
    with pytest.raises(StaleFence):
        advance_fence(rows, 3)
    with pytest.raises(StaleFence):
        advance_fence(Fence.objects.filter(pk="nobody"), 5)


def write(grant, journal, text):
    with transaction.atomic():
        Fence.advance("reports", grant.fence)
        journal.append(text)


def test_a_holder_that_slept_past_its_lease_is_refused():
    journal = []
    late = Lock("reports").acquire()
    end_lease("reports")
    new = in_other_thread(lambda: Lock("reports").acquire())
    write(new, journal, "new")
    with pytest.raises(StaleFence):
        write(late, journal, "late")
    write(new, journal, "newer")
    assert journal == ["new", "newer"]


SLEEPER = """
from intellicolab.cache.models import Fence
from intellicolab.redis.fence import StaleFence
from intellicolab.redis.lock import Lock
grant = Lock("reports", lease=1).acquire()
Fence.advance("reports", grant.fence)
print("written", flush=True)
sys.stdin.readline()
try:
    Fence.advance("reports", grant.fence)
    print("written again")
except StaleFence:
    print("refused", grant.lost)
"""


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_process_that_is_paused_and_wakes_is_refused():
    with child(SLEEPER) as process:
        assert process.stdout.readline() == b"written\n"
        os.kill(process.pid, signal.SIGSTOP)
        with Lock("reports", wait=10) as grant:  # its lease has to end
            Fence.advance("reports", grant.fence)
            os.kill(process.pid, signal.SIGCONT)
            assert process.communicate(b"\n", timeout=20)[0] == b"refused True\n"
            wait_until(lambda: held("reports").fence == grant.fence)
    assert number() == grant.fence
