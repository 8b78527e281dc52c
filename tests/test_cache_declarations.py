"""Declarations that cannot work are found at start, all together, and refuse to be used."""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import transaction

from intellicolab.cache.checks import declarations
from intellicolab.cache.declaration import Cached
from intellicolab.cache.strategies import CacheAside, RefreshAhead, Strategy, WriteThrough

from .site import ROOT

DECLARED = """
import importlib, os, pkgutil
os.environ["DJANGO_SETTINGS_MODULE"] = "intellicolab.settings"
import django
django.setup()
from intellicolab.cache.behind import registry
from intellicolab.cache.declaration import Cached
def names():
    return sorted(thing.namespace for thing in Cached.declared), sorted(registry)
print(names())
for package in ("intellicolab", "accounts", "ratelimit", "realtime"):
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        importlib.import_module(module.name)
print(names())
"""


def load(key: int) -> str:
    return "value"


def load_pair(first: str, second: str) -> str:
    return "value"


def load_nothing() -> str:
    return "value"


def load_any(*keys: int) -> str:
    return "value"


def load_named(key: int, *, language: str) -> str:
    return "value"


async def load_slowly(key: int) -> str:
    return "value"


def load_many(wanted: Sequence[int]) -> Mapping[int, str]:
    return {}


async def load_many_slowly(wanted: Sequence[int]) -> Mapping[int, str]:
    return {}


class Changeable(msgspec.Struct):
    name: str


WRONG: dict[str, tuple[str, dict[str, Any]]] = {
    "no ttl": ("it has no time to live: give `ttl` in seconds", {"ttl": None}),
    "ttl of nothing": ("it has no time to live: give `ttl` in seconds", {"ttl": 0}),
    "endless ttl": ("it has no time to live: give `ttl` in seconds", {"ttl": float("inf")}),
    "undefined ttl": ("it has no time to live: give `ttl` in seconds", {"ttl": float("nan")}),
    "ttl as text": ("it has no time to live: give `ttl` in seconds", {"ttl": "60"}),
    "too much jitter": ("`jitter` must lie between 0 and 0.5", {"jitter": 0.6}),
    "no lease": ("`none_ttl` and `lease` must be above 0 seconds", {"lease": 0}),
    "negative none_ttl": ("`none_ttl` and `lease` must be above 0 seconds", {"none_ttl": -1}),
    "lease below a millisecond": ("`none_ttl` and `lease` must be above 0 seconds", {"lease": 0.0001}),
    "namespace": ("its namespace must be lower-case letters, digits and hyphens", {"namespace": "wrong{}"}),
    "unknown strategy": ("unknown strategy 'write-around': use one of CacheAside", {"strategy": "write-around"}),
    "a strategy's class": ("unknown strategy <class", {"strategy": CacheAside}),
    "no strategy in particular": ("unknown strategy Strategy(", {"strategy": Strategy()}),
    "negative stale": ("cache-aside: `stale` must not be negative", {"strategy": CacheAside(stale=-1)}),
    "stale as text": (
        "cache-aside: `stale` and `beta` must be numbers",
        {"strategy": CacheAside(stale="30")},  # type: ignore[arg-type]
    ),
    "refresh-ahead without stale": (
        "refresh-ahead: `stale` must be above 0: how long a failing loader may go unnoticed",
        {"strategy": RefreshAhead()},
    ),
    "refresh-ahead without beta": (
        "refresh-ahead: `beta` must be above 0: 1 is the paper's optimum",
        {"strategy": RefreshAhead(stale=1, beta=0)},
    ),
    "write-through without a writer": (
        "write-through: `writer` must be the function that changes the database",
        {"strategy": WriteThrough()},
    ),
    "no loader": ("it has no loader", {"loader": None}),
    "a loader of nothing": ("its loader takes no argument: give it one", {"loader": load_nothing}),
    "a loader of anything": ("its loader must take each argument by its place", {"loader": load_any, "key": "{keys}"}),
    "a loader of keywords": (
        "its loader must take each argument by its place",
        {"loader": load_named, "key": "{key}:{language}"},
    ),
    "a coroutine": ("its loader is a coroutine function, and must be a plain one", {"loader": load_slowly}),
    "a coroutine for many": ("its loader is a coroutine function", {"many": load_many_slowly}),
    "no function for many": ("`many` must be the function that loads several", {"many": {}}),
    "a key that ignores an argument": (
        "its key '{first}' ignores the loader's argument 'second': values would mix",
        {"loader": load_pair, "key": "{first}"},
    ),
    "a key with an unknown name": ("'{user}' names 'user', which the loader does not take", {"key": "{user}"}),
    "a key with an attribute": ("'{key.pk}' may have only plain names in braces", {"key": "{key.pk}"}),
    "a key with a format": ("'{key:>4}' may have only plain names in braces", {"key": "{key:>4}"}),
    "a key with literal braces": ("'{{x}}{key}' may have only plain names", {"key": "{{x}}{key}"}),
    "half a brace": ("'{key' is not a template", {"key": "{key"}),
    "no key": ("its key must be text, and its tags a list of texts", {"key": None}),
    "arguments side by side": (
        "'{first}{second}' needs between its arguments what text cannot hold, such as a colon",
        {"loader": load_pair, "key": "{first}{second}"},
    ),
    "a separator that arguments may hold": (
        "'{first}-{second}' needs between its arguments",
        {"loader": load_pair, "key": "{first}-{second}"},
    ),
    "a tag with an unknown name": ("'team:{team}' names 'team', which", {"tags": ["team:{team}"]}),
    "one text for tags": ("its key must be text, and its tags a list of texts", {"tags": "all"}),
    "a type that is not JSON's": ("its type cannot be read from JSON", {"type": dict[int, str] | list[int] | set[str]}),
    "half a bound": ("`local` must be (entries, bytes), both above 0", {"type": str, "local": (10,)}),
    "no bound": ("`local` must be (entries, bytes), both above 0", {"type": str, "local": (10, 0)}),
    "a number for bounds": ("`local` must be (entries, bytes), both above 0", {"type": str, "local": 10}),
    "a changeable value in a local tier": (
        "a local tier hands one object to all, so its type must be immutable",
        {"type": Changeable, "local": (10, 1000)},
    ),
    "refresh-ahead with a local tier": (
        "refresh-ahead needs to see each read, so it cannot have a local tier",
        {"type": str, "local": (10, 1000), "strategy": RefreshAhead(stale=30)},
    ),
}


@pytest.fixture(autouse=True)
def _undeclared() -> Iterator[None]:
    before = len(Cached.declared)
    yield
    del Cached.declared[before:]


def declare(**options: Any) -> Cached[Any]:
    made = {"namespace": "wrong", "key": "{key}", "loader": load, "ttl": 60, **options}
    return Cached(made.pop("namespace"), made.pop("key"), made.pop("loader"), **made)


def reported() -> str:
    with pytest.raises(CommandError) as refusal:
        call_command("check")
    return str(refusal.value)


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_declaration_is_reported_in_words_and_cannot_be_used(case):
    problem, options = WRONG[case]
    thing = declare(**options)
    report = reported()
    assert "(intellicolab.E010) The cached thing" in report
    assert f"is declared wrongly: {problem}" in report
    assert "HINT: docs/caching.md shows a declaration of each strategy." in report
    with pytest.raises(ImproperlyConfigured) as refusal:
        thing.get(1)
    assert problem in str(refusal.value)


def test_each_of_these_is_right_without_its_fault():
    declare(type=str, local=(10, 1000), tags=["all", "key:{key}"], many=load_many, strategy=CacheAside(stale=5))
    declare(namespace="pairs", loader=load_pair, key="{first}:{second}")
    assert [error for error in declarations() if "'wrong'" in error.msg or "'pairs'" in error.msg] == []


def test_all_faults_are_reported_at_once():
    declare(namespace="first", ttl=None, jitter=2)
    declare(namespace="second", key="{other}")
    report = reported()
    for problem in ("'first' is declared wrongly: it has no time", "'first' is declared wrongly: `jitter`", "'second'"):
        assert problem in report


def test_one_namespace_for_two_things_is_reported_for_both():
    declare(namespace="twice")
    declare(namespace="twice")
    assert reported().count("'twice' is declared wrongly: another has the same namespace.") == 2


def test_no_use_of_a_wrong_declaration_gets_past():
    thing = declare(ttl=None)
    uses = [
        lambda: thing.get(1),
        lambda: thing.get_many([1, 2]),
        lambda: thing.set(1, value="x"),
        lambda: thing.invalidate(1),
        lambda: thing.refresh(1),
    ]
    for use in uses:
        with pytest.raises(ImproperlyConfigured, match="'wrong' is declared wrongly: it has no time to live"):
            use()


async def test_nor_does_an_asynchronous_one():
    thing = declare(ttl=None)
    for coroutine in (thing.aget(1), thing.aget_many([1]), thing.ainvalidate(1), thing.arefresh(1)):
        with pytest.raises(ImproperlyConfigured, match="it has no time to live"):
            await coroutine


@pytest.mark.django_db
def test_nor_does_one_inside_a_transaction():
    thing = declare(ttl=None)
    with transaction.atomic():
        for use in (lambda: thing.get(1), lambda: thing.get_many([1])):
            with pytest.raises(ImproperlyConfigured, match="it has no time to live"):
                use()


def test_the_applications_own_declarations_are_sound():
    assert Cached.declared
    assert declarations() == []


def test_all_is_declared_as_soon_as_django_is_set_up():
    """Or the check at the start would pass over a declaration, and the worker over a buffer."""
    run = subprocess.run([sys.executable, "-c", DECLARED], cwd=ROOT, capture_output=True, text=True, check=True)
    early, all_of_them = run.stdout.splitlines()
    assert "profile" in early
    assert early == all_of_them


def test_a_tag_takes_exactly_its_own_arguments():
    """A misspelt argument must not invalidate something else in silence."""
    thing = declare(tags=["key:{key}", "all"])
    assert thing.tag("key:{key}", key=5) == "key:5"
    assert thing.tag("all") == "all"
    for arguments in ({}, {"kee": 5}, {"key": 5, "other": 1}):
        with pytest.raises(TypeError, match=r"The tag 'key:\{key\}' takes key\."):
            thing.tag("key:{key}", **arguments)


def test_any_text_names_a_thing():
    thing = declare(loader=load_pair, key="{first}:{second}")
    odd = ["", ":", "%3A", "{", "}", "ä", "\ud800", "\0", "a b", "*", "1", "~"]
    assert len({thing.name_of((first, second)) for first in odd for second in odd}) == len(odd) ** 2
    for strange in (1.0, True, None, b"x", (1,)):
        with pytest.raises(TypeError, match="named by numbers and text"):
            thing.name_of((strange, "x"))
