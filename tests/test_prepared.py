"""Prepared frames on the real servers, each a child process: whole, in order, and never where they don't belong."""

import contextlib
import itertools
import json
import logging
import os
import socket
import ssl
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect, unix_connect

from intellicolab.prepared import CLOSE_SECONDS, Proof, encode, encode_all, write_of
from realtime.errors import TOO_SLOW

from .prepared_site import text_of
from .site import ROOT, free_port
from .topologies import Authority

WAIT = 30
DAPHNE = """
import logging, sys
logging.basicConfig()
from intellicolab import daphne_server as server
from tests.prepared_site import application
{change}
server.Server(application, [sys.argv[1]], ping_interval=20).run()
"""
UVICORN = """
import json, logging, sys, uvicorn
logging.basicConfig()
from intellicolab import uvicorn_server as server
from tests.prepared_site import application
{change}
options = json.loads(sys.argv[1])
uvicorn.run(application, ws=server.Protocol, lifespan="off", log_config=None, access_log=False, **options)
"""
KINDS = ["daphne", "uvicorn", "uvicorn on asyncio"]


class Place:
    """Where a child serves, and what it has logged."""

    def __init__(self, folder: Path, port: int, path: str, log: Path, names) -> None:
        self.folder, self.port, self.path, self.log, self._names = folder, port, path, log, names

    def open(self, name=None, **options):
        """A client's socket; its name is for asking what the server's writer said."""
        scheme = "wss" if "ssl" in options else "ws"
        url = f"{scheme}://127.0.0.1:{self.port}/?{name or next(self._names)}"
        if self.path:
            return unix_connect(self.path, url, max_size=None)
        return connect(url, max_size=None, max_queue=None, open_timeout=WAIT, **options)

    def said(self, name, count):
        """What the writer said to that socket, as soon as it is as much as that."""
        with self.open() as other:
            deadline = time.monotonic() + WAIT
            while len(found := ask(other, do="results", name=name)) < count:
                assert time.monotonic() < deadline, found
                time.sleep(0.01)
        return found


def ask(client, **request):
    client.send(json.dumps(request))
    return json.loads(client.recv(WAIT))


def command(kind, port, path, change, papers):
    if kind == "daphne":
        tls = f":privateKey={papers / 'server.key'}:certKey={papers / 'server.pem'}" if papers else ""
        where = f"unix:{path}" if path else f"{'ssl' if papers else 'tcp'}:{port}:interface=127.0.0.1{tls}"
        return [sys.executable, "-c", DAPHNE.format(change=change), where]
    tls = {"ssl_keyfile": str(papers / "server.key"), "ssl_certfile": str(papers / "server.pem")} if papers else {}
    where = {"uds": path} if path else {"port": port}
    options = {**where, **tls, "loop": "asyncio" if "asyncio" in kind else "uvloop"}
    return [sys.executable, "-c", UVICORN.format(change=change), json.dumps(options)]


def answers(port, path):
    with socket.socket(socket.AF_UNIX if path else socket.AF_INET) as peer:
        return peer.connect_ex(path or ("127.0.0.1", port)) == 0


@contextlib.contextmanager
def served(kind, folder, *, unix=False, change="", papers=None):
    port, path, log = free_port(), str(folder / "s") if unix else "", folder / "log"
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "intellicolab.settings"}
    with log.open("wb") as out:
        child = subprocess.Popen(command(kind, port, path, change, papers), cwd=ROOT, env=environment, stderr=out)
    try:
        deadline = time.monotonic() + WAIT
        while not answers(port, path):
            assert child.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield Place(folder, port, path, log, (f"n{n}" for n in itertools.count()))
    finally:
        child.terminate()
        child.wait(WAIT)


@pytest.fixture(scope="module", params=KINDS)
def place(request, tmp_path_factory):
    with served(request.param, tmp_path_factory.mktemp("s")) as place:
        yield place


# --- Encoding ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65535, b"\x81\x7e\xff\xff"),
        (65536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_length_takes_the_shortest_of_its_three_forms(size, head):
    assert encode("x" * size) == head + b"x" * size


def test_the_length_counts_bytes():
    assert encode("ä" * 63) == b"\x81\x7e\x00\x7e" + "ä".encode() * 63


def test_many_frames_lie_one_behind_the_other():
    assert encode_all(["a", "bc"]) == b"\x81\x01a\x81\x02bc"


def test_a_scope_without_the_extension_offers_nothing():
    assert write_of({"type": "websocket"}) is None
    assert write_of({"type": "websocket", "extensions": {"websocket.http.response": {}}}) is None


# --- On an open socket ---------------------------------------------------------------------------------------------


def test_frames_of_all_sizes_arrive_whole(place):
    sizes = [1, 125, 126, 65535, 65536, 3_000_000]
    with place.open() as client:
        client.send(json.dumps({"do": "sizes", "sizes": sizes}))
        for size in sizes:
            assert client.recv(WAIT) == "ä" * (size // 2) + "." * (size % 2)


def test_prepared_and_plain_frames_and_pongs_keep_their_order(place):
    with place.open() as client:
        for first in range(0, 400, 40):
            client.send(json.dumps({"do": "mixed", "first": first, "count": 40}))
            assert client.ping().wait(WAIT)
        assert [client.recv(WAIT) for _ in range(400)] == [text_of(number) for number in range(400)]


def test_a_unix_socket_takes_them_too(tmp_path):
    for kind in KINDS:
        folder = tmp_path / kind.replace(" ", "-")
        folder.mkdir()
        with served(kind, folder, unix=True) as place, place.open() as client:
            assert ask(client, do="offered") is True
            client.send(json.dumps({"do": "mixed", "first": 0, "count": 8}))
            assert [client.recv(WAIT) for _ in range(8)] == [text_of(number) for number in range(8)]


def test_a_reader_that_stops_and_reads_on_misses_no_byte(place):
    """What the kernel does not take at once lies in the server, and what comes then goes behind it."""
    with raw(place, "stops") as client:
        say(client, {"do": "fill", "waiting": 300_000, "more": 40})
        number = place.said("stops", 2)[1]
        frames = list(itertools.islice(frames_of(client), number + 41))
    assert frames == [text_of(n).encode() for n in range(number + 41)]


# --- On one that is not --------------------------------------------------------------------------------------------


def test_nothing_is_written_before_the_accept_or_after_the_close(place):
    with place.open("closed") as client:
        client.send(json.dumps({"do": "close"}))
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(WAIT)
    assert closed.value.rcvd.code == 4000
    assert place.said("closed", 3) == [None, None, None]


def test_nothing_is_written_once_the_client_closes(place):
    with place.open("client") as client:
        assert ask(client, do="offered") is True
    assert place.said("client", 2) == [None, None]


def shut_down(client):
    client.shutdown(socket.SHUT_WR)


def vanish(client):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()  # with a reset, as when the machine behind it is gone


@pytest.mark.parametrize("leave", [shut_down, vanish])
def test_a_client_that_leaves_without_a_word_is_not_written_to(place, leave):
    name = leave.__name__
    with raw(place, name) as client:
        say(client, {"do": "drip"})
        next(frames_of(client))
        leave(client)
        assert place.said(name, 3) == [None, "refused", None]
    with place.open() as other:
        assert ask(other, do="offered") is True


@pytest.mark.parametrize("leave", [vanish, socket.socket.close])
def test_who_leaves_before_the_turn_of_their_handshake_keeps_nobody_out(place, leave):
    said = place.log.stat().st_size
    crowd = [asked(place, f"left{number}") for number in range(60)]
    for client in crowd:
        leave(client)
    with place.open() as client:
        assert ask(client, do="offered") is True
    assert b"Traceback" not in place.log.read_bytes()[said:]


def count_frames(client):
    """How many come until the connection ends, however it does."""
    count = 0
    with contextlib.suppress(ConnectionResetError, IndexError):  # IndexError: in the middle of a frame's head
        for _payload in frames_of(client):
            count += 1
    return count


@pytest.mark.slow
def test_a_client_that_never_reads_is_cut_some_time_after_the_close_whoever_closed(place):
    with raw(place, "stuck") as client, raw(place, "leaving") as leaving:
        for one, name in ((client, "stuck"), (leaving, "leaving")):
            say(one, {"do": "fill", "waiting": 1_500_000})
            filled = place.said(name, 2)[1]
        began = time.monotonic()
        say(client, {"do": "close"})
        leaving.sendall(bytes((0x88, 0x80, 0, 0, 0, 0)))  # a close frame without a code
        assert place.said("stuck", 4)[2:] == [None, None]
        assert time.monotonic() - began < CLOSE_SECONDS + 8
        with contextlib.suppress(ConnectionResetError):
            assert 4000 not in list(frames_of(client))
        time.sleep(max(0.0, began + CLOSE_SECONDS + 2 - time.monotonic()))
        assert count_frames(leaving) < filled


def test_a_client_that_reads_on_gets_the_close_frame_behind_what_waited(place):
    with raw(place, "late") as client:
        say(client, {"do": "fill", "waiting": 1_500_000})
        number = place.said("late", 2)[1]
        say(client, {"do": "close"})
        frames = frames_of(client)
        assert [next(frames) for _ in range(number + 1)] == [text_of(n).encode() for n in range(number + 1)]
        assert next(frames) == 4000


# --- Where they don't belong ---------------------------------------------------------------------------------------


@pytest.fixture
def trust(tmp_path):
    """A server's certificate and key in `tmp_path`, and a client's context that believes it."""
    authority = Authority(tmp_path, "authority")
    authority.certify("server")
    context = ssl.create_default_context(cafile=str(tmp_path / "authority.pem"))
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # which wants more than a throw-away authority has
    return context


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_behind_tls_they_are_not_offered_and_the_session_works(kind, tmp_path, trust):
    with served(kind, tmp_path, papers=tmp_path) as place:
        with place.open("tls", ssl=trust) as client:
            assert ask(client, do="offered") is False
            assert ask(client, do="results", name="tls") == ["not offered"]
        assert place.log.read_text().count("slower way") == 0  # as it should be: nothing to warn of


def test_a_slow_reader_behind_tls_is_bounded_and_told_to_resume(tmp_path, trust):
    """Nobody looks at what plain sends leave there, so Daphne's protocol does."""
    with served("daphne", tmp_path, papers=tmp_path) as place, raw(place, "slow", trust) as client:
        say(client, {"do": "flood", "frames": 20_000})
        *frames, code = frames_of(client)
        assert code == TOO_SLOW
        assert 1000 < len(frames) < 20_000
        assert frames == [text_of(n).encode() for n in range(len(frames))]


CHANGES = {
    "daphne": [
        'server.TRANSPORT["_tempDataLen"] = str',
        'server.PROTOCOL["gone"] = int',
        'server.PROOF = server.Proof("Daphne", twisted="20.3")',
    ],
    "uvicorn": [
        'server.CONNECTION["writes"] = tuple',
        'server.INSIDE["gone"] = bool',
        'server.PROOF = server.Proof("uvicorn", uvicorn="0.1")',
    ],
}


@pytest.mark.parametrize(("kind", "change"), [(kind, change) for kind in CHANGES for change in CHANGES[kind]])
def test_a_server_that_is_not_the_proven_one_is_told_of_once_and_sends_plainly(kind, change, tmp_path):
    with served(kind, tmp_path, change=change) as place:
        for _ in range(3):
            with place.open() as client:
                assert ask(client, do="offered") is False
        assert place.log.read_text().count("slower way") == 1


def test_versions_within_the_proven_ones_are_no_reason_to_doubt(caplog):
    from importlib.metadata import version

    caplog.set_level(logging.WARNING)
    major, minor = version("uvicorn").split(".")[:2]
    assert Proof("uvicorn", uvicorn=f"{major}.{minor}").holds
    assert not caplog.records
    assert not Proof("uvicorn", uvicorn=f"{major}.{minor[0]}9").holds
    assert not Proof("uvicorn", nothing_of_this_name="1").holds
    assert len(caplog.records) == 2


# --- A client that reads when the test says so ---------------------------------------------------------------------


def asked(place, name, trust=None):
    """A socket that has sent its handshake."""
    client = socket.create_connection(("127.0.0.1", place.port), timeout=WAIT)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    if trust is not None:
        client = trust.wrap_socket(client, server_hostname="127.0.0.1")
    lines = [
        f"GET /?{name} HTTP/1.1", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", "",
    ]  # fmt: skip
    client.sendall("\r\n".join(lines).encode())
    return client


def raw(place, name, trust=None):
    """A socket with its handshake done; nothing reads ahead."""
    client = asked(place, name, trust)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += client.recv(1)
    assert b"101" in head
    return client


def say(client, request):
    """One frame with the mask 0 (RFC 6455, section 5.3: a client's is masked)."""
    payload = json.dumps(request).encode()
    client.sendall(bytes((0x81, 0x80 | len(payload), 0, 0, 0, 0)) + payload)


def frames_of(client):
    """The payloads of text frames, then the code of a close; any other frame fails, except a ping."""
    stream = client.makefile("rb")
    while head := stream.read(2):
        size = head[1]
        if size == 126:
            size = int.from_bytes(stream.read(2))
        elif size == 127:
            size = int.from_bytes(stream.read(8))
        payload = stream.read(size)
        assert head[0] in (0x81, 0x88, 0x89), head
        if head[0] != 0x89:
            yield payload if head[0] == 0x81 else int.from_bytes(payload)
