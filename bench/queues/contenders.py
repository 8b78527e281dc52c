"""Who is measured: the first is our own, and so the value of each row. Each has a module in this package with a `Queue`
(see producer.py), and the command of its worker.
"""

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.harness.processes import ROOT, python
from bench.queues.producer import CONCURRENCY

FULL = 20_000
SCRIPTS = Path(sys.executable).parent


@dataclass(frozen=True)
class Contender:
    """One queue with one worker.

    `module` holds its producer, `worker` is the command of one worker process (or of a parent with one child), `jobs`
    are those of a round: fewer where they would take long. `environment` is for worker and producer, besides
    JOBS_REDIS, JOBS_RESULTS, JOBS_LOG and the project's own (VAR_DIR with the embedded server, DJANGO_SETTINGS_MODULE).
    `prepare` is called once with the environment, before the producer starts. `shipped`: a queue as its documentation
    starts it; the others are tuned, or no queue at all.
    """

    name: str
    module: str
    worker: list[str]
    jobs: int = FULL
    can_drop: bool = True
    shipped: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[Mapping[str, str]], None] = lambda environment: None


def threads(prefetch: int | None = None) -> Mapping[str, str]:
    return {"dramatiq_queue_prefetch": str(prefetch)} if prefetch else {}


def celery(pool: str) -> list[str]:
    quiet = ("--loglevel", "ERROR", "--without-gossip", "--without-mingle")
    return python("-m", "celery", "-A", "bench.queues.celery", "worker", "-P", pool, "-c", str(CONCURRENCY), *quiet)


def rq(kind: str) -> list[str]:
    shell = 'exec "$0" worker --quiet --url "$JOBS_REDIS" --worker-class "$1"'
    return ["sh", "-c", shell, str(SCRIPTS / "rq"), f"rq.worker.{kind}"]


def django(backend: str) -> Mapping[str, str]:
    return {"DJANGO_SETTINGS_MODULE": "bench.queues.django_settings", "JOBS_BACKEND": backend}


DRAMATIQ = python(
    "-m", "dramatiq", "bench.queues.dramatiq", "--processes", "1", "--threads", str(CONCURRENCY), "--skip-logging"
)
TASKIQ = python(
    *("-m", "taskiq", "worker", "bench.queues.taskiq:broker", "--workers", "1"),
    *("--max-async-tasks", str(CONCURRENCY), "--log-level", "WARNING"),
)
HUEY = python("-m", "huey.bin.huey_consumer", "bench.queues.huey.queue", "--quiet", "--workers", str(CONCURRENCY))
DJANGO_RQ = python("-m", "django", "rqworker", "--job-class", "django_tasks_rq.Job", "--verbosity", "0")
STREAMS = "minimal Streams loop"
TUNED = "Dramatiq, prefetch 1,000"
OURS = python("manage.py", "worker", "--groups", "none", "--concurrency", str(CONCURRENCY))


def migrate(environment: Mapping[str, str]) -> None:
    subprocess.run(python("manage.py", "migrate", "--verbosity", "0"), cwd=ROOT, env=dict(environment), check=True)


CONTENDERS = [
    Contender("IntelliColab", "bench.queues.ours", OURS, prepare=migrate),
    Contender(STREAMS, "bench.queues.streams", python("-m", "bench.queues.streams"), shipped=False),
    Contender("streaq", "bench.queues.streaq", python("-m", "streaq", "run", "bench.queues.streaq:worker"), 2_000),
    Contender("taskiq, streams", "bench.queues.taskiq", TASKIQ, 3_000),
    Contender("saq", "bench.queues.saq", python("-m", "saq", "--quiet", "bench.queues.saq.settings"), 3_000),
    Contender("Huey", "bench.queues.huey", HUEY, 10_000),
    Contender("Dramatiq", "bench.queues.dramatiq", DRAMATIQ, 5_000),
    Contender(TUNED, "bench.queues.dramatiq", DRAMATIQ, 5_000, shipped=False, environment=threads(1000)),
    Contender("Celery, prefork", "bench.queues.celery", celery("prefork"), 1_000),
    Contender("Celery, threads", "bench.queues.celery", celery("threads"), 1_000),
    Contender("RQ", "bench.queues.rq", rq("Worker"), 100),
    Contender("RQ, SimpleWorker", "bench.queues.rq", rq("SimpleWorker"), 500),
    Contender(
        "django-tasks-rq", "bench.queues.django_tasks", DJANGO_RQ, 100, environment=django("django_tasks_rq.RQBackend")
    ),
    Contender(
        "django-tasks-db, SQLite",
        "bench.queues.django_tasks",
        python("-m", "django", "db_worker", "--no-startup-delay", "--verbosity", "0"),
        500,
        can_drop=False,
        environment=django("django_tasks_db.DatabaseBackend"),
    ),
]
