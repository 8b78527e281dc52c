"""`manage.py serve`: everything on one machine, with one command.

Embedded Valkey (unless REDIS_URL names a server), migrations, static files, then a web process that is started again
if it crashes. Whatever is in the way is said in one line.
"""

import os
import secrets
import signal
import socket
import sys
import threading
import time
from argparse import ArgumentParser
from contextlib import ExitStack
from ipaddress import ip_address
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from redis.exceptions import RedisError

from accounts.queries import is_installed
from intellicolab.children import Child, CrashLoopError
from intellicolab.redis.client import Role, client, close, safe_url
from intellicolab.redis.embedded import EmbeddedError, EmbeddedServer

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
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: stop.set())
        if server not in ("daphne", "uvicorn"):
            raise CommandError(f"SERVER is {server!r}; it must be 'daphne' or 'uvicorn'.")
        address = free_address(host, port)
        check_var()
        with ExitStack() as running:
            redis = start_redis(running)
            self.check(display_num_errors=False)
            prepare()
            web = self._start_web(running, host, address[1], server)
            self._supervise(stop, redis, web, address)

    def _start_web(self, running: ExitStack, host: str, port: int, server: str) -> Child:
        command = [sys.executable, sys.argv[0], "web", "--host", host, "--port", str(port), "--server", server]
        web = Child("The web process", command, env={**os.environ, **self._setup_code(host)})
        running.callback(web.stop)
        web.start()
        return web

    def _setup_code(self, host: str) -> dict[str, str]:
        """Where strangers can reach an installation that nobody has set up yet, only who sees this output may."""
        if is_loopback(host) or settings.SETUP_CODE or is_installed():
            return {}
        code = secrets.token_hex(4)
        self.stdout.write(self.style.WARNING(f"The set-up page asks for this code: {code}"))
        return {"SETUP_CODE": code}

    def _supervise(self, stop: threading.Event, redis: EmbeddedServer | None, web: Child, address: Any) -> None:
        deadline = time.monotonic() + READY_SECONDS
        announced = False
        while not stop.wait(CHECK_SECONDS):
            if redis is not None and not redis.alive:
                redis.start()
            try:
                web.check()
            except CrashLoopError as error:
                raise CommandError(f"{error} The lines above say why.") from error
            if not announced and (announced := answers(address)):
                self.stdout.write(self.style.SUCCESS(f"IntelliColab runs at {url_of(address)}  (Ctrl-C stops it)"))
                self.stdout.flush()
            elif not announced and time.monotonic() > deadline:
                raise CommandError(f"The web process did not answer on {url_of(address)} in {READY_SECONDS:.0f} s.")
        self.stdout.write("Stopping.")


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


def start_redis(running: ExitStack) -> EmbeddedServer | None:
    """The embedded server where no REDIS_URL is given, else proof that the named ones answer."""
    running.callback(close)
    server = None
    if settings.REDIS_EMBEDDED:
        server = EmbeddedServer(settings.REDIS_DIR)
        try:
            server.start()
        except EmbeddedError as error:
            raise CommandError(str(error)) from error
        running.callback(server.stop)
    for role, variable in ((Role.STATE, "REDIS_URL"), (Role.CACHE, "REDIS_CACHE_URL")):
        check_redis(role, variable)
    return server


def check_redis(role: Role, variable: str) -> None:
    try:
        client(role).ping()
    except ImproperlyConfigured as error:
        raise CommandError(f"{variable}: {error}") from error
    except (RedisError, OSError) as error:
        raise CommandError(
            f"No Redis answers at {safe_url(settings.REDIS_URLS[role])} ({variable}): {error}. Start it, correct "
            f"{variable}, or unset it to use the embedded one."
        ) from error


def prepare() -> None:
    """Migrations and static files. Raises CommandError when the database does not answer."""
    try:
        call_command("migrate", interactive=False, verbosity=0)
    except DatabaseError as error:
        reason = str(error).strip().splitlines()[0]
        raise CommandError(f"The database of DATABASE_URL cannot be used: {reason}") from error
    call_command("collectstatic", interactive=False, verbosity=0)


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def answers(address: tuple[str, int]) -> bool:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address[0], address[0])  # noqa: S104  compared, not bound
    try:
        with socket.create_connection((host, address[1]), timeout=1):
            return True
    except OSError:
        return False


def url_of(address: tuple[str, int]) -> str:
    if settings.PUBLIC_URL:
        return settings.PUBLIC_URL
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address[0], address[0])  # noqa: S104  compared, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{address[1]}/"
