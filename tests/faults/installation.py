"""One installation with several web processes of both servers, which a test kills and starts again."""

import json
import os
import signal
import subprocess
import sys
import time

from ..site import ROOT, START_SECONDS, Site, free_port

SERVERS = ("daphne", "uvicorn", "daphne", "uvicorn")

ROWS_CODE = """
import json
from realtime.models import Message, Room
room = Room.objects.get(pk={room})
rows = Message.objects.filter(room=room).order_by("number")
rows = [[m.number, m.version, m.client_id, m.html, m.is_deleted, m.edited_at is not None] for m in rows]
print("ROWS" + json.dumps([room.last_number, room.last_version, rows]))
"""


class Web:
    """One more `manage.py web` beside the site's own."""

    def __init__(self, site: Site, server: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._site = site
        self._command = [sys.executable, "manage.py", "web", "--port", str(self.port), "--server", server]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._site.log.open("ab") as log:
            self.process = subprocess.Popen(self._command, cwd=ROOT, env=self._site.env, stdout=log, stderr=log)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)


class Installation:
    """`with Installation() as running`; `urls` lead to the same rooms through different processes."""

    def __init__(self, **env: str) -> None:
        self.site = Site(SERVERS[0], **env)
        self.webs = [Web(self.site, server) for server in SERVERS[1:]]

    def __enter__(self) -> "Installation":
        try:
            self.site.start()
            for web in self.webs:
                web.start()
            self._wait_until_up()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()

    def end(self) -> None:
        for web in self.webs:
            web.stop()
        if self.site.process is not None and self.site.process.poll() is None:
            self.site.stop()
        self.site.remove()

    @property
    def urls(self) -> list[str]:
        return [self.site.url, *(web.url for web in self.webs)]

    def pause_redis(self, paused: bool) -> None:
        os.kill(self.site.redis_pid(), signal.SIGSTOP if paused else signal.SIGCONT)

    def kill_redis(self) -> None:
        os.kill(self.site.redis_pid(), signal.SIGKILL)

    def stored(self, room: int) -> tuple[int, int, list[list]]:
        """(last number, last version, rows) of a room, as another process reads them from the database."""
        result = self.site.manage("shell", "-v", "0", "-c", ROWS_CODE.format(room=room))
        assert result.returncode == 0, result.stderr
        number, version, rows = json.loads(result.stdout.rpartition("ROWS")[2])
        return number, version, rows

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        for web in self.webs:
            while not is_up(web.url):
                assert time.monotonic() < deadline, self.site.output
                assert web.process is not None
                assert web.process.poll() is None, self.site.output
                time.sleep(0.1)


def is_up(url: str) -> bool:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
