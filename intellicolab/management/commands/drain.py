from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from redis.exceptions import RedisError

from intellicolab.cache.behind import drain, take_dead
from intellicolab.redis.lock import LockError


class Command(BaseCommand):
    help = "Write what write-behind buffers hold to the database, now. Ends with 1 and says what it could not write."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--seconds", type=float, default=60.0, help="how long it may take (60)")
        parser.add_argument("--drop-refused", action="store_true", help="drop, and tell, what the database refused")

    def handle(self, *args: Any, seconds: float, drop_refused: bool, **options: Any) -> None:
        try:
            for line in take_dead() if drop_refused else []:
                self.stdout.write(f"Dropped. {line}")
            left = drain(seconds)
        except (RedisError, OSError, LockError) as error:
            raise CommandError(f"Redis gives no answer, so what waits there cannot be written: {error}") from error
        if left:
            raise CommandError("Not everything could be written.\n" + "\n".join(left))
        self.stdout.write("Everything is in the database.")
