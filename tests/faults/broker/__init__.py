"""Faults under events and jobs: workers, the relay and Redis are killed at random while facts and jobs are made.

`python -m tests.faults.broker --seconds 60 --seed 7` runs it by itself.
"""
