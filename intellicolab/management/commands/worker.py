from typing import Any

from django.core.management.base import BaseCommand
from django.db import connections

from intellicolab import threads
from intellicolab.cache.behind import Flusher
from intellicolab.events.relay import Relay
from intellicolab.events.signals import Listener
from intellicolab.redis.client import close
from intellicolab.redis.counters import counters
from intellicolab.redis.sole import SoleService
from intellicolab.stop import Stop

CHECK_SECONDS = 1.0


class Command(BaseCommand):
    help = "Run the background services (serve starts it; several may run, one of them works, the others stand by)."

    def handle(self, *args: Any, **options: Any) -> None:
        stop = Stop()
        connections.close_all()  # each service has connections of its own
        services: list[SoleService | Listener] = [Flusher(), Relay(), Listener()]
        for service in services:
            service.start()
        self.stdout.write("The worker runs.")
        self.stdout.flush()
        while not stop.wait(CHECK_SECONDS):
            pass
        for service in services:
            service.stop()
        threads.close()
        counters.stop()
        close()
