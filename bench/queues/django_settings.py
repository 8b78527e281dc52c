"""A Django project with nothing but task queues: JOBS_BACKEND names one, Redis is at JOBS_REDIS."""

import os

from bench.queues import producer

SECRET_KEY = "bench"
USE_TZ = True
INSTALLED_APPS = ["django_tasks", "django_tasks_db", "django_rq"]
TASKS = {"default": {"BACKEND": os.environ["JOBS_BACKEND"]}}
RQ_QUEUES = {"default": {"URL": producer.URL}}
if not producer.KEPT:
    RQ = {"DEFAULT_RESULT_TTL": 0}
# As Django's documentation has it for SQLite with several writers.
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.path.join(os.environ["VAR_DIR"], "tasks.sqlite3"),
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"},
    }
}
