"""Writers of several processes share a SQLite database fairly, and a dead one holds nobody up."""

import contextlib
import fcntl
import os
import select
import sqlite3
import subprocess
import sys

import psutil
import pytest
from django.db import OperationalError, connection, connections, transaction

from intellicolab.sqlite.base import wait_for_lock

from .topologies import until

WRITER = """
import sys, time, django
django.setup()
from django.conf import settings
settings.DATABASES["default"]["NAME"] = sys.argv[1]
from django.db import connection, transaction
with connection.cursor() as cursor:
    cursor.execute("CREATE TABLE IF NOT EXISTS turns (who TEXT)")
print("ready", flush=True)
sys.stdin.readline()
end = time.monotonic() + 1.5
while time.monotonic() < end:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("INSERT INTO turns VALUES (%s)", [sys.argv[2]])
"""

HOLDER = """
import sys, time, django
django.setup()
from django.conf import settings
settings.DATABASES["default"]["NAME"] = sys.argv[1]
from django.db import connection, transaction
with transaction.atomic(), connection.cursor() as cursor:
    cursor.execute("CREATE TABLE held (n INT)")
    print("ready", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def start():
    """Call with code and its arguments: a process that says when it is ready, and never outlives the test."""
    with contextlib.ExitStack() as running:

        def begin(code, *arguments):
            process = subprocess.Popen(
                [sys.executable, "-c", code, *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "DJANGO_SETTINGS_MODULE": "intellicolab.settings", "DATABASE_URL": ""},
            )
            running.enter_context(process)  # closes its pipes and waits for it
            running.callback(process.kill)
            return process

        yield begin


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "turns.sqlite3"
    yield path
    connections.close_all()


def test_two_tight_writers_share_fairly(database, start):
    writers = [start(WRITER, database, name) for name in ("a", "b")]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        assert writer.wait(30) == 0
    rows = sqlite3.connect(database)
    counts = dict(rows.execute("SELECT who, count(*) FROM turns GROUP BY who"))
    rows.close()
    assert set(counts) == {"a", "b"}
    assert max(counts.values()) < 3 * min(counts.values()), counts


def test_a_writer_that_is_killed_gives_its_turn_back(database, start):
    holder = start(HOLDER, database)
    assert holder.stdout.readline() == "ready\n"
    other = start(HOLDER, database)
    until(lambda: waits_for_its_turn(other))
    assert not select.select([other.stdout], [], [], 0)[0]  # the premise: it does not get the turn
    holder.kill()
    assert other.stdout.readline() == "ready\n"


def waits_for_its_turn(process):
    """Its second thread is the one that waits for the lock."""
    return psutil.Process(process.pid).num_threads() == 2


@pytest.mark.django_db(transaction=True)
def test_a_rolled_back_transaction_gives_its_turn_back():
    if connection.vendor != "sqlite":
        pytest.skip("turns are SQLite's")
    with transaction.atomic():
        assert connection.turn is not None
        transaction.set_rollback(True)
    assert connection.turn is None


def test_a_turn_that_never_comes_is_given_up_in_time_and_not_kept_when_it_does(tmp_path):
    path = tmp_path / "turn"
    with path.open("w") as holder, path.open("w") as other:
        wait_for_lock(holder, 0)
        with pytest.raises(TimeoutError):
            wait_for_lock(other, 0.1)
        fcntl.flock(holder, fcntl.LOCK_UN)
        with path.open("w") as third:
            wait_for_lock(third, 10)  # after the late one, which passes it on


@pytest.mark.django_db(transaction=True)
def test_a_writer_that_waits_too_long_fails_as_it_would_in_sqlite(monkeypatch):
    if connection.vendor != "sqlite":
        pytest.skip("turns are SQLite's")
    connection.ensure_connection()
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {"timeout": 0.1})
    with open(f"{connection.settings_dict['NAME']}.turn", "w") as holder:
        wait_for_lock(holder, 10)
        with pytest.raises(OperationalError, match="database is locked"), transaction.atomic():
            pass
    with transaction.atomic():
        assert connection.turn is not None
