"""`serve` as an operator meets it: it starts, survives a crash, stops cleanly, and says in one line what is wrong."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

import psutil
import pytest

from .site import ROOT, Site, free_port


@pytest.fixture
def own_site():
    """Call for an installation that the test may kill and stop."""
    sites = []

    def make(server="daphne", **env):
        sites.append(Site(server, **env))
        return sites[-1]

    yield make
    for made in sites:
        made.remove()


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def refused(**env):
    """The one line with which `serve` refuses to start."""
    given = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    with tempfile.TemporaryDirectory(prefix="ic-") as var:
        result = subprocess.run(
            [sys.executable, "manage.py", "serve"],
            cwd=ROOT, env={**given, "VAR_DIR": var, **env}, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if " INFO " not in line and " ERROR " not in line]
    assert len(lines) == 1, result.stderr
    return lines[0]


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
def test_it_starts_prints_its_address_and_ctrl_c_ends_every_child(own_site, server):
    site = own_site(server).start()
    wait_for(lambda: f"IntelliColab runs at {site.url}" in site.output)
    assert site.get("/readyz")[0] == 200
    children = site.children()
    assert {child.name() for child in children} & {"valkey-server"}
    assert site.stop(signal.SIGINT) == 0
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert "Traceback" not in site.output


def test_a_second_start_finds_the_data_of_the_first(own_site):
    site = own_site().start()
    alice = site.people("alice")[0]
    site.stop(signal.SIGTERM)
    site.start()
    assert site.get("/", Cookie=alice["cookie"])[0] == 200  # the session, in Redis
    again = site.people("alice")[0]
    assert again["id"] == alice["id"]  # the account, in the database
    assert site.stop() == 0


@pytest.mark.slow
def test_a_killed_web_process_and_a_killed_redis_come_back(own_site):
    site = own_site().start()
    web, redis = site.web_pid(), site.redis_pid()
    os.kill(web, signal.SIGKILL)
    os.kill(redis, signal.SIGKILL)
    wait_for(lambda: {child.pid for child in site.children()}.isdisjoint({web, redis}))
    wait_for(lambda: site.is_up() and site.get("/readyz")[0] == 200)
    assert site.stop() == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends children with their parent only on Linux")
def test_a_killed_supervisor_leaves_nothing_behind(own_site):
    site = own_site().start()
    children = site.children()
    site.process.kill()
    site.process.wait()
    wait_for(lambda: not [child for child in children if child.is_running()])
    site.start()
    assert site.stop() == 0


def test_a_second_supervisor_on_the_same_data_is_refused(own_site):
    site = own_site().start()
    line = refused(VAR_DIR=str(site.var), PORT=str(free_port()))
    assert "Another IntelliColab already runs on" in line
    assert site.is_up()


def test_a_busy_port_is_one_line():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert f"Cannot listen on 127.0.0.1 port {port}: Address already in use" in refused(PORT=str(port))


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"PORT": "eighty"}, "PORT is 'eighty'"),
        ({"SERVER": "gunicorn"}, "it must be 'daphne' or 'uvicorn'"),
        ({"HOST": "no.such.host.invalid"}, "Cannot listen on no.such.host.invalid"),
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "No Redis answers at redis://127.0.0.1:1/0 (REDIS_URL)"),
        ({"REDIS_URL": "http://127.0.0.1"}, "is not a Redis address"),
        ({"DATABASE_URL": "postgres://127.0.0.1:1/x"}, "The database of DATABASE_URL cannot be used"),
        ({"VAR_DIR": "/proc/self/nowhere"}, "cannot be written"),
        ({"SECRET_KEY": "", "PUBLIC_URL": "https://chat.example.org"}, "SECRET_KEY is not set"),
        ({"SECRET_KEY": "", "DATABASE_URL": "postgres://127.0.0.1:1/x"}, "SECRET_KEY is not set"),
        ({"PUBLIC_URL": "chat.example.org"}, "must look like https://chat.example.org"),
        ({"SIGNUP": "closed"}, "it must be 'open' or 'invitation'"),
    ],
)
def test_what_is_wrong_is_one_line(env, said):
    assert said in refused(**{"PORT": str(free_port()), **env})


def test_a_host_that_strangers_reach_asks_for_a_code_that_it_prints(own_site):
    site = own_site(HOST="0.0.0.0").start()
    wait_for(lambda: "The set-up page asks for this code: " in site.output)
    assert b"code" in site.get("/setup/")[1].lower()
    site.people("alice")
    site.stop()
    site.start()
    assert site.output.count("The set-up page asks for this code") == 1  # it is set up: nothing to protect any more


def test_a_wrong_python_is_one_line(tmp_path):
    fake = tmp_path / "python-old"
    fake.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = (3, 9, 1); exec(sys.argv[1])" "$2"\n'
    )
    fake.chmod(0o755)
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    result = subprocess.run(
        ["make", "-s", "run", f"PYTHON={fake}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode != 0
    assert "IntelliColab needs Python 3.11 or newer; this is 3.9." in result.stderr
    assert "Traceback" not in result.stderr
