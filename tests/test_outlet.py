"""One socket's way out: in order, bounded, and never in anyone else's way."""

import asyncio

from intellicolab.prepared import encode, encode_all
from realtime.errors import TOO_SLOW
from realtime.outlet import MAX_WAITING_BYTES, Outlet


class Server:
    """The sending half of an ASGI server: completes at once, or waits while the client does not read."""

    def __init__(self):
        self.sent = []
        self.reading = asyncio.Event()
        self.reading.set()
        self.gone = False

    async def send(self, message):
        if self.gone:
            raise OSError
        if not self.reading.is_set():
            await self.reading.wait()
        self.sent.append(message["text"])


def open_outlet(server, hang_up=lambda code: None):
    outlet = Outlet(server.send, hang_up)
    outlet.release("hello")
    return outlet


async def settle():
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_comes_before_hello_waits_for_it():
    server = Server()
    outlet = Outlet(server.send, lambda code: None)
    outlet.push("early")
    assert server.sent == []
    outlet.release("hello")
    assert server.sent == ["hello", "early"]


async def test_a_socket_that_keeps_up_costs_no_task():
    server = Server()
    outlet = open_outlet(server)
    before = len(asyncio.all_tasks())
    for n in range(100):
        outlet.push(str(n))
    assert server.sent == ["hello", *map(str, range(100))]
    assert len(asyncio.all_tasks()) == before


async def test_a_socket_that_waits_keeps_its_order():
    server = Server()
    outlet = open_outlet(server)
    server.reading.clear()
    for n in range(10):
        outlet.push(str(n))
    assert server.sent == ["hello"]
    server.reading.set()
    await settle()
    outlet.push("after")
    await settle()
    assert server.sent == ["hello", *map(str, range(10)), "after"]


async def test_a_slow_socket_is_bounded_in_bytes_then_told_to_resume():
    server, codes = Server(), []
    outlet = open_outlet(server, codes.append)
    server.reading.clear()
    frame = "x" * 1024
    for _ in range(2 * MAX_WAITING_BYTES // len(frame)):
        outlet.push(frame)
    assert codes == [TOO_SLOW]
    assert outlet.closed
    server.reading.set()
    await settle()
    assert server.sent == ["hello"]


async def test_a_client_that_went_away_raises_nothing():
    server = Server()
    outlet = open_outlet(server)
    server.gone = True
    outlet.push("x")
    assert outlet.closed


async def test_closing_ends_a_send_that_waits():
    server = Server()
    outlet = open_outlet(server)
    server.reading.clear()
    outlet.push("never")
    await settle()
    outlet.close()
    await settle()
    server.reading.set()
    await settle()
    assert server.sent == ["hello"]


async def test_a_socket_that_never_gets_its_hello_is_bounded_too():
    server, codes = Server(), []
    outlet = Outlet(server.send, codes.append)
    for _ in range(2 * MAX_WAITING_BYTES // 1024):
        outlet.push("x" * 1024)
    assert codes == [TOO_SLOW]


async def test_a_send_that_takes_its_cancellation_for_an_end_is_ended():
    reading = asyncio.Event()

    async def send(message):
        if message["text"] != "hello":
            try:
                await reading.wait()
            except asyncio.CancelledError:
                return

    outlet = Outlet(send, lambda code: None)
    outlet.release("hello")
    outlet.push("x")
    task = outlet._task
    await settle()
    outlet.close()
    await settle()
    assert task.done()
    assert task.cancelled() or task.exception() is None


async def test_the_bound_counts_bytes_not_characters():
    server, codes = Server(), []
    outlet = open_outlet(server, codes.append)
    server.reading.clear()
    outlet.push("first")
    outlet.push("\N{GRINNING FACE}" * (MAX_WAITING_BYTES // 4 + 1))
    assert codes == [TOO_SLOW]


class Wire:
    """The prepared way: takes bytes and says how many wait, or None when the socket is not open."""

    def __init__(self):
        self.written = []
        self.waiting = 0

    def write(self, data):
        if self.waiting is not None:
            self.written.append(data)
        return self.waiting


def prepared_outlet(server, wire, hang_up=lambda code: None):
    outlet = Outlet(server.send, hang_up, wire.write)
    outlet.release("hello")
    return outlet


def test_prepared_frames_go_past_plain_send_in_their_order():
    server, wire = Server(), Wire()
    outlet = prepared_outlet(server, wire)
    outlet.push("ack")
    outlet.push_all(["a", "b"], encode_all(["a", "b"]))
    assert wire.written == [encode("hello"), encode("ack"), encode("a") + encode("b")]
    assert server.sent == []


def test_a_batch_before_hello_waits_for_it():
    server, wire = Server(), Wire()
    outlet = Outlet(server.send, lambda code: None, wire.write)
    outlet.push_all(["a", "b"], encode_all(["a", "b"]))
    assert wire.written == []
    outlet.release("hello")
    assert b"".join(wire.written) == encode_all(["hello", "a", "b"])


def test_a_batch_goes_by_plain_send_where_nothing_is_offered():
    server = Server()
    open_outlet(server).push_all(["a", "b"], encode_all(["a", "b"]))
    assert server.sent == ["hello", "a", "b"]


async def test_what_the_prepared_way_refuses_goes_by_plain_send_and_the_rest_behind_it():
    server, wire = Server(), Wire()
    outlet = prepared_outlet(server, wire)
    wire.waiting = None
    server.reading.clear()
    outlet.push("plain")
    wire.waiting = 0
    outlet.push_all(["a", "b"], encode_all(["a", "b"]))
    assert wire.written == [encode("hello")]
    server.reading.set()
    await settle()
    assert server.sent == ["plain", "a", "b"]
    outlet.push("prepared again")
    assert wire.written[-1] == encode("prepared again")


def test_a_prepared_socket_is_bounded_in_bytes_and_written_to_no_more():
    server, wire, codes = Server(), Wire(), []
    outlet = prepared_outlet(server, wire, codes.append)
    wire.waiting = MAX_WAITING_BYTES
    outlet.push("still")
    assert codes == []
    wire.waiting = 2 * MAX_WAITING_BYTES
    outlet.push("too much")
    outlet.push("never")
    outlet.push_all(["never"], encode("never"))
    assert codes == [TOO_SLOW]
    assert wire.written[-1] == encode("too much")


def test_one_batch_above_the_bound_does_not_end_a_socket_that_keeps_up():
    server, wire, codes = Server(), Wire(), []
    outlet = prepared_outlet(server, wire, codes.append)
    data = encode("x" * 2 * MAX_WAITING_BYTES)
    wire.waiting = len(data)
    outlet.push_all(["x" * 2 * MAX_WAITING_BYTES], data)
    assert codes == []


def test_a_closed_socket_is_not_written_to():
    server, wire = Server(), Wire()
    outlet = prepared_outlet(server, wire)
    outlet.close()
    outlet.push("x")
    outlet.push_all(["x"], encode("x"))
    assert wire.written == [encode("hello")]
