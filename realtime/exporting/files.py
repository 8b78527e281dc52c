"""Where exports lie: private files under names that nobody can guess, each there whole or not at all.

A file is written beside its place as `JOB.TOKEN.part` and renamed when it is complete. What a killed worker leaves is
removed by the next try of the same job, and by the nightly plan.
"""

import errno
import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

from intellicolab.durable import sync

from .errors import DiskFull

logger = logging.getLogger("realtime")

FULL = (errno.ENOSPC, errno.EDQUOT)
# Seconds since a file was last written to, after which nobody makes it any more: a job may take an hour.
STALE = 24 * 60 * 60.0


def folder() -> Path:
    """Made where it is missing, for this user of the system alone. Raises OSError."""
    path = Path(settings.EXPORTS_DIR)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def path_of(name: str) -> Path:
    return Path(settings.EXPORTS_DIR) / name


@contextmanager
def fresh(job_id: str) -> Iterator[Path]:
    """A file of this try's own to be written, which is gone afterwards unless it was kept.

    Raises DiskFull, OSError.
    """
    remove_parts(job_id)
    part = folder() / f"{job_id}.{secrets.token_hex(8)}.part"
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        yield part
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull(part.parent) from error
        raise
    finally:
        part.unlink(missing_ok=True)


def keep(part: Path) -> str:
    """Put a complete file in its place, durably; its name."""
    name = f"{secrets.token_urlsafe(24)}.zip"
    sync(part)
    part.rename(part.with_name(name))
    sync(part.parent)
    return name


def remove(name: str) -> None:
    """Delete a file. One that is gone already is no error, and one that can't be deleted is the nightly plan's."""
    if name:
        _unlink(path_of(name))


def remove_all(job_id: str, name: str) -> None:
    """What an export that is no more has left."""
    remove(name)
    remove_parts(job_id)


def remove_parts(job_id: str) -> None:
    """What earlier tries of a job have left. A try that still runs, its lease lost, then fails when it ends."""
    if job_id:
        for part in Path(settings.EXPORTS_DIR).glob(f"{job_id}.*.part"):
            _unlink(part)


def stale() -> list[str]:
    """The names of files that nobody writes any more, whether a row names them or not."""
    try:
        return [path.name for path in Path(settings.EXPORTS_DIR).iterdir() if _is_stale(path)]
    except FileNotFoundError:
        return []


def _is_stale(path: Path) -> bool:
    try:
        return path.stat().st_mtime < time.time() - STALE
    except FileNotFoundError:
        return False


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("%s could not be deleted: %s", path, error)
