"""`serve` as an operator meets it: it starts, survives a crash, stops cleanly, and says in one line what is wrong."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest

from intellicolab.reach import is_private
from intellicolab.stop import Stop, Stopped

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
    lines = [line for line in result.stderr.splitlines() if " INFO " not in line]
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


@pytest.mark.slow
@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
def test_a_forged_address_is_not_believed_though_it_comes_over_loopback(own_site, server):
    site = own_site(server, RATELIMIT="on").start()
    forged = [{"X-Forwarded-For": f"203.0.113.{number}"} for number in range(101)]
    answers = [site.get("/setup/", **headers)[0] for headers in forged]
    assert answers == [200] * 100 + [429]  # the limit of visitors that a new installation has
    assert site.stop() == 0


@pytest.mark.slow
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


@pytest.mark.slow
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
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "No Redis answers at redis://127.0.0.1:1/0 (REDIS_URL): "),
        ({"REDIS_URL": "redis://127.0.0.1:1/foo"}, "REDIS_URL cannot be understood"),
        ({"REDIS_CACHE_URL": "redis://127.0.0.1:1"}, "No Redis answers at redis://127.0.0.1:1 (REDIS_CACHE_URL): "),
        ({"DATABASE_URL": "postgres://127.0.0.1:1/x"}, "The database of DATABASE_URL cannot be used"),
        ({"VAR_DIR": "/proc/self/nowhere"}, "cannot be written"),
        ({"SECRET_KEY": "", "PUBLIC_URL": "https://chat.example.org"}, "SECRET_KEY is not set"),
        ({"SECRET_KEY": "", "DATABASE_URL": "postgres://127.0.0.1:1/x"}, "SECRET_KEY is not set"),
        ({"PUBLIC_URL": "chat.example.org"}, "must look like https://chat.example.org"),
        ({"SIGNUP": "closed"}, "it must be 'open' or 'invitation'"),
        ({"TRUSTED_PROXIES": "xx"}, "TRUSTED_PROXIES contains 'xx'"),
        ({"TIME_ZONE": "Foo"}, "TIME_ZONE is 'Foo'"),
    ],
)
def test_what_is_wrong_is_one_line(env, said):
    line = refused(**{"PORT": str(free_port()), **env})
    assert said in line
    assert ".." not in line


def test_one_database_under_two_names_is_one_line(redis_server):
    other = redis_server.folder / "." / ".." / redis_server.folder.name / "valkey.sock"
    env = {"REDIS_URL": redis_server.url(), "REDIS_CACHE_URL": f"unix://{other}?db=0", "PORT": str(free_port())}
    assert "name the same logical database" in refused(**env)
    env["REDIS_CACHE_URL"] = env["REDIS_URL"]
    assert "name the same logical database" in refused(**env)


# --- The set-up code -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "names", "proxies", "private"),
    [
        ("127.0.0.1", [], [], True),
        ("localhost", [], [], True),
        ("::1", [], [], True),
        ("0.0.0.0", [], [], False),
        ("192.0.2.7", [], [], False),
        ("chat.example.org", [], [], False),
        ("127.0.0.1", ["chat.example.org"], [], False),  # PUBLIC_URL or ALLOWED_HOSTS: others come through a proxy
        ("127.0.0.1", ["*"], [], False),
        ("127.0.0.1", [], ["127.0.0.1"], False),
    ],
)
def test_an_installation_is_private_only_when_nothing_lets_others_in(settings, host, names, proxies, private):
    settings.ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]", *names]
    settings.TRUSTED_PROXIES = proxies
    assert is_private(host) is private


@pytest.mark.slow
def test_where_strangers_come_it_asks_for_a_code_and_prints_the_address_that_has_it(own_site):
    site = own_site(TRUSTED_PROXIES="127.0.0.1").start()
    wait_for(lambda: "/setup/?code=" in site.output)
    [path] = re.findall(rf"{site.url}(/setup/\?code=\S+)", site.output)
    code = path.partition("=")[2]
    assert f'value="{code}"' in site.get(path)[1].decode()
    assert code not in site.get("/setup/")[1].decode()
    site.people("alice")
    site.stop()
    site.start()
    wait_for(lambda: site.output.count("IntelliColab runs at") == 2)
    assert site.output.count("/setup/?code=") == 1  # it is set up: nothing to protect any more


@pytest.mark.slow
def test_on_this_machine_alone_no_code_is_asked_for(own_site):
    site = own_site().start()
    wait_for(lambda: "IntelliColab runs at" in site.output)
    assert "/setup/?code=" not in site.output
    assert 'name="code"' not in site.get("/setup/")[1].decode()


def test_a_web_process_by_itself_is_refused_where_the_first_stranger_would_own_it(own_site):
    site = own_site(TRUSTED_PROXIES="127.0.0.1", SECRET_KEY="k" * 50)
    [line] = site.manage("web", "--port", str(site.port)).stderr.splitlines()
    assert "The database cannot be used: no such table" in line
    assert site.manage("migrate").returncode == 0
    [line] = site.manage("web", "--port", str(site.port)).stderr.splitlines()
    assert "set SETUP_CODE" in line


# --- A Redis that won't start again ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_redis_that_cannot_start_again_is_tried_until_it_can_and_the_site_goes_on(own_site):
    site = own_site().start()
    web, folder = site.web_pid(), site.var / "redis"
    folder.rename(site.var / "away")
    folder.touch()  # where the folder was: nothing can be started there
    os.kill(site.redis_pid(), signal.SIGKILL)
    wait_for(lambda: site.output.count("Embedded Valkey cannot be started again") >= 2)
    assert site.get("/healthz")[0] == 200
    assert site.get("/readyz")[0] == 503
    folder.unlink()
    (site.var / "away").rename(folder)
    wait_for(lambda: site.get("/readyz")[0] == 200)
    assert site.web_pid() == web
    assert "Traceback" not in site.output
    assert site.stop() == 0


def test_a_signal_ends_it_also_while_redis_cannot_start(own_site):
    site = own_site().start()
    shutil.rmtree(site.var / "redis")
    (site.var / "redis").touch()
    os.kill(site.redis_pid(), signal.SIGKILL)
    wait_for(lambda: "Embedded Valkey cannot be started again" in site.output)
    assert site.stop(signal.SIGTERM) == 0
    assert "Traceback" not in site.output


def test_a_signal_interrupts_a_long_start_and_nothing_else():
    before = signal.getsignal(signal.SIGUSR1)
    try:
        stop = Stop([signal.SIGUSR1])
        threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGUSR1]).start()
        with pytest.raises(Stopped), stop.interrupting():
            time.sleep(30)  # not pause(2): a signal that comes just before it would not end it
        os.kill(os.getpid(), signal.SIGUSR1)  # outside: only remembered
        assert stop.wait(0)
        with pytest.raises(Stopped), stop.interrupting():
            pytest.fail("began although a signal had come")
    finally:
        signal.signal(signal.SIGUSR1, before)


# --- make ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def clean_copy():
    """What a clone would hold, in a folder whose path is short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="ic-"))
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]  # with what is not yet committed
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
def test_make_run_in_a_clean_copy_starts_and_ctrl_c_leaves_nothing(clean_copy):
    port = free_port()
    ours = ("VAR_DIR", "SECRET_KEY", "DATABASE_URL", "MAKEFLAGS", "MFLAGS", "MAKELEVEL")
    env = {name: value for name, value in os.environ.items() if name not in ours}
    log = clean_copy / "make.log"
    with log.open("w") as output:
        make = subprocess.Popen(
            ["make", "run", f"PORT={port}", f"PYTHON={sys.executable}"],
            cwd=clean_copy, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        address = f"IntelliColab runs at http://127.0.0.1:{port}/"
        wait_for(lambda: address in log.read_text() or make.poll() is not None, 300)
        assert address in log.read_text(), log.read_text()
        children = psutil.Process(make.pid).children(recursive=True)
        assert {"valkey-server"} <= {child.name() for child in children}
        os.killpg(make.pid, signal.SIGINT)
        make.wait(60)
        wait_for(lambda: not [child for child in children if child.is_running()])
        assert (clean_copy / "var" / "db.sqlite3").exists()
        assert "Traceback" not in log.read_text()
    finally:
        if make.poll() is None:
            os.killpg(make.pid, signal.SIGKILL)
            make.wait()


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
