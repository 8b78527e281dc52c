"""Tasks for the tests of jobs, which note in Redis what they do: workers may be other processes."""

import asyncio
import os
import time
from contextlib import suppress

from django_tasks import task

from intellicolab.jobs.errors import NonRetryable, Retry
from intellicolab.redis.client import Role, async_client, client

NOTES = "test:notes"


def note(text):
    client(Role.STATE).rpush(NOTES, text)


def notes():
    return [text.decode() for text in client(Role.STATE).lrange(NOTES, 0, -1)]


@task
def noop(*args, **kwargs):
    return None


@task
async def noop_async(*args, **kwargs):
    return None


@task
def add(one, two):
    return one + two


@task
async def add_async(one, two):
    await asyncio.sleep(0)
    return one + two


@task
def say(text):
    note(text)


@task
async def say_async(text):
    await async_client(Role.STATE).rpush(NOTES, text)


@task
def fail(text="it fails"):
    raise ValueError(text)


@task
def fail_until_told():
    if "go" not in notes():
        raise ValueError("not yet")


@task(retries=5, backoff=0.02)
def fail_for_good(text):
    note(text)
    try:
        raise KeyError("the cause")
    except KeyError as error:
        raise NonRetryable(text) from error


@task
def fail_in_a_chain():
    try:
        raise KeyError("the cause")
    except KeyError as error:
        raise ValueError("the effect") from error


@task
def leave():
    raise SystemExit("leaving")


@task
async def leave_async():
    raise SystemExit("leaving")


@task
def return_half_a_character():
    return "\ud800"


@task
def return_what_json_cannot_hold():
    return object()


@task
def repeat(text, times):
    return text * times


@task
def divide(number):
    return number / 1e-320


@task(takes_context=True)
def attempt(context, *args):
    return [context.attempt, context.task_result.id, list(args)]


@task(takes_context=True)
async def attempt_async(context):
    return context.attempt


@task(retries=2, backoff=0.02)
def fail_thrice(text):
    note(text)
    raise ValueError(text)


@task(retries=5, backoff=0.02, takes_context=True)
def succeed_at_third(context):
    if context.attempt < 3:
        raise ValueError(f"try {context.attempt}")
    return context.attempt


@task(retries=1, backoff=1000)
def ask_to_be_tried_soon():
    note("try")
    raise Retry(0.02, "not yet")


@task(retries=1, takes_context=True)
def ask_to_be_tried_at_once(context):
    note(f"try {context.attempt}")
    if context.attempt == 1:
        raise Retry(0)
    time.sleep(0.6)


@task(retries=1, backoff=1000)
def fail_when_told():
    note("begun")
    while "go" not in notes():
        time.sleep(0.01)
    raise ValueError("told")


@task(time_limit=0.2)
def spin():
    while True:
        with suppress(Exception):
            time.sleep(0.01)


@task(time_limit=0.2)
async def sleep_async():
    await asyncio.sleep(30)


@task
def hold():
    note("begun")
    while True:
        time.sleep(0.01)


@task
async def hold_async():
    await async_client(Role.STATE).rpush(NOTES, "begun")
    await asyncio.sleep(60)


@task(unique="{text}")
def say_once(text, aside=None):
    note(text)


@task(unique="{text}")
def fail_once_each(text):
    raise ValueError(text)


@task(retries=1, backoff=1000)
def fail_slowly():
    raise ValueError("slowly")


@task(unique="{text}", unique_until="start", takes_context=True)
def say_once_more(context, text):
    note(text)
    time.sleep(0.1)


@task(unique="{missing}")
def badly_named():
    pass


@task(keep=0)
def forget(text):
    note(text)


@task(rate="test-rate")
def rated(text):
    note(text)


@task(rate="test-rate", unique="{text}", unique_until="start")
def rated_once(text):
    note(text)


@task(takes_context=True)
def advance(context):
    context.progress(1, 4, "first")
    context.progress(2, 4, "too soon to be told")
    note("begun")
    while not notes().count("go"):
        time.sleep(0.01)
    context.progress(4, 4, "last")


@task(takes_context=True)
def attempt_slowly(context):
    note("begun")
    while not notes().count("go"):
        time.sleep(0.01)
    return context.attempt


@task
def say_who():
    note(str(os.getpid()))


@task
def nap(seconds):
    time.sleep(seconds)


@task(takes_context=True)
def sum_up(context):
    note("batch {} {} {}".format(*context.batch))


not_a_task = 42
