"""The embedded server keeps what it was given: through crashes, and against a second server on its folder."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from django.conf import settings

from intellicolab.redis.embedded import PERSISTENCE, EmbeddedError, EmbeddedServer

CONF = Path(settings.BASE_DIR) / "deploy" / "redis.conf"
KEYS = 500


@pytest.fixture
def folder(tmp_path_factory):
    """Short: a Unix socket's path has 107 bytes."""
    return tmp_path_factory.mktemp("r")


@pytest.fixture
def start(folder):
    """Call for a server on the folder, started with the lines of deploy/redis.conf; all are stopped at the end."""
    servers = []

    def started():
        server = EmbeddedServer(folder, config=lines())
        servers.append(server)
        server.start()
        return server

    yield started
    for server in servers:
        server.stop()


def lines():
    """The directives of deploy/redis.conf, without its comments."""
    text = (line.strip() for line in CONF.read_text().splitlines())
    return tuple(line for line in text if line and not line.startswith("#"))


def connect(server):
    return redis.Redis(unix_socket_path=str(server.socket), decode_responses=True)


def gone(pid):
    """Whether the process has ended; where process 1 reaps nobody, an ended one stays as a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z"


def fill(server):
    with connect(server) as client:
        for number in range(KEYS):
            client.set(f"key:{number}", number)
        client.rpush("list", *range(100))
        client.hset("hash", mapping={"field": "value"})
        client.xadd("stream", {"event": "one"}, id="1-1")
        client.set("ends", "soon", px=60_000)


def assert_all_there(server):
    with connect(server) as client:
        assert client.mget([f"key:{number}" for number in range(KEYS)]) == [str(number) for number in range(KEYS)]
        assert client.lrange("list", 0, -1) == [str(number) for number in range(100)]
        assert client.hgetall("hash") == {"field": "value"}
        assert client.xrange("stream") == [("1-1", {"event": "one"})]
        assert 0 < client.pttl("ends") <= 60_000


def test_the_embedded_server_starts_with_the_lines_of_the_deployed_file():
    assert lines() == PERSISTENCE


def test_the_server_takes_the_lines(start):
    with connect(start()) as client:
        kept = client.config_get("save", "appendonly", "appendfsync")
    assert kept == {"save": "900 1 300 10 60 10000", "appendonly": "yes", "appendfsync": "everysec"}


def test_everything_is_found_after_a_kill(start):
    server = start()
    fill(server)
    os.kill(server.pid, signal.SIGKILL)
    server.kill()  # reaps it
    server.start()
    assert_all_there(server)


def test_everything_is_found_after_a_stop_and_by_a_new_server(start):
    first = start()
    fill(first)
    first.stop()
    assert_all_there(start())


def test_a_second_server_on_the_folder_is_refused_and_harms_nothing(start, folder):
    first = start()
    fill(first)
    with pytest.raises(EmbeddedError, match="Another IntelliColab already runs on"):
        EmbeddedServer(folder).start()
    assert first.alive
    assert_all_there(first)


def test_stop_leaves_no_process_and_lets_go_of_the_folder(start, folder):
    server = start()
    pid = server.pid
    server.stop()
    assert gone(pid)
    assert server.pid is None
    start()


def test_the_server_dies_with_a_supervisor_that_is_killed(folder, start):
    code = f"""
import sys, time
from pathlib import Path
from intellicolab.redis.embedded import EmbeddedServer
server = EmbeddedServer(Path({str(folder)!r}))
server.start()
import redis
redis.Redis(unix_socket_path=str(server.socket)).set("kept", "yes")
print(server.pid, flush=True)
time.sleep(60)
"""
    supervisor = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=settings.BASE_DIR
    )
    with supervisor:
        orphan = int(supervisor.stdout.readline())
        supervisor.kill()
    with connect(start()) as client:  # also waits for the orphan to end
        assert client.get("kept") == "yes"
    assert gone(orphan)


def test_an_orphan_that_still_serves_is_ended_before_a_new_start(folder, start):
    """As where the kernel does not end a child with its parent: nobody holds the lock, but a server listens."""
    orphan = EmbeddedServer(folder, config=lines())
    orphan.start()
    fill(orphan)
    process = orphan._process
    orphan._lock.close()
    try:
        server = start()
        assert process.wait(10) is not None
        assert server.pid != process.pid
        assert_all_there(server)
    finally:
        process.kill()
        process.wait()


def test_a_socket_that_a_crash_left_behind_is_no_obstacle(start):
    server = start()
    server.kill()
    assert server.socket.exists()
    server.start()
    with connect(server) as client:
        assert client.ping()


def test_a_folder_whose_path_is_too_long_is_refused_in_words(tmp_path):
    with pytest.raises(EmbeddedError, match="too long for a Unix socket"):
        EmbeddedServer(tmp_path / ("x" * 100)).start()


def test_a_server_that_cannot_start_says_where_to_look(folder):
    server = EmbeddedServer(folder, config=["no such directive"])
    with pytest.raises(EmbeddedError, match="did not start"):
        server.start()
    server.stop()
