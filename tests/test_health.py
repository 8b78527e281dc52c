"""Health answers, with the servers behind them stopped for real."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections
from django.test import RequestFactory

from intellicolab import health

pytestmark = pytest.mark.database

NAMES = {"database", "redis_state", "redis_cache"}


def ask(view, method="get"):
    response = view(getattr(RequestFactory(), method)("/"))
    return response, json.loads(response.content or b"null")


def wait_until_ready(seconds=5.0):
    deadline = time.monotonic() + seconds
    while ask(health.readyz)[0].status_code != 200:
        assert time.monotonic() < deadline, "not ready again"


@pytest.fixture
def unreachable_database(transactional_db):
    """For connections that are made from now on: no such file to SQLite, no such database to PostgreSQL."""
    database = connections.databases["default"]
    name, database["NAME"] = database["NAME"], "/nonexistent/db.sqlite3"
    yield
    database["NAME"] = name


def test_the_process_answers_without_database_or_redis(redis_server):
    """No database fixture: pytest-django fails a test that touches one."""
    redis_server.kill()
    response, body = ask(health.healthz)
    assert (response.status_code, body) == (200, {"status": "ok"})


def test_ready_names_each_part_with_its_latency(transactional_db):
    response, body = ask(health.readyz)
    assert response.status_code == 200
    assert (body["status"], body["failed"], set(body["checks"])) == ("ok", [], NAMES)
    assert all(check["ok"] and 0 < check["latency_ms"] < 1000 for check in body["checks"].values())


def test_a_killed_redis_is_named_and_found_again(transactional_db, redis_server):
    redis_server.kill()
    response, body = ask(health.readyz)
    assert response.status_code == 503
    assert sorted(body["failed"]) == ["redis_cache", "redis_state"]
    assert body["checks"]["database"]["ok"]
    redis_server.start()
    wait_until_ready()


def test_a_paused_redis_is_named_within_the_time(transactional_db, redis_server):
    redis_server.pause()
    try:
        start = time.monotonic()
        response, body = ask(health.readyz)
        took = time.monotonic() - start
    finally:
        redis_server.resume()
    assert response.status_code == 503
    assert sorted(body["failed"]) == ["redis_cache", "redis_state"]
    assert body["checks"]["redis_state"]["error"] == "no answer within 1 s"
    assert took < health.TIMEOUT + 0.5
    wait_until_ready()


def test_a_crowd_during_a_hang_is_answered_in_time(transactional_db, redis_server):
    """More callers than the probes have threads: those that find none must not wait behind the others."""

    def timed(_):
        start = time.monotonic()
        return ask(health.readyz)[0].status_code, time.monotonic() - start

    redis_server.pause()
    try:
        with ThreadPoolExecutor(8) as crowd:
            answers = list(crowd.map(timed, range(8)))
    finally:
        redis_server.resume()
    assert {status for status, _ in answers} == {503}
    assert max(took for _, took in answers) < health.TIMEOUT + 1
    wait_until_ready()


def test_an_unreachable_database_is_named(unreachable_database):
    response, body = ask(health.readyz)
    assert response.status_code == 503
    assert body["failed"] == ["database"]
    assert body["checks"]["database"] == {"ok": False, "error": "OperationalError"}


@pytest.mark.parametrize("view", [health.healthz, health.readyz])
def test_answers_are_not_cached_and_only_read(view, transactional_db):
    response, _ = ask(view)
    assert "no-store" in response.headers["Cache-Control"]
    assert ask(view, "head")[0].status_code == 200
    assert view(RequestFactory().post("/")).status_code == 405
