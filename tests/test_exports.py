"""Exports of rooms: what is in them, who gets them, and what is left when something comes in between."""

import json
import os
import time
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zipfile import ZipFile

import pytest
from django.contrib.admin.models import LogEntry
from django.db import transaction
from django.utils import timezone
from django_tasks import TaskResultStatus, default_task_backend

from intellicolab.events.models import OutboxRow
from ratelimit.rules import Algorithm
from realtime import services
from realtime.errors import ChatError
from realtime.exporting import archive, files, making, reading, sheets
from realtime.exporting.errors import NotWanted
from realtime.exporting.jobs import remove_old_exports
from realtime.exporting.standing import standing_of
from realtime.models import Export, Membership, Message, Room
from realtime.services import NewMessage, exports
from realtime.services.exports import ask_export, cancel_export

from .job_workers import listener, run_jobs, worker  # noqa: F401  fixtures
from .test_events import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


@pytest.fixture(autouse=True)
def folder(settings, tmp_path):
    settings.EXPORTS_DIR = tmp_path / "exports"
    return settings.EXPORTS_DIR


@pytest.fixture
def room(people):
    alice, bob, room = people
    texts = ["Hello **all**", "R&D <script>", "third"]
    batch = [NewMessage(room.pk, (alice, bob)[n % 2].pk, f"m{n}", text) for n, text in enumerate(texts)]
    services.post_messages(batch)
    return room


@pytest.fixture
def alice(people):
    return people[0]


@pytest.fixture
def bob(people):
    return people[1]


def lay_in(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def asked(user, room):
    """The export that somebody has asked for, which no worker knows of yet."""
    assert ask_export(user, room.pk)
    return Export.objects.get(membership__user=user, membership__room=room)


def made(user, room):
    export = asked(user, room)
    making.make(export.job_id, lambda *told: None)
    export.refresh_from_db()
    return export


def opened(export):
    return ZipFile(files.path_of(export.file))


def lines_of(export):
    return [json.loads(line) for line in opened(export).read("messages.jsonl").splitlines()]


def many(room, author, count):
    """Messages as rows, which is all that an export reads."""
    now = timezone.now()
    rows = (
        Message(room=room, number=n, version=n, author=author, client_id=f"n{n}", text=f"line {n} " * 20,
                html=f"<p>{f'line {n} ' * 20}</p>", created_at=now + timedelta(seconds=n))
        for n in range(1, count + 1)
    )  # fmt: skip
    Message.objects.bulk_create(rows, batch_size=2_000)
    Room.objects.filter(pk=room.pk).update(last_number=count, last_version=count)


# --- What is in it ---------------------------------------------------------------------------------------------------


def test_who_asks_gets_a_file_by_way_of_the_outbox_and_a_worker(alice, room, folder, relay, worker):  # noqa: F811
    export = asked(alice, room)
    wait_until(lambda: standing_of(Export.objects.get()).state == "ready")
    export.refresh_from_db()
    assert lay_in(folder) == [export.file]
    assert (export.messages, export.size) == (3, files.path_of(export.file).stat().st_size)
    assert export.expires_at - export.made_at == timedelta(days=7)
    assert files.path_of(export.file).stat().st_mode & 0o077 == 0
    assert folder.stat().st_mode & 0o077 == 0
    wait_until(lambda: default_task_backend.get_result(export.job_id).status == TaskResultStatus.SUCCESSFUL)


def test_the_data_has_each_message_with_author_time_and_marks(alice, bob, room):
    services.edit_message(alice, Message.objects.get(room=room, number=1), "Hello *all*")
    services.delete_message(bob, Message.objects.get(room=room, number=2))
    first, second, third = lines_of(made(alice, room))
    row = Message.objects.get(room=room, number=1)
    assert first == {
        "number": 1,
        "author": {"id": alice.pk, "name": "Alice"},
        "time": row.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "kind": "text",
        "format": "markdown",
        "text": "Hello *all*",
        "edited": row.edited_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    assert "deleted" in second
    assert "text" not in second
    assert (third["number"], third["text"]) == (3, "third")


def test_the_pages_to_read_hold_no_scripts_and_nothing_of_what_was_deleted(alice, bob, room):
    services.update_room(alice, room, "General", "<b>Tea</b> & more")
    services.delete_message(alice, Message.objects.get(room=room, number=3))
    html = opened(made(alice, room)).read("messages-1.html").decode()
    assert "<p>Hello <strong>all</strong></p>" in html
    assert "R&amp;D &lt;script&gt;" in html
    assert "&lt;b&gt;Tea&lt;/b&gt; &amp; more" in html
    assert "<script" not in html
    assert "third" not in html
    assert "This message was deleted." in html
    assert "default-src 'none'" in html


def test_a_long_room_is_split_into_parts_that_lead_to_each_other(alice, room, monkeypatch):
    monkeypatch.setattr(reading, "PAGE", 1)
    monkeypatch.setattr(archive, "SHEET", 2)
    export = made(alice, room)
    assert opened(export).namelist() == ["messages.jsonl", "messages-1.html", "messages-2.html"]
    first, second = (opened(export).read(f"messages-{n}.html").decode() for n in (1, 2))
    assert ('href="messages-2.html"' in first, 'id="m2"' in first, 'id="m3"' in first) == (True, True, False)
    assert ('href="messages-1.html"' in second, 'id="m3"' in second) == (True, True)


def test_parts_hold_whole_pages():
    assert sheets.SHEET % reading.PAGE == 0


def test_a_room_in_which_nothing_was_said_makes_a_file_that_says_so(alice):
    export = made(alice, services.create_room(alice, "Quiet"))
    assert lines_of(export) == []
    assert "Nothing has been said" in opened(export).read("messages-1.html").decode()


def test_ten_thousand_messages_take_no_more_memory_than_some(alice, room):
    Message.objects.all().delete()
    many(room, alice, 10_000)
    export = asked(alice, room)
    told = []
    tracemalloc.start()
    try:
        making.make(export.job_id, lambda done, total, what: told.append((done, total, what)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    export.refresh_from_db()
    with opened(export) as found:
        size = sum(entry.file_size for entry in found.infolist())
        assert found.namelist() == ["messages.jsonl", "messages-1.html", "messages-2.html"]
        assert found.read("messages.jsonl").count(b"\n") == 10_000
    assert peak < size / 2
    assert peak < 5_000_000
    assert [done for done, *_rest in told] == sorted(done for done, *_rest in told)
    assert told[0] == (0, 20_000, "the data")
    assert told[-1] == (20_000, 20_000, "the pages to read")


# --- Who gets it -----------------------------------------------------------------------------------------------------


def test_only_members_may_ask(charlie, room):
    with pytest.raises(ChatError, match="no such room"):
        ask_export(charlie, room.pk)
    assert not OutboxRow.objects.filter(stream="jobs.default").exists()


def test_one_export_a_person_and_room_is_made_at_a_time(alice, bob, room):
    assert ask_export(alice, room.pk)
    assert not ask_export(alice, room.pk)
    assert ask_export(bob, room.pk)
    assert Export.objects.count() == OutboxRow.objects.filter(stream="jobs.default").count() == 2


def test_of_two_tabs_that_ask_at_once_one_begins(alice, room):
    assert ask_export(alice, room.pk)
    assert not exports._begin(alice, room.pk, None)  # it had looked before
    assert Export.objects.count() == 1


def test_a_new_one_takes_the_place_of_the_old_one_and_of_its_file(alice, room, folder, relay, worker):  # noqa: F811
    old = asked(alice, room)
    wait_until(lambda: default_task_backend.get_result(old.job_id).is_finished)
    new = asked(alice, room)
    assert lay_in(folder) == []
    wait_until(lambda: standing_of(Export.objects.get()).state == "ready")
    new.refresh_from_db()
    assert lay_in(folder) == [new.file]


def test_while_redis_is_away_an_export_can_be_asked_for_and_cancelled_but_not_told_of(alice, room, redis_server):
    redis_server.stop()
    export = asked(alice, room)
    assert standing_of(export).state == "untold"
    with pytest.raises(ChatError, match="can't be told"):
        ask_export(alice, room.pk)
    assert cancel_export(alice, room.pk)
    with pytest.raises(NotWanted):
        making.make(export.job_id, lambda *told: None)


def test_who_is_put_out_has_no_export_any_more_and_no_file(alice, bob, room, folder):
    made(bob, room)
    assert len(lay_in(folder)) == 1
    services.remove_member(alice, Membership.objects.get(room=room, user=bob))
    assert not Export.objects.exists()
    assert lay_in(folder) == []


def test_who_is_put_out_while_it_is_made_gets_nothing(alice, bob, room, folder, monkeypatch):
    monkeypatch.setattr(reading, "PAGE", 1)
    export = asked(bob, room)

    def put_out(done, total, what):
        if done == 2:
            assert len(lay_in(folder)) == 1
            services.remove_member(alice, Membership.objects.get(room=room, user=bob))

    with pytest.raises(NotWanted):
        making.make(export.job_id, put_out)
    assert lay_in(folder) == []


def test_who_is_deactivated_gets_nothing(bob, room, folder):
    export = asked(bob, room)
    type(bob).objects.filter(pk=bob.pk).update(is_active=False)
    with pytest.raises(NotWanted):
        making.make(export.job_id, lambda *told: None)
    assert lay_in(folder) == []


def test_the_files_of_a_room_go_with_it_but_not_when_that_is_undone(alice, room, folder):
    made(alice, room)
    with transaction.atomic():
        Room.objects.filter(pk=room.pk).delete()
        transaction.set_rollback(True)
    assert len(lay_in(folder)) == 1
    Room.objects.filter(pk=room.pk).delete()
    assert lay_in(folder) == []


# --- What comes in between -------------------------------------------------------------------------------------------


@pytest.fixture
def slow(monkeypatch):
    """The export of a room stands still after its first page, which it has told of."""
    monkeypatch.setattr(reading, "PAGE", 1)
    plain, gate = making._is_wanted, {"closed": True}
    asked_so_often = []

    def is_wanted(export):
        asked_so_often.append(export)
        while gate["closed"] and len(asked_so_often) > 2:
            time.sleep(0.01)
        return plain(export)

    monkeypatch.setattr(making, "_is_wanted", is_wanted)
    yield gate
    gate["closed"] = False


def test_it_tells_how_far_it_is_and_cancelling_leaves_nothing(
    alice, room, folder, relay, worker, listener, slow  # noqa: F811
):  # fmt: skip
    export = asked(alice, room)
    wait_until(lambda: standing_of(export).doing == "the data" and lay_in(folder))
    assert standing_of(export).state == "running"
    assert not ask_export(alice, room.pk)
    assert cancel_export(alice, room.pk)
    wait_until(lambda: standing_of(Export.objects.get()).state == "cancelled")
    wait_until(lambda: lay_in(folder) == [])
    assert not cancel_export(alice, room.pk)
    slow["closed"] = False
    asked(alice, room)
    wait_until(lambda: standing_of(Export.objects.get()).state == "ready")


def test_one_that_is_cancelled_before_redis_knows_of_it_does_not_begin(alice, room, folder):
    export = asked(alice, room)
    assert cancel_export(alice, room.pk)
    export.refresh_from_db()
    assert standing_of(export).state == "cancelling"
    with pytest.raises(NotWanted):
        making.make(export.job_id, lambda *told: None)
    assert lay_in(folder) == []


def test_a_full_disk_fails_in_words_and_leaves_nothing(alice, room, folder, monkeypatch, relay, worker):  # noqa: F811
    plain, halves = archive.write, []

    def write_to_a_full_disk(path, *rest):
        halves.append(path.write_bytes(b"half"))
        plain(Path("/dev/full"), *rest)

    monkeypatch.setattr(archive, "write", write_to_a_full_disk)
    export = asked(alice, room)
    wait_until(lambda: standing_of(export).state == "failed")
    assert standing_of(export).reason.startswith("The disk of the server is full")
    assert "is full, or its quota is used up" in default_task_backend.get_result(export.job_id).errors[-1].traceback
    assert (len(halves), lay_in(folder)) == (1, [])  # no further try: the disk would be as full
    assert not cancel_export(alice, room.pk)


def test_what_a_killed_worker_left_goes_with_the_next_try(alice, room, folder):
    export = asked(alice, room)
    folder.mkdir(parents=True)
    left = folder / f"{export.job_id}.0123456789abcdef.part"
    left.write_bytes(b"half")
    making.make(export.job_id, lambda *told: None)
    export.refresh_from_db()
    assert lay_in(folder) == [export.file]


def test_of_two_tries_at_once_the_first_to_end_is_kept_and_the_other_leaves_nothing(alice, room, folder):
    export = asked(alice, room)
    other = []

    def meanwhile(done, total, what):
        if not other:
            other.append(True)
            making.make(export.job_id, lambda *told: None)

    with pytest.raises((NotWanted, FileNotFoundError)):
        making.make(export.job_id, meanwhile)
    export.refresh_from_db()
    assert lay_in(folder) == [export.file]
    making.make(export.job_id, lambda *told: None)
    assert lay_in(folder) == [export.file]


def test_an_export_whose_job_redis_has_lost_can_be_asked_for_again(alice, room):
    OutboxRow.objects.filter(name=asked(alice, room).job_id).delete()
    assert standing_of(Export.objects.get()).state == "failed"
    assert ask_export(alice, room.pk)


def test_old_exports_and_stray_files_are_removed_at_night(alice, bob, room, folder):
    old, kept = made(alice, room), made(bob, room)
    Export.objects.filter(pk=old.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    for name, age in (("a.zip", 2), ("b.part", 2), ("c.part", 0), (kept.file, 2)):
        (folder / name).touch()
        os.utime(folder / name, (time.time() - age * 24 * 60 * 60,) * 2)
    result = remove_old_exports.enqueue()
    run_jobs("bulk")
    result.refresh()
    assert result.return_value == 3
    assert list(Export.objects.all()) == [kept]
    assert lay_in(folder) == sorted(["c.part", kept.file])


def test_one_that_was_never_made_goes_too(alice, room):
    asked(alice, room)
    Export.objects.update(asked_at=timezone.now() - timedelta(days=8))
    assert making.remove_old() == 1


def test_an_administrator_sees_what_takes_disk_and_removes_it(alice, bob, room, folder, browser_of):
    made(bob, room)
    type(alice).objects.filter(pk=alice.pk).update(is_staff=True, is_superuser=True)
    browser = browser_of(type(alice).objects.get(pk=alice.pk))
    page = browser.get("/admin/realtime/export/").content.decode()
    assert "Bob" in page
    assert Export.objects.get().file not in page
    browser.post("/admin/realtime/export/", {"action": "remove", "_selected_action": [Export.objects.get().pk]})
    assert (Export.objects.count(), lay_in(folder)) == (0, [])
    assert "Bob" in LogEntry.objects.get().object_repr


# --- The pages -------------------------------------------------------------------------------------------------------


def page_of(browser, room):
    return browser.get(f"/rooms/{room.pk}/export/")


def test_the_page_leads_from_asking_to_the_download(alice, room, browser_of):
    browser = browser_of(alice)
    assert f'href="/rooms/{room.pk}/export/"' in browser.get(f"/rooms/{room.pk}/settings/").content.decode()
    assert "Make an export" in page_of(browser, room).content.decode()
    answer = browser.post(f"/rooms/{room.pk}/export/", follow=True)
    page = answer.content.decode()
    assert "waits for its turn" in page
    assert '<noscript><meta http-equiv="refresh" content="3"></noscript>' in page
    assert browser.get(f"/rooms/{room.pk}/export/state").json() == {"state": "waiting", "percent": 0, "doing": ""}
    assert browser.get(f"/rooms/{room.pk}/export/file").status_code == 404
    export = Export.objects.get()
    making.make(export.job_id, lambda *told: None)
    page = page_of(browser, room).content.decode()
    assert "Your export is ready" in page
    assert 'http-equiv="refresh"' not in page
    answer = browser.get(f"/rooms/{room.pk}/export/file")
    assert answer["Content-Disposition"].startswith('attachment; filename="General ')
    assert answer["Cache-Control"] == "private, no-store"
    assert answer["X-Content-Type-Options"] == "nosniff"
    export.refresh_from_db()
    assert b"".join(answer.streaming_content) == files.path_of(export.file).read_bytes()


def test_nobody_else_can_see_or_fetch_it(alice, bob, charlie, room, browser_of):
    made(alice, room)
    assert "Make an export" in page_of(browser_of(bob), room).content.decode()
    for who, path in ((bob, "file"), (bob, "state"), (charlie, ""), (charlie, "file"), (charlie, "state")):
        assert browser_of(who).get(f"/rooms/{room.pk}/export/{path}").status_code == 404
    assert browser_of(charlie).post(f"/rooms/{room.pk}/export/").status_code == 404


def test_past_its_time_or_without_its_file_there_is_no_download(alice, room, browser_of):
    export, browser = made(alice, room), browser_of(alice)
    files.remove(export.file)
    assert browser.get(f"/rooms/{room.pk}/export/file").status_code == 404
    Export.objects.update(expires_at=timezone.now())
    assert browser.get(f"/rooms/{room.pk}/export/file").status_code == 404


def test_past_its_time_the_page_offers_a_new_one_and_no_download(alice, room, browser_of):
    made(alice, room)
    Export.objects.update(expires_at=timezone.now())
    page = page_of(browser_of(alice), room).content.decode()
    assert "Your export is past its time" in page
    assert "Make a new export" in page
    assert f"/rooms/{room.pk}/export/file" not in page


def test_the_file_is_named_after_the_day_in_the_zone_of_who_takes_it(alice, room, browser_of):
    made(alice, room)
    Export.objects.update(made_at=datetime(2026, 3, 1, 23, 30, tzinfo=UTC), expires_at=timezone.now() + timedelta(1))
    type(alice).objects.filter(pk=alice.pk).update(time_zone="Asia/Tokyo")
    answer = browser_of(type(alice).objects.get(pk=alice.pk)).get(f"/rooms/{room.pk}/export/file")
    assert answer["Content-Disposition"] == 'attachment; filename="General 2026-03-02.zip"'
    answer.close()


def test_the_page_cancels_and_says_when_there_was_nothing_to_cancel(alice, room, browser_of):
    browser = browser_of(alice)
    browser.post(f"/rooms/{room.pk}/export/")
    page = browser.post(f"/rooms/{room.pk}/export/cancel", follow=True).content.decode()
    assert "is being cancelled" in page
    OutboxRow.objects.all().delete()
    page = browser.post(f"/rooms/{room.pk}/export/cancel", follow=True).content.decode()
    assert "nothing to cancel" in page
    assert "The export was cancelled" in page


def test_a_failure_is_said_with_the_way_to_try_again(alice, room, browser_of):
    asked(alice, room)
    OutboxRow.objects.all().delete()
    page = page_of(browser_of(alice), room).content.decode()
    assert "The server has lost it" in page
    assert "Try again" in page


def test_the_limit_counts_exports_that_begin(alice, room, browser_of, make_policy):
    make_policy("export", subject="named", identity="user", limit="2/day", algorithm=Algorithm.SLIDING_WINDOW)
    browser = browser_of(alice)
    for _click in range(3):
        assert browser.post(f"/rooms/{room.pk}/export/").status_code == 302
    OutboxRow.objects.all().delete()  # the job is lost
    assert browser.post(f"/rooms/{room.pk}/export/").status_code == 302
    OutboxRow.objects.all().delete()
    assert browser.post(f"/rooms/{room.pk}/export/").status_code == 429


def test_a_new_installation_has_the_policy_of_exports():
    from ratelimit.migrations._defaults import POLICIES

    assert [policy["limit"] for policy in POLICIES if policy["name"] == "export"] == ["10/day"]
