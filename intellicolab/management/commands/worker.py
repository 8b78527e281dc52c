from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.core.management.base import BaseCommand
from django.db import connections

from intellicolab import threads
from intellicolab.cache.behind import Flusher
from intellicolab.events.consumers import Consumers
from intellicolab.events.relay import Relay
from intellicolab.events.signals import Listener
from intellicolab.redis.client import close
from intellicolab.redis.counters import counters
from intellicolab.redis.sole import SoleService
from intellicolab.stop import Stop

CHECK_SECONDS = 1.0


class Command(BaseCommand):
    help = "Run the background services (serve starts it; several may run)."

    def handle(self, *args: Any, **options: Any) -> None:
        stop = Stop()
        connections.close_all()  # each service has connections of its own
        services: list[SoleService | Listener | Consumers] = [Flusher(), Relay(), Listener(), Consumers()]
        for service in services:
            service.start()
        self.stdout.write("The worker runs.")
        self.stdout.flush()
        while not stop.wait(CHECK_SECONDS):
            pass
        with ThreadPoolExecutor(len(services)) as stopping:  # at once: `serve` grants 15 s for all of them
            list(stopping.map(lambda service: service.stop(), services))
        threads.close()
        counters.stop()
        close()
