"""Many tasks that read one name: few round trips, and nobody is given an answer from before it asked."""

import asyncio

import pytest

from intellicolab.cache.shared_reads import SharedReads


class Server:
    """Answers when it is told to, with what the value was when the read arrived."""

    def __init__(self):
        self.value = 0
        self.reads = []
        self.error = None

    async def read(self, name):
        answer = asyncio.get_running_loop().create_future()
        self.reads.append((answer, self.value))
        await answer
        if self.error:
            raise self.error
        return self.reads[[read for read, _ in self.reads].index(answer)][1]

    async def answer(self, number):
        await settle()
        self.reads[number][0].set_result(None)
        await settle()

    async def answer_all(self):
        while waiting := [answer for answer, _ in self.reads if not answer.done()]:
            waiting[0].set_result(None)
            await settle()


async def settle():
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def server():
    return Server()


def reading(server):
    return asyncio.create_task(SharedReads.here().get("name", server.read))


async def test_who_comes_while_a_read_is_on_its_way_shares_the_next(server):
    first = reading(server)
    await settle()
    server.value = 1  # written before the others begin
    others = [reading(server) for _ in range(20)]
    await server.answer(0)
    assert await first == 0
    await server.answer(1)
    assert await asyncio.gather(*others) == [1] * 20
    assert len(server.reads) == 2


async def test_who_comes_when_the_shared_read_was_sent_does_not_get_its_answer(server):
    first = reading(server)
    await settle()
    second = reading(server)
    await server.answer(0)
    server.value = 1
    third = reading(server)
    await server.answer(1)
    await server.answer(2)
    assert await asyncio.gather(first, second, third) == [0, 0, 1]


async def test_an_error_reaches_all_who_share_the_read_and_nobody_later(server):
    first = reading(server)
    await settle()
    others = [reading(server) for _ in range(3)]
    await server.answer(0)
    server.error = OSError("gone")
    await server.answer(1)
    assert [type(result) for result in await asyncio.gather(*others, return_exceptions=True)] == [OSError] * 3
    server.error = None
    last = reading(server)
    await server.answer(2)
    assert await asyncio.gather(first, last) == [0, 0]


@pytest.mark.parametrize("sent", [False, True])
async def test_a_cancelled_leader_leaves_the_read_to_another(server, sent):
    first = reading(server)
    await settle()
    leader, *others = [reading(server) for _ in range(3)]
    await settle()
    if sent:
        await server.answer(0)
    leader.cancel()
    await settle()
    await server.answer_all()
    assert await asyncio.wait_for(asyncio.gather(first, *others), 1) == [0, 0, 0]


async def test_nothing_is_left_behind(server):
    reads = SharedReads.here()
    tasks = [reading(server) for _ in range(5)]
    await settle()
    tasks[2].cancel()
    await server.answer(0)
    await server.answer(1)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert not reads._sent
    assert not reads._next
