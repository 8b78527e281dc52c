"""The dashboard: figures from real counters and a real INFO, and words for what is wrong."""

import re
import time
from collections import Counter

import pytest
from django.contrib import admin
from django.test import RequestFactory
from django.urls import reverse

from intellicolab.cache.behind import BufferState
from intellicolab.dashboard import overview as page
from intellicolab.dashboard import queries
from intellicolab.dashboard.figures import compact, duration, percent, share, size
from intellicolab.dashboard.sparkline import HEIGHT, WIDTH, sparkline
from intellicolab.dashboard.waiting import BufferRow
from intellicolab.events.groups import groups
from intellicolab.redis import keys
from intellicolab.redis.client import Role
from intellicolab.redis.client import client as redis_client
from intellicolab.redis.counters import counters, totals
from intellicolab.redis.heartbeat import Heartbeat
from intellicolab.redis.lock import Lock

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_counts():
    """What other tests have counted in this process is not what these look at."""
    counters.flush()
    redis_client(Role.STATE).flushdb()


@pytest.fixture(autouse=True)
def worker(no_counts):
    """One lives, as it should, and runs all groups."""
    Heartbeat(groups=lambda: [group.name for group in groups()]).beat()


def count(family, **fields):
    for field, amount in fields.items():
        counters.add(family, field.replace("__", ":"), amount)
    wanted = {field.replace("__", ":"): amount for field, amount in fields.items() if amount}
    deadline = time.monotonic() + 5
    while totals(family) != wanted:  # the counters' own thread may be writing them
        assert time.monotonic() < deadline, (totals(family), wanted)
        counters.flush()


def tile(overview, label):
    return next(tile for tile in overview.tiles if tile.label == label)


def rendered(root):
    """The first page, without the session that an outage of Redis would take away."""
    request = RequestFactory().get("/admin/")
    request.user = root
    response = admin.site.index(request)
    return response.render().content.decode()


# --- Reading -------------------------------------------------------------------------------------------------------


def test_counters_of_the_last_hour_and_of_all_time():
    now = 1_700_000_000.0
    minute = int(now // 60)
    redis = redis_client(Role.STATE)
    for ago, amount in ((0, 1), (59, 20), (60, 300)):
        redis.hset(keys.counters_minute("limit", minute - ago), "allowed", amount)
    redis.hset(keys.counters_total("limit"), "allowed", 4000)
    family = queries.families("limit", now=now)["limit"]
    assert len(family.minutes) == 60
    assert (family.minutes[0], family.minutes[-1]) == ({"allowed": 20}, {"allowed": 1})
    assert family.hour() == Counter(allowed=21)
    assert family.totals == {"allowed": 4000}


def test_families_do_not_mix():
    count("limit", allowed=3)
    count("cache", profile__hit=5)
    found = queries.families("cache", "limit")
    assert found["cache"].totals == {"profile:hit": 5}
    assert found["limit"].hour() == Counter(allowed=3)


def test_a_server_reports_itself():
    redis_client(Role.CACHE).set("one", "value")
    state, cache = (queries.server(role) for role in Role)
    assert state.error == ""
    assert state.version.startswith(("Valkey", "Redis"))
    assert state.used_memory > 100_000
    assert state.clients >= 1
    assert state.run_id == cache.run_id
    assert cache.keys == 1


def test_a_server_that_is_gone_is_told_in_words(redis_server):
    redis_server.kill()
    assert queries.server(Role.STATE).error == "no connection"


# --- The page ------------------------------------------------------------------------------------------------------


def test_all_is_well_when_nothing_is_wrong():
    count("cache", profile__hit=900, profile__miss=100)
    count("limit", all__allowed=5000, all__refused=12)
    overview = page.overview()
    assert overview.problems == []
    assert tile(overview, "Cache hit ratio").figure == "90 %"
    assert (tile(overview, "Cache hits").figure, tile(overview, "Cache misses").figure) == ("900", "100")
    assert tile(overview, "Requests allowed").figure == "5 k"
    assert tile(overview, "Requests refused").figure == "12"
    assert tile(overview, "Passed without a limit").figure == "0"
    assert tile(overview, "Redis memory").figure.endswith("iB")


def test_one_server_for_both_roles_is_shown_once():
    labels = [tile.label for tile in page.overview().tiles]
    assert labels.count("Redis memory") == 1
    assert len(labels) == len(set(labels)) == 9


def test_each_namespace_has_its_row():
    count("cache", profile__hit=3, profile__miss=1, room__miss=2)
    rows = {row.namespace: (row.reads.hits, row.reads.misses, row.ratio) for row in page.overview().cache_rows}
    assert rows == {"profile": (3, 1, "75 %"), "room": (0, 2, "0 %")}


def test_a_row_tells_every_kind_of_read_and_what_loads_cost():
    reads_made = {"local": 10, "hit": 4, "stale": 2, "miss": 4}
    besides = {"early": 6, "coalesced": 8, "loads": 2, "load_us": 5000, "error": 1}
    count("cache", **{f"room__{name}": amount for name, amount in (reads_made | besides).items()})
    (row,) = page.overview().cache_rows
    reads = row.reads
    assert (reads.local, reads.remote, reads.stale, reads.misses) == (10, 4, 2, 4)
    assert (row.early, row.coalesced, row.errors) == (6, 8, 1)
    assert (row.ratio, row.total_ratio, row.load_time) == ("80 %", "80 %", "2.5")


@pytest.mark.parametrize(("hits", "misses", "wrong"), [(499, 501, True), (500, 500, False), (4, 6, False)])
def test_a_low_hit_ratio_is_a_problem_once_it_says_something(hits, misses, wrong):
    count("cache", profile__hit=hits, profile__miss=misses)
    assert [problem for problem in page.overview().problems if "were hits" in problem] == (
        ["Only 49.9 % of the cache reads of the last hour were hits."] if wrong else []
    )


def test_requests_that_passed_without_a_limit_are_a_problem():
    count("limit", all__allowed=10, all__open=3)
    [problem] = page.overview().problems
    assert problem.startswith("3 requests of the last hour passed without a limit")


def test_a_server_that_may_evict_sessions_is_a_problem():
    redis = redis_client(Role.STATE)
    redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        assert any("may evict keys (allkeys-lru)" in problem for problem in page.overview().problems)
    finally:
        redis.config_set("maxmemory-policy", "noeviction")


def test_memory_near_its_bound_is_a_problem():
    redis = redis_client(Role.STATE)
    redis.config_set("maxmemory", int(redis.info("memory")["used_memory"] * 1.05))
    try:
        overview = page.overview()
    finally:
        redis.config_set("maxmemory", 0)
    assert tile(overview, "Redis memory").problem
    assert any("of its memory" in problem for problem in overview.problems)


def test_shows_figures_to_an_administrator(client, root):
    count("cache", profile__hit=1234, profile__miss=1)
    client.force_login(root)
    html = client.get(reverse("admin:index")).content.decode()
    assert "All is well." in html
    assert 'title="1,234 in the last hour">1.23 k<' in html
    assert "<td>1,234</td>" in html
    assert '<svg class="spark"' in html
    assert reverse("admin:accounts_user_changelist") in html


def test_an_empty_installation_says_what_would_fill_the_table(root):
    html = rendered(root)
    assert "Nothing has been read through the cache yet" in html
    assert "no trend yet" in html


def test_the_page_is_shown_while_redis_is_down(root, redis_server):
    redis_server.kill()
    html = rendered(root)
    assert "2 things need your attention" in html
    assert "Redis state: no connection. Until it is back, nobody can sign in" in html
    assert "The counters are kept in Redis, which gives no connection." in html
    assert "/admin/realtime/room/" in html


def test_the_page_is_shown_soon_while_redis_hangs(root, redis_server):
    redis_server.pause()
    try:
        start = time.monotonic()
        html = rendered(root)
        took = time.monotonic() - start
    finally:
        redis_server.resume()
    assert "Redis state: no answer within 2 s" in html
    assert took < 3.5


# --- Figures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0"),
        (7, "7"),
        (999, "999"),
        (1000, "1 k"),
        (1234, "1.23 k"),
        (45_600, "45.6 k"),
        (999_999, "1 M"),
        (3e15, "3000 T"),
    ],
)
def test_numbers_have_three_digits(number, shown):
    assert compact(number) == shown


@pytest.mark.parametrize(
    ("count_of_bytes", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1_572_864, "1.5 MiB"), (2**40, "1 TiB")],
)
def test_sizes_are_in_binary_units(count_of_bytes, shown):
    assert size(count_of_bytes) == shown


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [
        (0, 0, "none"),
        (0, 5, "0 %"),
        (1, 3, "33.3 %"),
        (5, 5, "100 %"),
        (99_999, 100_000, "> 99.9 %"),
        (1, 10_000, "< 0.1 %"),
    ],
)
def test_shares_are_never_rounded_to_all_or_nothing(part, whole, shown):
    assert percent(share(part, whole)) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(1, "1 second"), (59, "59 seconds"), (60, "1 minute"), (7200, "2 hours"), (86_400 * 1500, "1,500 days")],
)
def test_durations_are_in_their_largest_unit(seconds, shown):
    assert duration(seconds) == shown


def test_a_sparkline_stays_in_its_picture():
    spark = sparkline([0, 5, 10, 0], "Requests")
    points = [tuple(map(float, point.split(","))) for point in re.findall(r"[\d.]+,[\d.]+", spark.line)]
    assert [x for x, _ in points] == [0, 40, 80, WIDTH]
    assert [y for _, y in points] == [HEIGHT - 2, HEIGHT / 2, 2, HEIGHT - 2]
    assert spark.label == "Requests; at most 10 a minute"


@pytest.mark.parametrize("values", [[], [0, 0, 0], [3]])
def test_nothing_to_draw_draws_nothing(values):
    assert sparkline(values, "x").line == ""


# --- Write-behind and locks --------------------------------------------------------------------------------------


def state(**changes):
    fields = {
        "namespace": "seen", "kind": "latest", "entries": 3, "limit": 100, "oldest": 1.0, "last_flush": 2.0,
        "flushed": 5, "failures": 0, "dead": 0,
    }  # fmt: skip
    return BufferRow(BufferState(**{**fields, **changes}))


def test_a_buffer_that_does_not_get_on_is_a_problem():
    assert state().problems() == []
    assert state(oldest=59.9, entries=89).problems() == []
    assert state(oldest=190.0).problems() == [
        "Write-behind seen: a write waits since 3 minutes. Does `manage.py worker` run?"
    ]
    assert state(entries=90).problems() == [
        "Write-behind seen: 90 of 100 places are taken; beyond them writes are slow."
    ]
    [refused] = state(dead=1).problems()
    assert refused.startswith("Write-behind seen: the database refused 1 for good. `manage.py drain` says why")


def test_a_lock_that_is_held_shows_with_its_holder(root):
    with Lock("test-lock", lease=10, purpose="the test"):
        deadline = time.monotonic() + 5
        while not page.overview().locks:  # what is held for less than a second is no news
            assert time.monotonic() < deadline
            time.sleep(0.05)
        html = rendered(root)
    assert re.search(r"test-lock</th><td class=\"words\">the test \(process \d+ on ", html)
    assert not page.overview().locks
