"""The admin's page Events and its dead letters: what is shown, who may do what, and what is noted of it."""

import html
import re
from datetime import UTC, datetime

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.messages.storage.cookie import CookieStorage
from django.test import Client, RequestFactory
from django.urls import reverse

from intellicolab.dashboard import overview as first_page
from intellicolab.dashboard import views
from intellicolab.events.groups import Group, declare
from intellicolab.events.models import DeadLetter, HandledEvent, OutboxRow, Pause
from intellicolab.redis import keys
from intellicolab.redis.client import Role
from intellicolab.redis.client import client as redis_client
from intellicolab.redis.heartbeat import Heartbeat

from .test_events import STREAM, Happened, happen
from .test_groups import GROUP, append, no_groups, writer
from .test_operations import append_made, letter_of, take

__all__ = ["no_groups"]  # fixtures
pytestmark = [pytest.mark.database, pytest.mark.django_db]

LETTERS = "admin:events_deadletter_changelist"


@pytest.fixture
def root(root):
    OutboxRow.objects.all().delete()  # that there is somebody is a fact, too, and not what these tests look at
    return root


def page(client):
    response = client.get(reverse("admin:events"))
    assert response.status_code == 200
    return words(response.content.decode())


def words(text):
    """What is read, without the marks."""
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", text).split()))


def act(client, action, letters, **extra):
    data = {"action": action, "_selected_action": [letter.pk for letter in letters], **extra}
    return client.post(reverse(LETTERS), data, follow=True)


def confirm(client, response):
    """Press the button of the question."""
    text = response.content.decode()
    form = re.search(r'<div class="question">.*?</form>', text, re.S).group()
    fields = {}
    for name, value in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', form):
        fields.setdefault(name, []).append(value)
    return client.post(response.request["PATH_INFO"], fields, follow=True)


def noted():
    entries = LogEntry.objects.select_related("user").order_by("pk")
    return [(entry.object_repr, entry.get_change_message(), str(entry.user)) for entry in entries]


# --- The page ------------------------------------------------------------------------------------------------------


@pytest.mark.topology
def test_it_shows_streams_groups_consumers_and_workers(root):
    writer()
    append_made(7300, 1, 2, 3)
    redis_client(Role.STATE).xgroup_create(keys.event_stream(STREAM), GROUP, id="0")
    take(1, "4711-a-0")
    happen(4)
    Heartbeat(groups=lambda: [GROUP], queues=lambda: {"default": 4}).beat()
    letter_of(Happened(number=9))
    request = RequestFactory().get("/admin/events/")
    request.user = root
    shown = words(views.events(request).render().content.decode())
    for expected in (
        "Oldest waiting fact 2 hours",
        "Rows waiting in the outbox 1",
        f"{GROUP} {STREAM} 2 hours does not get on 2 1 0 1 ",
        f"4711-a-0 {GROUP} {STREAM} ",
        f"{STREAM} 3 1,000,000 < 0.1 %",
        f"groups: {GROUP}; queues: default: 4",
        f"The group {GROUP} does not get on with {STREAM}: 3 facts wait",
        "1 dead letter waits for a decision",
        "No worker holds the lock of the relay",
        "Nobody has done anything here yet.",
    ):
        assert expected in shown


def test_the_first_page_tells_of_it_and_leads_there(admin):
    writer()
    assert any(problem.startswith("No worker lives") for problem in first_page.overview().problems)
    Heartbeat().beat()
    append(Happened(number=8))
    letter_of(Happened(number=9))
    told = first_page.overview().problems
    assert [problem for problem in told if problem.startswith(f"No worker runs the group {GROUP}")]
    assert [problem for problem in told if problem.startswith("1 dead letter waits")]
    text = admin.get(reverse("admin:index")).content.decode()
    assert text.count(f'href="{reverse("admin:events")}"') >= 2  # beside the figures, and as the app's heading
    assert f"No worker runs the group {GROUP}" in text


def test_without_redis_it_shows_what_the_database_knows(root, redis_server):
    writer()
    happen(1)
    request = RequestFactory().get("/admin/events/")
    request.user = root
    redis_server.kill()
    shown = words(views.events(request).render().content.decode())
    assert "Redis state: no connection. Facts are kept in the database meanwhile" in shown
    assert "How far groups are is kept in Redis, which gives no connection." in shown
    assert "Rows waiting in the outbox 1" in shown
    assert f"{STREAM} not known" in shown


def test_an_idle_installation_says_that_all_is_well(admin):
    Heartbeat().beat()
    shown = page(admin)
    assert "All is well." in shown
    assert "No group is declared" in shown
    assert "every group is up to date" in shown


def test_it_costs_a_bounded_number_of_queries(admin, django_assert_max_num_queries):
    for name in ("one", "two", "three"):
        writer(name)
        for position in range(5):
            letter_of(Happened(number=9), group=name, position=position)
    with django_assert_max_num_queries(40):
        page(admin)


# --- Groups --------------------------------------------------------------------------------------------------------


def test_a_group_is_paused_after_a_question_and_it_is_known_who_did_it(admin, root):
    writer()
    address = reverse("admin:events_pause", args=[GROUP])
    assert f'href="{address}"' in admin.get(reverse("admin:events")).content.decode()
    question = admin.get(address)
    assert "Further facts then wait in the database" in words(question.content.decode())
    assert not Pause.objects.exists()
    assert f"Paused: {GROUP}." in words(confirm(admin, question).content.decode())
    assert Pause.objects.get().by == str(root)
    assert "paused by Root" in page(admin)
    resumed = confirm(admin, admin.get(reverse("admin:events_resume", args=[GROUP])))
    assert f"Resumed: {GROUP}." in words(resumed.content.decode())
    assert not Pause.objects.exists()
    assert noted() == [(GROUP, "Paused.", "Root"), (GROUP, "Resumed.", "Root")]
    assert f"{GROUP} Resumed. Root" in page(admin)


def test_who_may_not_operate_sees_figures_and_no_buttons(staff):
    writer()
    browser = staff("view_deadletter")
    letter = letter_of(Happened(number=9))
    assert reverse("admin:events_pause", args=[GROUP]) not in browser.get(reverse("admin:events")).content.decode()
    for name in ("events_pause", "events_resume"):
        assert browser.post(reverse(f"admin:{name}", args=[GROUP])).status_code == 403
    act(browser, "replay", [letter])
    act(browser, "discard", [letter], confirmed="yes")
    assert DeadLetter.objects.count() == 1
    assert (Pause.objects.count(), noted()) == (0, [])


@pytest.mark.parametrize(("permissions", "leads"), [((), False), (("view_deadletter",), True)])
def test_the_letters_are_led_to_for_whoever_may_read_them(staff, permissions, leads):
    writer()
    redis_client(Role.STATE).xgroup_create(keys.event_stream(STREAM), GROUP, id="0", mkstream=True)
    letter_of(Happened(number=9))
    text = staff(*permissions).get(reverse("admin:events")).content.decode()
    assert (f"{reverse(LETTERS)}?group=" in text) is leads
    assert (f'"{reverse(LETTERS)}"' in text) is leads


def test_with_the_permission_one_may_operate_and_nothing_else(staff):
    writer()
    browser = staff("view_deadletter", "operate_events")
    assert browser.post(reverse("admin:events_pause", args=[GROUP])).status_code == 302
    assert browser.post(reverse("admin:events_pause", args=["typo"])).status_code == 404
    assert Pause.objects.get().group == GROUP
    act(browser, "replay", [letter_of(Happened(number=9))])
    assert not DeadLetter.objects.exists()
    assert browser.get(reverse("admin:accounts_user_changelist")).status_code == 403


def test_a_pause_without_the_forms_token_is_refused(admin, root):
    writer()
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(root)
    assert strict.post(reverse("admin:events_pause", args=[GROUP])).status_code == 403
    assert not Pause.objects.exists()


# --- Dead letters --------------------------------------------------------------------------------------------------


def test_letters_are_found_by_group_and_by_what_is_in_them(admin):
    letter_of(Happened(number=123456, note="soup"))
    letter_of(Happened(number=7), group="other", reason="ConnectionRefusedError: nobody took it")
    for query in ({"q": "soup"}, {"group": GROUP}, {"q": "LookupError"}):
        text = words(admin.get(reverse(LETTERS), query).content.decode())
        assert "1 dead letter" in text
        assert "LookupError: never" in text


def test_a_letter_is_shown_with_its_event_a_line_a_field(admin):
    found = letter_of(Happened(number=7, note="<b>soup</b>"))
    text = admin.get(reverse("admin:events_deadletter_change", args=[found.pk])).content.decode()
    assert '<pre class="data">{\n  &quot;id&quot;' in text
    assert "&lt;b&gt;soup&lt;/b&gt;" in text
    assert "LookupError: never" in text
    unreadable = letter_of(Happened(number=8), position=2, data="{half")
    assert "{half" in admin.get(reverse("admin:events_deadletter_change", args=[unreadable.pk])).content.decode()


def test_what_turns_text_around_in_a_letter_is_shown_as_its_code(admin):
    found = letter_of(Happened(number=7, note="pay \u202eecila"), reason="ValueError: \u202eoslaf")
    path = reverse("admin:events_deadletter_change", args=[found.pk])
    for text in (admin.get(path).content.decode(), admin.get(reverse(LETTERS)).content.decode()):
        assert "\u202e" not in text
        assert "ValueError: \\u202eoslaf" in text
    assert "pay \\u202eecila" in admin.get(path).content.decode()


def test_a_question_tells_times_in_the_zone_of_who_is_asked(admin, root):
    type(root).objects.filter(pk=root.pk).update(time_zone="Asia/Tokyo")
    letter = letter_of(Happened(number=1), at=datetime(2026, 3, 1, 23, 30, tzinfo=UTC))
    assert "given up 2026-03-02 08:30" in words(act(admin, "discard", [letter]).content.decode())


def test_letters_are_replayed_at_once_where_that_repeats_nothing(admin):
    writer()
    letters = [letter_of(Happened(number=number), position=number) for number in (1, 2)]
    stays = letter_of(Happened(number=3), group="gone")
    text = words(act(admin, "replay", [*letters, stays]).content.decode())
    assert "Replayed: 2." in text
    assert "1 stay: their group does not read that stream" in text
    assert [row.group for row in OutboxRow.objects.all()] == [GROUP, GROUP]
    assert list(DeadLetter.objects.all()) == [stays]
    assert noted() == [(str(letters[0]), "Replayed.", "Root"), (str(letters[1]), "Replayed.", "Root")]
    assert f"{letters[1]} Replayed. Root" in page(admin)


def test_a_replay_that_may_send_something_twice_is_asked_for(admin):
    fact = Happened(number=7)
    declare(Group(GROUP, outside=True)).streams.add(STREAM)
    HandledEvent.objects.create(group=GROUP, event_id=fact.id, done=False)
    letter = letter_of(fact)
    question = act(admin, "replay", [letter])
    assert f"nobody knows whether {GROUP} has done it" in words(question.content.decode())
    assert DeadLetter.objects.count() == 1
    confirm(admin, question)
    assert not DeadLetter.objects.exists()
    assert OutboxRow.objects.count() == 1


def test_a_discard_is_asked_for_and_takes_what_was_there_then(admin):
    letters = [letter_of(Happened(number=number), position=number) for number in range(1, 23)]
    question = act(admin, "discard", letters[:1], select_across="1")
    text = words(question.content.decode())
    assert "Discard these 22 dead letters?" in text
    assert "and 2 more" in text
    later = letter_of(Happened(number=99), position=99)
    assert "Discarded: 22." in words(confirm(admin, question).content.decode())
    assert list(DeadLetter.objects.all()) == [later]
    assert {entry[1] for entry in noted()} == {"Discarded."}
    assert len(noted()) == 22


def test_a_group_is_paused_without_redis_as_well(root, redis_server, rf):
    writer()
    request = rf.post(reverse("admin:events_pause", args=[GROUP]))
    request.user = root
    request._messages = CookieStorage(request)
    redis_server.kill()
    assert views.pause_group(request, GROUP).status_code == 302
    assert [str(message) for message in request._messages] == [f"Paused: {GROUP}."]
    assert noted() == [(GROUP, "Paused.", "Root")]
