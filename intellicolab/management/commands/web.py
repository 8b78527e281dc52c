from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection

from intellicolab.reach import lacks_setup_code


class Command(BaseCommand):
    help = "Run one web process (serve starts it; start several behind a proxy on a larger installation)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--server", choices=["daphne", "uvicorn"], default="daphne")

    def handle(self, *args: Any, host: str, port: int, server: str, **options: Any) -> None:
        refuse_without_code(host)
        # The servers import the whole application; `manage.py help` must not.
        from intellicolab.servers import serve

        serve(server, host, port)


def refuse_without_code(host: str) -> None:
    """Raises CommandError where strangers could set up the installation, or the database does not answer."""
    try:
        lacking = lacks_setup_code(host)
    except DatabaseError as error:
        reason = str(error).strip().splitlines()[0]
        raise CommandError(f"The database cannot be used: {reason}. Is it there, and did `migrate` run?") from error
    finally:
        connection.close()
    if lacking:
        raise CommandError(
            "Nobody has set up this installation yet, and other machines reach it: set SETUP_CODE to a code that the "
            "set-up page asks for, or run `manage.py serve`, which makes one."
        )
