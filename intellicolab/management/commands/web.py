from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Run one web process (serve starts it; start several behind a proxy on a larger installation)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--server", choices=["daphne", "uvicorn"], default="daphne")

    def handle(self, *args: Any, host: str, port: int, server: str, **options: Any) -> None:
        # The servers import the whole application; `manage.py help` must not.
        from intellicolab.servers import serve

        serve(server, host, port)
