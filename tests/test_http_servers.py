"""The one-hop handler under the real servers, Daphne and uvicorn, each a child process of the test."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.http_site import FILE_CONTENT

ROOT = Path(__file__).resolve().parent.parent
DAPHNE = """
import sys
from intellicolab.daphne_server import Server
from tests.http_site import application

Server(application, [f"tcp:{sys.argv[1]}:interface=127.0.0.1"]).run()
"""
UVICORN = """
import sys, uvicorn
from tests.http_site import application

uvicorn.run(application, port=int(sys.argv[1]), log_level="critical", access_log=False, proxy_headers=False)
"""
SERVERS = {"daphne": DAPHNE, "uvicorn": UVICORN}
TIMEOUT = 20  # seconds


class Site:
    """A running server; each request is made on a connection of its own."""

    def __init__(self, port: int) -> None:
        self.port = port

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)

    def request(
        self, path: str, method: str = "GET", body=None, headers=None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = self.connect()
        connection.request(method, path, body, headers or {}, encode_chunked=not isinstance(body, bytes | None))
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response, content

    def events(self) -> list[str]:
        return json.loads(self.request("/events")[1])["events"]

    def raw(self, path: str) -> socket.socket:
        """A socket that has asked for `path`."""
        peer = socket.create_connection(("127.0.0.1", self.port), TIMEOUT)
        peer.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return peer


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


def answers(port: int) -> bool:
    with socket.socket() as peer:
        return peer.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module", params=SERVERS)
def site(request) -> Iterator[Site]:
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    command = [sys.executable, "-c", SERVERS[request.param], str(port)]
    server = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        until(lambda: server.poll() is not None or answers(port))
        yield Site(port)
    finally:
        server.terminate()
        server.wait(TIMEOUT)


def test_pages_cookies_and_errors_reach_the_client(site):
    assert site.request("/hello")[1] == b"hello"
    response, _ = site.request("/cookies")
    assert len(response.headers.get_all("Set-Cookie")) == 2
    response, content = site.request("/boom")
    assert (response.status, content) == (500, b"our own page for errors")


@pytest.mark.parametrize("size", [0, 100, 8192, 65536, 3_000_000])
def test_bodies_of_any_size_arrive_whole(site, size):
    body = os.urandom(size)
    assert site.request("/echo", "POST", body)[1] == body


def test_a_chunked_body_arrives_whole(site):
    parts = [b"one ", b"two ", b"three" * 10_000]
    headers = {"Transfer-Encoding": "chunked"}
    assert site.request("/echo", "POST", iter(parts), headers)[1] == b"".join(parts)


def test_a_head_request_has_the_length_and_no_body(site):
    response, content = site.request("/download", "HEAD")
    assert (response.headers["Content-Length"], content) == (str(len(FILE_CONTENT)), b"")


@pytest.mark.parametrize("path", ["/stream", "/async-stream"])
def test_streams_arrive_whole(site, path):
    assert site.request(path)[1] == b"".join(b"%06d\n" % number * 1000 for number in range(3))


def test_a_file_arrives_whole(site):
    assert site.request("/download")[1] == FILE_CONTENT


@pytest.mark.parametrize("path", ["/stream?endless", "/async-stream?endless"])
def test_a_client_that_leaves_ends_an_endless_stream(site, path):
    before = site.events().count("closed")
    peer = site.raw(path)
    assert peer.recv(1000).startswith(b"HTTP/1.1 200")
    peer.close()
    until(lambda: site.events().count("closed") == before + 1)


def test_an_async_view_is_cancelled_when_its_client_leaves(site):
    before = site.events().count("cancelled")
    peer = site.raw("/async-slow")
    until(lambda: site.events().count("slow began") > before)
    peer.close()
    until(lambda: site.events().count("cancelled") > before)
    assert site.events().count("cancelled") == before + 1


def test_a_stream_that_breaks_off_is_not_taken_for_whole(site):
    connection = site.connect()
    connection.request("GET", "/stream-fails")
    with pytest.raises(http.client.IncompleteRead):
        connection.getresponse().read()
    connection.close()
    assert site.request("/hello")[1] == b"hello"


def test_signals_are_sent_once_a_request(site):
    before = json.loads(site.request("/events")[1])
    for path in ("/hello", "/stream", "/download", "/boom", "/async"):
        site.request(path)

    after = {}

    def ended() -> bool:
        after.update(json.loads(site.request("/events")[1]))
        return after["started"] - after["finished"] == 1  # the one that asks

    until(ended)
    asked = after["started"] - before["started"]
    assert asked >= 6
    assert after["finished"] - before["finished"] == asked


def test_a_stream_waits_for_a_slow_reader(site):
    """What is made ahead is what buffers hold (the kernel's up to 6 MB), never the 7 KB parts without end."""
    peer = site.raw("/stream?endless")

    def parts() -> int:
        return sum(event.startswith("part") for event in site.events())

    def stands_still() -> bool:
        before = parts()
        time.sleep(0.2)
        return parts() == before

    until(stands_still)
    before = parts()
    assert before < 10_000_000 / 7000
    while peer.recv(2**20):
        if parts() > before:
            break
    peer.close()
