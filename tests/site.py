"""A whole installation as its operator starts it: `manage.py serve` as a child process, in a folder of its own."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 90

PEOPLE_CODE = """
import json, sys
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from accounts.models import Installation, User
from accounts.sessions import SessionStore
from realtime import services
from realtime.models import Room
names = json.loads({names!r})
people = []
for name in names:
    user = User.objects.filter(email=f"{{name}}@example.org").first()
    if user is None:
        email, password = f"{{name}}@example.org", "correct horse battery"
        user = User.objects.create_superuser(email, password, display_name=name.title())
    Installation.objects.get_or_create(pk=1, defaults={{"administrator": user}})
    room = Room.objects.directory().first() or services.create_room(user, "General")
    services.join_room(user, room)
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    cookie = f"{{settings.SESSION_COOKIE_NAME}}={{session.session_key}}"
    people.append({{"id": user.pk, "name": name, "cookie": cookie, "room": room.pk}})
print("PEOPLE" + json.dumps(people))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# Its servers are its own: a worker of its on the tests' would flush what tests have written there.
OWN = ("SECRET_KEY", "DATABASE_URL", "REDIS_URL", "REDIS_CACHE_URL")


class Site:
    """`start()` waits until it answers; `stop()` is Ctrl-C. `env` adds to or replaces the environment of the tests."""

    def __init__(self, server: str = "daphne", **env: str) -> None:
        self.var = Path(tempfile.mkdtemp(prefix="ic-site-"))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.socket_url = f"ws://127.0.0.1:{self.port}/ws/"
        self.env = {
            **{name: value for name, value in os.environ.items() if name not in OWN},
            "VAR_DIR": str(self.var),
            "PORT": str(self.port),
            "SERVER": server,
            "PYTHONUNBUFFERED": "1",
            **env,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.log = self.var / "serve.log"

    def start(self) -> "Site":
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "serve"],
                cwd=ROOT,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.wait_until_up()
        return self

    def wait_until_up(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"serve ended:\n{self.output}")
            if self.is_up():
                return
            time.sleep(0.1)
        raise AssertionError(f"serve did not answer:\n{self.output}")

    def is_up(self) -> bool:
        with contextlib.suppress(OSError):
            return self.get("/healthz")[0] == 200
        return False

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        """(status, body); redirects are followed."""
        request = urllib.request.Request(self.url + path, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def people(self, *names: str) -> list[dict]:
        """Signed-in administrators in the room General: their id, cookie and room id."""
        result = self.manage("shell", "-v", "0", "-c", PEOPLE_CODE.format(names=json.dumps(names)))
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout.rpartition("PEOPLE")[2])

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def children(self) -> list[psutil.Process]:
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def web_pid(self) -> int:
        return next(child.pid for child in self.children() if "web" in child.cmdline())

    def redis_pid(self) -> int:
        return next(child.pid for child in self.children() if "valkey-server" in child.name())

    def stop(self, number: int = signal.SIGINT) -> int:
        """Ctrl-C; the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(60)

    def remove(self) -> None:
        """End whatever still runs, and only then take its folder away: Valkey won't end before it has saved there."""
        if self.process is not None and self.process.poll() is None:
            children = self.children()
            self.process.kill()
            self.process.wait()
            for child in psutil.wait_procs(children, timeout=10)[1]:
                child.kill()
        shutil.rmtree(self.var, ignore_errors=True)
