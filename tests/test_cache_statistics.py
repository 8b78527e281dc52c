"""What is counted costs no round trip: it is added up in the process, and flushed each second as one pipeline."""

import os
import subprocess
import sys

from intellicolab.redis.client import Role, client
from intellicolab.redis.counters import FLUSH_SECONDS, Counters, counters, totals

from .topologies import until

FORK = """
import os, sys, time
import django
django.setup()
from intellicolab.redis.counters import counters, totals
hit = counters.tally("cache", "forked:hit").one
hit()
counters.add("cache", "forked:loads")
child = os.fork()
if child == 0:
    hit()
    hit()
    deadline = time.monotonic() + 10
    while totals("cache").get("forked:hit", 0) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os._exit(0)
os.waitpid(child, 0)
counters.stop()
found = totals("cache")
sys.exit(f"{found}" if (found["forked:hit"], found["forked:loads"]) != (3, 1) else 0)
"""


def reads() -> int:
    """How often the server has read from a connection: once for a command, and for a pipeline that is short."""
    return int(client(Role.STATE).info("stats")["total_reads_processed"])


def test_counting_asks_redis_nothing_and_a_flush_is_one_pipeline(redis_server, monkeypatch):
    monkeypatch.setattr("intellicolab.redis.counters.FLUSH_SECONDS", 60)
    counters.flush()  # or the process's own thread could write what earlier tests have counted
    counted = Counters()
    try:
        before = reads()
        for _ in range(1000):
            counted.add("counted", "things:miss")
            counted.tally("counted", "things:hit").one()
        assert reads() - before == 1  # its own
        before = reads()
        counted.flush()
        assert reads() - before == 3  # is the server there, the pipeline, its own
        assert totals("counted") == {"things:miss": 1000, "things:hit": 1000}
    finally:
        counted.stop()


def test_what_is_counted_arrives_each_second_though_nobody_flushes(redis_server):
    assert FLUSH_SECONDS == 1
    counted = Counters()
    try:
        counted.add("counted", "things:miss")
        until(lambda: totals("counted") == {"things:miss": 1}, what="the thread has flushed")
        counted.tally("counted", "things:hit").one()
        until(lambda: totals("counted") == {"things:miss": 1, "things:hit": 1}, what="and again")
    finally:
        counted.stop()


def test_a_forked_child_writes_what_it_counts_and_not_what_its_parent_did():
    run = subprocess.run([sys.executable, "-c", FORK], env={**os.environ}, timeout=50, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()
