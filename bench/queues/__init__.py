"""The job queues that bench/jobs.py compares, one a file: its job, as its documentation has it, and its producer."""
