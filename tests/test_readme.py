"""README's examples of caching are short, and do what they say."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from intellicolab.cache.behind import registry
from intellicolab.cache.behind.strategy import WriteBehindLatest, WriteBehindSum
from intellicolab.cache.declaration import Cached
from intellicolab.cache.strategies import CacheAside, RefreshAhead, WriteThrough
from realtime.models import Room

from .site import ROOT

LINES = 10
CACHING = (ROOT / "README.md").read_text().partition("\n## Caching\n")[2].partition("\n## ")[0]
EXAMPLES = dict(re.findall(r"\*\*([\w-]+)\.\*\*.*?```python\n(.*?)```", CACHING, flags=re.DOTALL))


@pytest.fixture(autouse=True)
def _undeclared() -> Iterator[None]:
    """The application has things of these names."""
    declared, buffers = len(Cached.declared), dict(registry)
    registry.clear()
    yield
    del Cached.declared[declared:]
    registry.clear()
    registry.update(buffers)


def run(strategy: str, **names: Any) -> dict[str, Any]:
    names["Cached"] = Cached
    exec(EXAMPLES[strategy], names)
    things = [value for value in names.values() if isinstance(value, Cached)]
    assert things
    assert all(thing.problems == [] for thing in things)
    return names


def load_page(page: int) -> str:
    return f"page {page}"


def test_each_strategy_takes_ten_lines():
    assert EXAMPLES.keys() == {"Cache-aside", "Write-through", "Write-behind", "Refresh-ahead"}
    assert {name: len(text.splitlines()) for name, text in EXAMPLES.items() if len(text.splitlines()) > LINES} == {}


def test_cache_aside_loads_anew_after_the_invalidation():
    loaded: list[int] = []

    def load_profile(user_id: int) -> str:
        loaded.append(user_id)
        return f"profile {user_id}"

    names = run("Cache-aside", load_profile=load_profile, Profile=str, CacheAside=CacheAside)
    assert loaded == [5, 6, 7]
    assert names["profiles"].get(5) == "profile 5"
    assert loaded == [5, 6, 7, 5]


@pytest.mark.django_db(transaction=True)
@pytest.mark.database
def test_write_through_changes_both():
    room = Room.objects.create(pk=7, name="General")

    def load_topic(room_id: int) -> str:
        return Room.objects.get(pk=room_id).topic

    names = run("Write-through", load_topic=load_topic, Room=Room, WriteThrough=WriteThrough)
    room.refresh_from_db()
    assert room.topic == names["topics"].get(7) == "Everything"


@pytest.mark.django_db(transaction=True)
@pytest.mark.database
def test_write_behind_is_read_at_once():
    written: list[Any] = []

    def load_position(room_id: int, user_id: int) -> int:
        return 0

    def load_visits(room_id: int) -> int:
        return 41

    def update_positions(entries: Sequence[Any]) -> None:
        written.extend(entries)

    def add_visits(amounts: Mapping[int, int]) -> None:
        written.append(amounts)

    names = run(
        "Write-behind",
        load_position=load_position,
        load_visits=load_visits,
        update_positions=update_positions,
        add_visits=add_visits,
        WriteBehindLatest=WriteBehindLatest,
        WriteBehindSum=WriteBehindSum,
    )
    assert names["positions"].get(7, 5) == 1721
    assert names["visits"].get(7) == 42
    assert written == []


def test_refresh_ahead_serves_and_takes_tags():
    names = run("Refresh-ahead", load_page=load_page, Page=str, RefreshAhead=RefreshAhead)
    assert names["directory"].get(1) == "page 1"
