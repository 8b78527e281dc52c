"""Rates of jobs: a task's `rate` is the name of a policy that counts "what the code asks for"."""

from .caller import Caller
from .limits import acheck

DENIED_SECONDS = 60.0  # until it is asked again, where an administrator has denied it
EVERYBODY = Caller(given="jobs")


async def wait(name: str) -> float:
    """Seconds that a job of that rate must wait; 0 if it may run now, and where there is no such policy."""
    outcome = await acheck(name, EVERYBODY)
    return 0.0 if outcome.admitted else outcome.retry_after or DENIED_SECONDS
