"""A table and buffers of the tests' own for write-behind; child processes import it, too."""

import time

import pytest
from django.db import connection, connections, models

from intellicolab.cache.behind import LatestBuffer, Row, SumBuffer, add_sums, registry, update_greatest, update_latest
from intellicolab.redis.fence import StaleFence


class Thing(models.Model):
    """Its check constraints refuse what is below 0."""

    value = models.PositiveIntegerField(default=0)
    stamp = models.PositiveBigIntegerField(default=0)
    total = models.PositiveIntegerField(default=0)

    class Meta:
        app_label = "cache"
        managed = False  # no migration knows it
        db_table = "tests_thing"

    def __str__(self):
        return f"{self.pk}"


KEYS = (1, 2, 3, 4)


def make_table():
    if Thing._meta.db_table in connection.introspection.table_names():
        return
    with connection.schema_editor() as editor:
        editor.create_model(Thing)


def rows(entries):
    return [Row({"pk": entry.key}, {"value": entry.value}, entry.stamp) for entry in entries]


def write_latest(entries):
    update_latest(Thing.objects.all(), rows(entries))


def write_greatest(entries):
    update_greatest(Thing.objects.all(), rows(entries))


def write_sums(amounts):
    add_sums(Thing.objects.all(), "total", amounts)


def load_sums(keys):
    return dict(Thing.objects.filter(pk__in=keys).values_list("pk", "total"))


def latest(namespace="things", **options):
    return LatestBuffer(namespace, **{"write": write_latest, "type": int, **options})


def sums(namespace="visits", **options):
    return SumBuffer(namespace, **{"write": write_sums, "load": load_sums, **options})


def forget():
    """The buffers that tests have declared; the application's own stay."""
    for namespace in [name for name, buffer in registry.items() if buffer._write.__module__.startswith("tests")]:
        del registry[namespace]


def values(field):
    return dict(Thing.objects.values_list("pk", field))


@pytest.fixture(scope="session")
def table(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        make_table()


@pytest.fixture
def things(table, transactional_db):
    """Four rows, and afterwards no buffer of the test's is left."""
    Thing.objects.all().delete()
    Thing.objects.bulk_create([Thing(pk=key) for key in KEYS])
    yield
    forget()


def nothing():
    """A guard that lets everything pass."""


def flush(buffer, **options):
    while buffer.flush(nothing, **options):
        pass


def refuse():
    """A guard of a flusher whose lock has gone to another."""
    raise StaleFence


def closing(work):
    """For a thread of a test: its database connections end with it."""

    def run():
        try:
            work()
        finally:
            connections.close_all()

    return run


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
