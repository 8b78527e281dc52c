"""`manage.py serve`: everything on one machine, with one command.

Embedded Valkey (unless REDIS_URL names a server), migrations, static files, then a web process and a worker, each
started again if it crashes. Whatever is in the way is said in one line.
"""

import logging
import os
import secrets
import socket
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connections
from redis.exceptions import RedisError

from intellicolab.checks import redis_addresses, redis_databases, variable_of
from intellicolab.children import Child, CrashLoopError, RedisKeeper
from intellicolab.reach import lacks_setup_code
from intellicolab.redis.client import Role, client, close, safe_url
from intellicolab.redis.embedded import EmbeddedError, EmbeddedServer
from intellicolab.stop import Stop, Stopped

CHECK_SECONDS = 0.25
READY_SECONDS = 60.0


class Command(BaseCommand):
    help = "Start IntelliColab: Redis, migrations, static files and the web server."
    requires_system_checks: list[str] = []  # they run once what they ask is known to be there

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default=os.environ.get("HOST", "127.0.0.1"))
        parser.add_argument("--port", default=os.environ.get("PORT", "8000"))
        parser.add_argument("--server", default=os.environ.get("SERVER", "daphne"))

    def handle(self, *args: Any, host: str, port: str, server: str, **options: Any) -> None:
        stop = Stop()
        if server not in ("daphne", "uvicorn"):
            raise CommandError(f"SERVER is {server!r}; it must be 'daphne' or 'uvicorn'.")
        address = free_address(host, port)
        check_var()
        with ExitStack() as running:
            with suppress(Stopped):
                redis = start_redis(running, stop)
                self.check(display_num_errors=False)
                prepare()
                code = secrets.token_hex(4) if lacks_setup_code(host) else ""
                connections.close_all()  # the supervisor has no more use for the database
                worker = make_worker(running)  # stopped after the web process: it writes what that left waiting
                web = start_web(running, address[1], host, server, code)
                worker.start()
                self._supervise(stop, redis, [web, worker], address, code)
            self.stdout.write("Stopping.")

    def _supervise(
        self, stop: Stop, redis: RedisKeeper | None, children: list[Child], address: tuple[str, int], code: str
    ) -> None:
        deadline = time.monotonic() + READY_SECONDS
        announced = False
        while not stop.wait(CHECK_SECONDS):
            if redis is not None:
                redis.check()
            try:
                for child in children:
                    child.check()
            except CrashLoopError as error:
                raise CommandError(f"{error} The lines above say why.") from error
            if not announced and (announced := answers(address)):
                self._announce(url_of(address), code)
            elif not announced and time.monotonic() > deadline:
                raise CommandError(f"The web process did not answer on {url_of(address)} in {READY_SECONDS:.0f} s.")

    def _announce(self, url: str, code: str) -> None:
        self.stdout.write(self.style.SUCCESS(f"IntelliColab runs at {url}/  (Ctrl-C stops it)"))
        if code:  # only who sees this output may set it up
            self.stdout.write(self.style.WARNING(f"Nobody has set it up yet. Do so at {url}/setup/?code={code}"))
        self.stdout.flush()


def start_web(running: ExitStack, port: int, host: str, server: str, code: str) -> Child:
    command = [sys.executable, sys.argv[0], "web", "--host", host, "--port", str(port), "--server", server]
    given = {"SETUP_CODE": code} if code else {}
    web = Child("The web process", [*command, "--skip-checks"], env={**os.environ, **given})  # we ran the checks
    running.callback(web.stop)
    web.start()
    return web


def make_worker(running: ExitStack) -> Child:
    worker = Child("The worker", [sys.executable, sys.argv[0], "worker", "--skip-checks"])
    running.callback(worker.stop)
    return worker


def free_address(host: str, port: str) -> tuple[str, int]:
    """(host, port) that can be listened on. Raises CommandError."""
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise CommandError(f"PORT is {port!r}; it must be a number from 1 to 65535.")
    try:
        family, kind, protocol, _name, address = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise CommandError(
            f"Cannot listen on {host} port {port}: {error.strerror}. Stop what listens there, or choose another "
            "with PORT=8001 (and HOST=…)."
        ) from error
    return str(address[0]), int(port)


def check_var() -> None:
    folder = settings.VAR_DIR
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise CommandError(
            f"{folder} cannot be written ({error.strerror}). Make it writable, or set VAR_DIR to another folder."
        ) from error


def start_redis(running: ExitStack, stop: Stop) -> RedisKeeper | None:
    """The embedded server where no REDIS_URL is given; either way, proof that both roles answer, each its own."""
    running.callback(close)
    keeper = None
    if settings.REDIS_EMBEDDED:
        server = EmbeddedServer(settings.REDIS_DIR)
        running.callback(server.stop)
        keeper = RedisKeeper(server, stop)
        try:
            with stop.interrupting():
                server.start()
        except EmbeddedError as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"{settings.REDIS_DIR} cannot be used ({error.strerror}).") from error
    for role in Role:
        check_redis(role)
    for problem in redis_addresses() + redis_databases():
        raise CommandError(f"{problem.msg} {problem.hint}")
    return keeper


def check_redis(role: Role) -> None:
    try:
        with without_errors("intellicolab.redis"):
            client(role).ping()
    except (RedisError, OSError) as error:
        variable, reason = variable_of(role), str(error).rstrip(".")
        raise CommandError(
            f"No Redis answers at {safe_url(settings.REDIS_URLS[role])} ({variable}): {reason}. Start it, correct "
            f"{variable}, or unset it to use the embedded one."
        ) from error


@contextmanager
def without_errors(name: str) -> Iterator[None]:
    """For what the caller tells in its own line: the logger's errors would tell it twice."""
    logger = logging.getLogger(name)

    def is_harmless(record: logging.LogRecord) -> bool:
        return record.levelno < logging.ERROR

    logger.addFilter(is_harmless)
    try:
        yield
    finally:
        logger.removeFilter(is_harmless)


def prepare() -> None:
    """Migrations and static files. Raises CommandError when the database does not answer."""
    try:
        call_command("migrate", interactive=False, verbosity=0)
    except DatabaseError as error:
        reason = str(error).strip().splitlines()[0]
        raise CommandError(f"The database of DATABASE_URL cannot be used: {reason}") from error
    call_command("collectstatic", interactive=False, verbosity=0)


def answers(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection((from_here(address[0]), address[1]), timeout=1):
            return True
    except OSError:
        return False


def url_of(address: tuple[str, int]) -> str:
    """Without a slash at the end."""
    if settings.PUBLIC_URL:
        return settings.PUBLIC_URL
    host = from_here(address[0])
    return f"http://{f'[{host}]' if ':' in host else host}:{address[1]}"


def from_here(host: str) -> str:
    """Where this machine reaches what listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  compared, not bound
