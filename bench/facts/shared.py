"""A fact, and a group whose handler writes a row for each."""

import os

from django.db import connection, models

from intellicolab.events.groups import on
from intellicolab.events.schema import Event, event

GROUP = "bench-rows"
BY_ORM = os.environ.get("FACTS_BY") == "ORM"


@event("bench:happened", stream="bench-facts")
class Happened(Event):
    number: int


class Handled(models.Model):
    number = models.PositiveIntegerField()

    objects: "models.Manager[Handled]" = models.Manager()

    class Meta:
        app_label = "events"
        managed = False  # no migration knows it
        db_table = "bench_handled"

    def __str__(self) -> str:
        return str(self.number)


def make_table() -> None:
    with connection.schema_editor() as editor:
        editor.create_model(Handled)


@on(Happened, group=GROUP)
def handle(fact: Happened) -> None:
    if BY_ORM:
        Handled.objects.create(number=fact.number)
    else:
        with connection.cursor() as cursor:
            cursor.execute('INSERT INTO "bench_handled" ("number") VALUES (%s)', [fact.number])
