"""Whatever dies: each fact is handled once, each job runs to an end or is dead, nobody gets two letters, nothing grows.

FAULT_SECONDS and FAULT_SEED make it longer and another one; `python -m tests.faults.broker` does the same by itself.
"""

import os

import pytest

from .faults.broker.run import run

pytestmark = [pytest.mark.slow, pytest.mark.database]

SECONDS = float(os.environ.get("FAULT_SECONDS", "15"))
SEED = int(os.environ.get("FAULT_SEED", "1"))


def test_no_fact_or_job_is_lost_or_doubled_after_faults_of_every_kind(site_database):
    report = run(SECONDS, SEED, **site_database)
    print(report)
    assert report.problems == []
    assert len(report.faults) == 5 or SECONDS < 15
    assert report.made > 50
