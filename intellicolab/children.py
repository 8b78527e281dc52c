"""Child processes that are restarted when they crash, stopped when we stop, and never left behind."""

import logging
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from .redis.embedded import EmbeddedError, EmbeddedServer, die_with_parent
from .stop import Stop

logger = logging.getLogger("intellicolab")

STOP_SECONDS = 15.0  # for requests in flight and the committer's queue; then SIGKILL
QUICK_SECONDS = 10.0  # a child that dies sooner than this never got going
MAX_QUICK_DEATHS = 5
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before Redis is tried again
CALM_SECONDS = 120.0  # longer than the longest pause and a start together


class CrashLoopError(RuntimeError):
    """A child died again and again right after its start."""


class Child:
    """One supervised process. `check` restarts it when it has died, at first at once, then with a growing pause."""

    def __init__(self, name: str, command: Sequence[str], env: dict[str, str] | None = None) -> None:
        self.name = name
        self._command = list(command)
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._quick_deaths = 0
        self._not_before = 0.0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            env=self._env,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches the supervisor only, which stops the children in order
            preexec_fn=die_with_parent if sys.platform == "linux" else None,
        )
        self._started = time.monotonic()

    def check(self) -> None:
        """Restart the process if it has died. Raises CrashLoopError when it keeps dying at its start."""
        now = time.monotonic()
        if self._process is not None and self._process.poll() is not None:
            self._note_death(now)
        if self._process is None and now >= self._not_before:
            self.start()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL after STOP_SECONDS."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            logger.warning("%s did not stop in %s s and is killed", self.name, STOP_SECONDS)
            self._process.kill()
            self._process.wait()
        self._process = None

    def _note_death(self, now: float) -> None:
        assert self._process is not None
        code, self._process = self._process.returncode, None
        quick = now - self._started < QUICK_SECONDS
        self._quick_deaths = self._quick_deaths + 1 if quick else 0
        if self._quick_deaths >= MAX_QUICK_DEATHS:
            raise CrashLoopError(f"{self.name} ended {self._quick_deaths} times right after its start (exit {code}).")
        self._not_before = now + (2**self._quick_deaths - 1) * 0.2
        logger.error("%s ended (exit %s) and is started again", self.name, code)


class RedisKeeper:
    """Starts the embedded server again when it has died.

    What prevents that (a full disk, a long load) is logged and tried again after a growing pause, while the web
    process goes on without Redis.
    """

    def __init__(self, server: EmbeddedServer, stop: Stop) -> None:
        self._server = server
        self._stop = stop
        self._tried = -CALM_SECONDS
        self._pause = FIRST_PAUSE
        self._not_before = 0.0

    def check(self) -> None:
        """Restart the server if it has died. Raises Stopped when a signal comes meanwhile."""
        now = time.monotonic()
        if self._server.alive or now < self._not_before:
            return
        self._pause = min(2 * self._pause, LONGEST_PAUSE) if now - self._tried < CALM_SECONDS else FIRST_PAUSE
        self._tried = now
        try:
            with self._stop.interrupting():
                self._server.start()
        except (EmbeddedError, OSError) as error:
            logger.error("Embedded Valkey cannot be started again, next try in %s s: %s", self._pause, error)
        self._not_before = time.monotonic() + self._pause
