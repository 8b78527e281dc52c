"""What the chat sockets were sent: counted in process, and written to Redis with the other counters."""

import pytest

from intellicolab.prepared import encode_all
from intellicolab.redis.counters import counters, totals
from realtime.errors import SIGNED_OUT, TOO_SLOW
from realtime.figures import BYTES, FAMILY, FRAMES, closed_with, figures
from realtime.hub import Hub, Topic
from realtime.outlet import MAX_WAITING_BYTES, Outlet

FEW = ["one", "two", "three"]


class Wire:
    def __init__(self, waiting=0):
        self.waiting = waiting

    def write(self, data):
        return self.waiting


@pytest.fixture
def counted():
    """What Redis has counted since the test began."""
    counters.flush()
    before = totals(FAMILY)
    return lambda: {name: more for name, n in totals(FAMILY).items() if (more := n - before.get(name, 0))}


async def nothing(message):
    pass


def listener(wire, codes):
    outlet = Outlet(nothing, codes.append, wire.write)
    outlet.release("hello")
    return outlet


def test_a_batch_counts_once_for_each_socket_that_it_goes_to(counted):
    frames, size = figures.frames, figures.bytes
    topic = Topic("room.1", room_id=1, outlets={listener(Wire(), []) for _ in range(4)})
    topic.push(FEW)
    assert (figures.frames - frames, figures.bytes - size) == (12, 4 * len(encode_all(FEW)))
    counters.flush()
    assert counted() == {FRAMES: 12, BYTES: 4 * len(encode_all(FEW))}


def test_closed_sockets_count_by_code_and_the_longest_queue_is_kept(counted):
    codes = []
    slow = listener(Wire(), codes)
    slow._write = Wire(2 * MAX_WAITING_BYTES).write
    slow.push("x")
    listener(Wire(), codes).hang_up(SIGNED_OUT)
    assert codes == [TOO_SLOW, SIGNED_OUT]
    assert figures.most_waiting >= 2 * MAX_WAITING_BYTES
    counters.flush()
    assert counted() == {closed_with(TOO_SLOW): 1, closed_with(SIGNED_OUT): 1}


async def test_the_hub_tells_how_many_sockets_and_rooms_are_open_here():
    hub = Hub.here()
    outlet = listener(Wire(), [])
    await hub.follow(outlet, [1, 2])
    assert (hub.sockets, hub.rooms) == (1, 2)
    hub.leave_all(outlet)
    assert (hub.sockets, hub.rooms) == (0, 0)
    await hub.close()
