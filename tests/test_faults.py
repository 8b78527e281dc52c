"""Whatever dies: what was acknowledged is stored once, numbers have no gaps, and everybody has the same room.

FAULT_SECONDS and FAULT_SEED make it longer and another one; `python -m tests.faults` does the same by itself.
"""

import os

import pytest

from .faults.run import run

pytestmark = [pytest.mark.slow, pytest.mark.database]

SECONDS = float(os.environ.get("FAULT_SECONDS", "15"))
SEED = int(os.environ.get("FAULT_SEED", "1"))


def test_nothing_is_lost_doubled_or_different_after_faults_of_every_kind(site_database):
    report = run(SECONDS, SEED, **site_database)
    print(report)
    assert report.problems == []
    assert len(report.faults) == 5 or SECONDS < 15
    assert report.messages > 100
