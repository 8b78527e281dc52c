"""Hot history: a page from Redis is the database's page, whatever was said, lost, late or evicted in between."""

import json
import re
import threading

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.profiles import forget_after_commit
from intellicolab.redis import keys
from intellicolab.redis.client import READ_TIMEOUT, Purpose, Role, client
from intellicolab.redis.counters import counters, totals
from intellicolab.threads import run
from realtime import figures, history, hot_messages, queries, services
from realtime.appending import MAX_FRAMES, Appender
from realtime.frames import encode
from realtime.hot_messages import KEEP
from realtime.models import Membership, Mention, Message, Room
from realtime.publisher import publisher
from realtime.queries import PAGE
from realtime.services import NewMessage

from .topologies import until

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """On a loaded machine the pages wait for Redis, where the test isn't about that."""
    monkeypatch.setitem(READ_TIMEOUT, Purpose.FAST, 5.0)


@pytest.fixture
def lossy(monkeypatch):
    """No news is published, but for what a test hands over itself."""
    monkeypatch.setattr(publisher, "publish", lambda batch: None)


@pytest.fixture
def room(people, lossy):
    """Alice's room with 60 messages; Bob is in it."""
    alice, _, room = people
    say(room, alice, 60)
    return room


@pytest.fixture
def turned():
    """Call for how the pages were found since the last call."""
    counters.flush()
    seen = dict(totals(figures.FAMILY))

    def since():
        counters.flush()
        now = totals(figures.FAMILY)
        found = {name: now.get(name, 0) - seen.get(name, 0) for name in (figures.HIT, figures.CAUGHT_UP, figures.MISS)}
        seen.update(now)
        return {name.removeprefix("history:"): count for name, count in found.items() if count}

    return since


def say(room, author, count=1):
    last = queries.last_version(room.pk)
    texts = [f"text {last}-{n}" for n in range(count)]
    services.post_messages([NewMessage(room.pk, author.pk, f"id-{text}", text) for text in texts])


def entry(user, room):
    return queries.entry_for(user, room.pk)


def page(user, room, before=None):
    """The page, which is the database's in every case."""
    found = history.page_before(entry(user, room), before)
    assert found == queries.messages_before(room.pk, before)
    return found


def message(room, number):
    return Message.objects.get(room=room, number=number)


def name(room):
    return keys.history(room.pk)


def stored(room):
    return int(client(Role.CACHE).zrange(name(room), 0, 0)[0])


def kept(room):
    """Numbers of the messages in Redis."""
    return [int(score) for _, score in client(Role.CACHE).zrange(name(room), 1, -1, withscores=True)]


def news_since(room, version):
    """What the publisher would have been told since a version: (first, last, frames)."""
    changed = queries.messages_changed(room.pk, version, 10_000)
    return version + 1, queries.last_version(room.pk), [encode({"type": "message.new", **one}) for one in changed]


async def tell(room_id, *news):
    appender = Appender()
    for first, last, frames in news:
        appender.note(room_id, first, last, frames)
    await appender.append()


# --- Readers ---------------------------------------------------------------------------------------------------------


@pytest.mark.topology
def test_the_second_reader_finds_what_the_first_has_read(people, room, turned, django_assert_num_queries):
    alice, bob, _ = people
    assert [one["number"] for one in page(alice, room)] == list(range(11, 61))
    page(bob, room)  # loads Alice's profile
    assert turned() == {"miss": 1, "hit": 1}
    opened = entry(bob, room)
    with django_assert_num_queries(0):
        found = history.page_before(opened)
    assert found == queries.messages_before(room.pk)
    assert turned() == {"hit": 1}


@pytest.mark.topology
def test_messages_edits_and_deletions_are_shown_at_once_and_read_alone(people, room, turned, django_assert_num_queries):
    alice, bob, _ = people
    page(alice, room)
    page(alice, room)  # loads her profile
    say(room, bob, 3)
    services.edit_message(alice, message(room, 50), "other words")
    services.delete_message(alice, message(room, 51))
    services.edit_message(alice, message(room, 5), "above the page")
    turned()
    opened = entry(bob, room)
    with django_assert_num_queries(1):
        found = history.page_before(opened)
    assert [one["html"] for one in found if one["number"] in (50, 51)] == ["<p>other words</p>", ""]
    assert found == queries.messages_before(room.pk)
    assert page(bob, room) == found
    assert turned() == {"caught-up": 1, "hit": 1}
    assert kept(room) == list(range(11, 64))


@pytest.mark.topology
def test_changes_of_settings_and_members_advance_the_version_alone(people, room, charlie, turned):
    alice, bob, _ = people
    page(alice, room)
    services.join_room(charlie, room)
    services.make_owner(alice, Membership.objects.get(room=room, user=bob))
    services.update_room(alice, room, "Lobby", "")
    turned()
    page(alice, room)
    page(alice, room)
    assert turned() == {"caught-up": 1, "hit": 1}
    assert stored(room) == queries.last_version(room.pk)


@pytest.mark.topology
def test_who_is_far_behind_reads_the_page_and_no_more(people, room, turned, django_assert_num_queries):
    alice, _, _ = people
    page(alice, room)
    say(room, alice, PAGE + 1)
    turned()
    opened = entry(alice, room)
    with django_assert_num_queries(1):
        history.page_before(opened)
    page(alice, room)
    assert turned() == {"miss": 1, "hit": 1}
    assert kept(room) == list(range(62, 112))


@pytest.mark.topology
def test_older_pages_are_kept_below_the_newest_up_to_the_bound(people, room, turned):
    alice, _, _ = people
    say(room, alice, 240)
    for _ in range(2):
        for before in (None, 251, 201, 151, 101, 51):
            page(alice, room, before)
    assert kept(room) == list(range(101, 301))
    assert len(kept(room)) == KEEP
    assert turned() == {"miss": 4, "hit": 4}  # of what lies deeper, Redis is not asked
    page(alice, room, before=180)
    page(alice, room, before=290)
    page(alice, room, before=10_000)
    assert turned() == {"hit": 3}


@pytest.mark.topology
def test_a_page_that_would_leave_a_gap_is_not_kept(people, room):
    alice, _, _ = people
    say(room, alice, 100)
    page(alice, room)
    page(alice, room, before=90)
    assert kept(room) == list(range(111, 161))
    page(alice, room, before=111)
    assert kept(room) == list(range(61, 161))


def test_rooms_without_messages_and_pages_without_any(people, lossy):
    alice, _, room = people
    assert page(alice, room) == []
    say(room, alice, 2)
    assert len(page(alice, room)) == len(page(alice, room)) == 2
    assert page(alice, room, before=1) == page(alice, room, before=0) == []
    assert len(page(alice, room, before=2)) == 1


def test_a_new_name_and_picture_are_shown_though_no_version_tells_of_them(people, room):
    alice, bob, _ = people
    assert page(bob, room)[-1]["author"]["name"] == "Alice"
    alice.display_name = "Alicia"
    alice.save()
    forget_after_commit(alice.pk)
    assert page(bob, room)[-1]["author"]["name"] == "Alicia"
    assert not any(b"Alic" in data for data in client(Role.CACHE).zrange(name(room), 0, -1))


def test_mentions_and_actions_come_back_as_they_were(people, room):
    alice, bob, _ = people
    more = [NewMessage(room.pk, alice.pk, "m", "@Bob, tea?"), NewMessage(room.pk, bob.pk, "a", "waves", kind="action")]
    services.post_messages(more)
    page(alice, room)
    named, waved = page(alice, room)[-2:]
    assert named["mentions"] == [bob.pk]
    assert waved["kind"] == "action"


def test_a_transaction_neither_reads_nor_fills(people, room, turned):
    """What it has read may be rolled back, and another change may get the same version."""
    alice, _, _ = people
    with transaction.atomic():
        say(room, alice)
        assert len(page(alice, room)) == PAGE
        transaction.set_rollback(True)
    assert not client(Role.CACHE).exists(name(room))
    assert turned() == {}


# --- Races -----------------------------------------------------------------------------------------------------------


@pytest.mark.topology
def test_a_reader_that_was_held_up_does_not_replace_a_later_page(people, room):
    alice, bob, _ = people
    early = entry(alice, room)
    read = queries.messages_before(room.pk)
    say(room, bob)
    page(bob, room)
    later = stored(room)
    hot_messages.fill(room.pk, early.last_version, read)
    assert (stored(room), kept(room)[-1]) == (later, 61)
    page(alice, room)


@pytest.mark.topology
def test_a_reader_at_an_older_version_is_answered_by_the_database(people, room, turned):
    alice, bob, _ = people
    early = entry(alice, room)
    say(room, bob)
    page(bob, room)
    turned()
    assert history.page_before(early) == queries.messages_before(room.pk)
    assert turned() == {"miss": 1}
    assert stored(room) == early.last_version + 1


@pytest.mark.topology
async def test_a_message_between_the_read_and_the_fill_is_not_lost(people, room, async_redis):
    """read at 61 · commit 62 · append 62, for which there is nothing yet · fill 61 · the next reader is told of 62."""
    alice, bob, _ = people

    def read():
        return entry(alice, room), queries.messages_before(room.pk)

    early, found = await run(read)
    await run(say, room, bob)
    news = await run(news_since, room, early.last_version)
    await tell(room.pk, news)
    await run(hot_messages.fill, room.pk, early.last_version, found)
    assert await run(stored, room) == early.last_version
    assert [one["number"] for one in (await run(page, alice, room))[-2:]] == [60, 61]
    assert await run(stored, room) == early.last_version + 1


@pytest.mark.topology
async def test_an_edit_between_the_read_and_the_extension_is_not_undone(people, room, async_redis):
    """An older page, read before an edit of it was appended, must not come below the history that has the edit."""
    alice, _, _ = people
    await run(page, alice, room)
    version, older = await run(stored, room), await run(queries.messages_before, room.pk, 11)
    await run(services.edit_message, alice, await run(message, room, 5), "other words")
    await tell(room.pk, await run(news_since, room, version))
    await run(hot_messages.extend, room.pk, version, older)
    assert await run(kept, room) == list(range(11, 61))
    await run(page, alice, room, 11)
    assert (await run(page, alice, room, 11))[4]["html"] == "<p>other words</p>"


# --- What is published -----------------------------------------------------------------------------------------------


@pytest.mark.topology
async def test_what_is_appended_needs_no_database(people, room, turned, async_redis):
    alice, bob, _ = people

    def change():
        page(alice, room)
        version = stored(room)
        say(room, bob, 2)
        services.edit_message(alice, message(room, 40), "other words")
        services.delete_message(alice, message(room, 41))
        turned()
        return news_since(room, version)

    first, last, frames = await run(change)
    half = len(frames) // 2
    await tell(room.pk, (first, first + half - 1, frames[:half]), (first + half, last, frames[half:]))
    await run(page, alice, room)
    assert turned() == {"hit": 1}


@pytest.mark.topology
async def test_versions_without_messages_are_appended_too(people, room, turned, async_redis):
    alice, _, _ = people
    await run(page, alice, room)
    version = await run(stored, room)
    await run(services.update_room, alice, room, "Lobby", "")
    await tell(room.pk, (version + 1, version + 1, ['{"type":"room.settings"}']))
    await run(turned)
    await run(page, alice, room)
    assert turned() == {"hit": 1}


@pytest.mark.topology
async def test_what_does_not_follow_is_left_to_the_next_reader(people, room, turned, async_redis):
    """As of two processes, of which one is quicker than the other."""
    alice, bob, _ = people
    await run(page, alice, room)
    version = await run(stored, room)
    await run(say, room, bob, 3)
    first, _, frames = await run(news_since, room, version)
    await tell(room.pk, (first + 2, first + 2, frames[2:]))
    assert await run(stored, room) == version
    await tell(room.pk, (first, first, frames[:1]), (first + 2, first + 2, frames[2:]))
    assert await run(stored, room) == version + 1
    await run(turned)
    await run(page, alice, room)
    assert (await run(turned), await run(stored, room)) == ({"caught-up": 1}, version + 3)
    await run(say, room, bob)
    four = await run(news_since, room, version)
    await tell(room.pk, four)  # three of them once more
    await tell(room.pk, (first, first + 2, frames))  # once more, and late
    version += 1
    await run(page, alice, room)
    assert (await run(stored, room), len(await run(kept, room))) == (version + 3, 54)


@pytest.mark.topology
async def test_what_is_appended_is_trimmed_and_a_flood_is_not_appended_whole(people, room, async_redis):
    alice, bob, _ = people
    await run(page, alice, room)
    for _ in range(2):
        version = await run(stored, room)
        await run(say, room, bob, 2 * MAX_FRAMES + 1)
        first, last, frames = await run(news_since, room, version)
        await tell(room.pk, *((first + n, first + n, frames[n : n + 1]) for n in range(len(frames))))
        assert await run(stored, room) == version + MAX_FRAMES
        await run(page, alice, room)
    assert await run(stored, room) == last
    version = last
    for _ in range(3):
        await run(say, room, bob, MAX_FRAMES)
        news = await run(news_since, room, version)
        await tell(room.pk, news)
        version = news[1]
    assert await run(kept, room) == list(range(version - KEEP, version))
    await run(page, alice, room)


@pytest.mark.topology
def test_what_is_posted_reaches_the_history_by_itself(people, turned, unhurried_publisher):
    alice, bob, room = people
    say(room, alice, 5)
    page(alice, room)
    try:
        say(room, bob)
        services.edit_message(alice, message(room, 2), "other words")
        until(lambda: stored(room) == queries.last_version(room.pk))
        turned()
        assert page(bob, room)[1]["html"] == "<p>other words</p>"
        assert turned() == {"hit": 1}
    finally:
        publisher.stop()


@pytest.mark.topology
def test_readers_beside_writers_never_see_a_page_with_a_gap(people, unhurried_publisher):
    """Writers in one thread each, a reader beside them; each page holds all that its entry knew of, in order."""
    alice, bob, room = people
    say(room, alice)
    wrong, done = [], threading.Event()

    def write(user, count):
        for n in range(count):
            services.post_messages([NewMessage(room.pk, user.pk, f"{user.pk}-{n}", f"text {n}")])
        connection.close()

    def read():
        while not done.is_set():
            opened = entry(alice, room)
            numbers = [one["number"] for one in history.page_before(opened)]
            if numbers != list(range(numbers[0], numbers[0] + len(numbers))) or numbers[-1] < opened.last_number:
                wrong.append((opened.last_number, numbers))
        connection.close()

    writers = [threading.Thread(target=write, args=(user, 40)) for user in (alice, bob)]
    reader = threading.Thread(target=read)
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    publisher.stop()
    assert wrong == []
    assert len(page(alice, room)) == PAGE


# --- Redis -----------------------------------------------------------------------------------------------------------


@pytest.mark.topology
def test_what_is_flushed_or_evicted_is_read_again(people, room, turned):
    alice, _, _ = people
    page(alice, room)
    for lose in (client(Role.CACHE).delete, lambda _: client(Role.CACHE).flushdb()):
        turned()
        lose(name(room))
        page(alice, room)
        page(alice, room)
        assert turned() == {"miss": 1, "hit": 1}
    assert stored(room) == queries.last_version(room.pk)


@pytest.mark.parametrize(("member", "score"), [("gibberish", 0), ("{", 60), ('{"a": 1}', 60)])
def test_what_is_not_ours_is_no_page(people, room, turned, member, score):
    alice, _, _ = people
    page(alice, room)
    client(Role.CACHE).zremrangebyscore(name(room), score, score)
    client(Role.CACHE).zadd(name(room), {member: score})
    turned()
    page(alice, room)
    assert turned() == {"miss": 1}
    say(room, alice)
    page(alice, room)
    page(alice, room)
    assert turned()["hit"] == 1


@pytest.mark.topology
def test_it_lives_a_day_from_its_fill_and_appending_does_not_prolong_that(people, room):
    alice, bob, _ = people
    page(alice, room)
    cache = client(Role.CACHE)
    assert keys.HISTORY_TTL - 60 < cache.ttl(name(room)) <= keys.HISTORY_TTL == 24 * 3600
    cache.expire(name(room), 1000)
    say(room, bob)
    page(alice, room)
    assert 0 < cache.ttl(name(room)) <= 1000


@pytest.mark.topology
def test_a_message_that_is_too_large_is_not_kept(people, room, monkeypatch, turned):
    alice, _, _ = people
    page(alice, room)
    monkeypatch.setattr(hot_messages, "MOST_BYTES", 300)
    services.post_messages([NewMessage(room.pk, alice.pk, "long", "x" * 400)])
    assert len(page(alice, room)[-1]["html"]) > 400
    assert kept(room)[-1] == 60
    say(room, alice, PAGE)
    page(alice, room)
    page(alice, room)
    assert kept(room) == list(range(62, 112))
    assert hot_messages.appending(room.pk, 1, 1, [{"number": 1, "author": {"id": 1}, "html": "x" * 400}]) is None


@pytest.mark.topology
def test_a_server_that_died_costs_nothing_and_is_used_again_when_it_is_back(people, room, redis_server, turned):
    alice, _, _ = people
    page(alice, room)
    redis_server.kill()
    assert len(page(alice, room)) == PAGE
    assert not hot_messages.breaker.ready()
    redis_server.start()
    until(lambda: page(alice, room) and client(Role.CACHE).exists(name(room)))


@pytest.mark.topology
def test_a_server_that_hangs_costs_one_page_its_time_out(people, room, redis_server, monkeypatch):
    alice, _, _ = people
    opened = entry(alice, room)
    monkeypatch.setitem(READ_TIMEOUT, Purpose.FAST, 0.05)
    redis_server.pause()
    try:
        for _ in range(3):
            assert len(history.page_before(opened)) == PAGE
        assert not hot_messages.breaker.ready()
    finally:
        redis_server.resume()
    until(lambda: history.page_before(opened) and client(Role.CACHE).exists(name(room)))


@pytest.mark.topology
async def test_an_appender_without_redis_drops_what_it_has(people, room, redis_server, async_redis):
    appender = Appender()
    redis_server.kill()
    appender.note(room.pk, 1, 1, [])
    await appender.append()
    assert not appender._waiting
    assert not hot_messages.breaker.ready()


# --- Pages and their cost --------------------------------------------------------------------------------------------


def test_the_room_page_and_the_json_come_from_it(people, room, browser_of, turned):
    alice, bob, _ = people
    browser = browser_of(alice)
    where = f"/rooms/{room.pk}"
    first = browser.get(f"{where}/messages").json()
    second = browser.get(f"{where}/messages").json()
    assert first == second
    assert (len(second["messages"]), second["more"], second["version"]) == (PAGE, True, queries.last_version(room.pk))
    assert browser.get(f"{where}/").content.decode().count('data-number="') == PAGE + 1
    browser.get(f"{where}/messages?before=11")
    assert len(browser.get(f"{where}/messages?before=11").json()["messages"]) == 10
    assert turned() == {"miss": 2, "hit": 3}
    services.remove_member(alice, Membership.objects.get(room=room, user=bob))
    assert browser_of(bob).get(f"{where}/messages").status_code == 404


@pytest.fixture
def history_of():
    """Call with a room and a number: so many messages, each of which names Alice, all read by her."""

    def make(room, alice, bob, count):
        rows = [
            Message(room=room, number=n, version=n, author=bob, client_id=f"{room.pk}-{n}", html="<p>text</p>")
            for n in range(1, count + 1)
        ]
        Message.objects.bulk_create(rows)
        Room.objects.filter(pk=room.pk).update(last_number=count, last_version=count)
        read = Membership.objects.get(room=room, user=alice)
        Mention.objects.bulk_create(Mention(membership=read, number=n) for n in range(1, count + 1))
        Membership.objects.filter(room=room).update(last_read_number=count)

    return make


def reads_of(captured):
    """The queries of a page that are not about who is signed in."""
    return [query["sql"] for query in captured if "realtime_" in query["sql"]]


def plan_of(sql):
    """How the database goes about a query; a table of a test is so small that PostgreSQL must be kept from scanning."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("ANALYZE")
            cursor.execute("SET enable_seqscan = off")
            cursor.execute(f"EXPLAIN {sql}")
        else:
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
        lines = [str(row[-1]) for row in cursor.fetchall()]
        if connection.vendor == "postgresql":
            cursor.execute("RESET enable_seqscan")
    return "\n".join(lines)


@pytest.mark.parametrize("query", ["", "messages", "messages?before=40", "messages?after=3"])
def test_a_long_room_costs_the_queries_of_a_short_one_and_scans_nothing(people, lossy, history_of, browser_of, query):
    alice, bob, short = people
    long = services.create_room(bob, "Long")
    services.join_room(alice, long)
    history_of(short, alice, bob, PAGE + 1)
    history_of(long, alice, bob, 3_000)
    browser = browser_of(alice)
    asked = []
    for room in (short, long):
        browser.get(f"/rooms/{room.pk}/{query}")  # what is cached about people and rooms
        client(Role.CACHE).delete(name(room))
        with CaptureQueriesContext(connection) as captured:
            assert browser.get(f"/rooms/{room.pk}/{query}").status_code == 200
        asked.append(reads_of(captured.captured_queries))
    assert len(asked[0]) == len(asked[1]) > 0
    for sql in asked[1]:
        plan = plan_of(sql)
        assert not scanned(plan), sql
        if "mention" in sql:  # those that are unread, not all that there ever were
            assert re.search(r"number >|number>", plan), plan
        if "number" in sql.rpartition("ORDER BY")[2]:
            assert "Sort" not in plan, plan
            assert "TEMP B-TREE" not in plan, plan


def test_the_way_home_looks_at_one_message_a_room(people, lossy, history_of, browser_of):
    alice, bob, room = people
    history_of(room, alice, bob, 500)
    with CaptureQueriesContext(connection) as captured:
        assert queries.newest_room_of(alice) == room.pk
    [query] = captured.captured_queries
    plan = plan_of(query["sql"])
    assert not scanned(plan), plan
    if connection.vendor == "postgresql":
        assert "Index Scan Backward using message_number" in plan
    else:
        assert "SEARCH U0 USING INDEX" in plan
        assert plan.count("USE TEMP B-TREE") == 1  # of the person's rooms, and none of a room's messages


def scanned(plan):
    """The tables of messages and mentions that are gone through."""
    pattern = r"(?:SCAN|Seq Scan on) (\w*(?:message|mention|U0|V0)\b)"
    return re.findall(pattern, plan)


def test_a_process_reads_what_another_one_has_posted(site):
    [person] = site.people("alice")
    path = f"/rooms/{person['room']}/messages"

    def newest():
        status, body = site.get(path, Cookie=person["cookie"])
        assert status == 200
        return [one["html"] for one in json.loads(body)["messages"]]

    post = (
        "import uuid; from realtime.services import NewMessage, post_message; "
        "from realtime.publisher import publisher; "
        f"post_message(NewMessage({person['room']}, {person['id']}, str(uuid.uuid4()), 'from another process')); "
        "publisher.stop()"
    )
    newest()
    assert site.manage("shell", "-v", "0", "-c", post).returncode == 0
    assert newest()[-1] == newest()[-1] == "<p>from another process</p>"
