"""For monitors and load balancers: is the process alive, and can it do its work?"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from .redis.client import Role, client

logger = logging.getLogger("intellicolab.health")

TIMEOUT = 1.0  # seconds for all probes together; a monitor's own patience is usually 2 s or more
# Probes that hang keep their thread until the driver gives up; two rounds may hang before a third waits.
_probes = ThreadPoolExecutor(max_workers=6, thread_name_prefix="readyz")


@never_cache
@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """200 while this process answers. Asks neither database nor Redis: a restart would not mend those."""
    return JsonResponse({"status": "ok"})


@never_cache
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """200 if the database and both Redis roles answer, else 503; each with its latency, within TIMEOUT."""
    checks = {"database": _database, "redis_state": _redis(Role.STATE), "redis_cache": _redis(Role.CACHE)}
    started = {name: _probes.submit(_timed, probe) for name, probe in checks.items()}
    wait(started.values(), timeout=TIMEOUT)
    results = {name: _result(name, future) for name, future in started.items()}
    failed = [name for name, result in results.items() if not result["ok"]]
    body = {"status": "failed" if failed else "ok", "failed": failed, "checks": results}
    return JsonResponse(body, status=503 if failed else 200)


def _timed(probe: Callable[[], object]) -> float:
    start = time.perf_counter()
    probe()
    return round((time.perf_counter() - start) * 1000, 2)


def _result(name: str, future: "Future[float]") -> dict[str, Any]:
    # One that has not begun never will: a crowd of callers can't queue work behind a server that hangs.
    if future.cancel() or not future.done():
        return {"ok": False, "error": f"no answer within {TIMEOUT:g} s"}
    error = future.exception()
    if error is None:
        return {"ok": True, "latency_ms": future.result()}
    logger.warning("Not ready: %s: %s", name, error)
    return {
        "ok": False,
        "error": type(error).__name__,
    }  # the text may name hosts and users


def _redis(role: Role) -> Callable[[], object]:
    return lambda: client(role).ping()


def _database() -> None:
    """On a connection made and closed here: what a new request would need, and nobody else's is held."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.close()
