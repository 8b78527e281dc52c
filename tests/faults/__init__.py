"""Chat under faults: several web processes of both servers, a crowd of clients, and everything that may die, dying.

`python -m tests.faults --seconds 600 --seed 7` runs it as long as one likes; tests/test_faults.py runs a short one.
"""
