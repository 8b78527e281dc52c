"""The admin: what can be found, seen and done there, at what cost, and under the strict policy."""

import re
import secrets
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import Invitation, User
from realtime import services
from realtime.admin import RoomAdmin
from realtime.models import Membership, Message, Room

pytestmark = pytest.mark.database

CHAT = ("room", "membership", "message")


@pytest.fixture
def room(alice):
    return services.create_room(alice, "Kitchen", topic="What is for lunch")


def say(user, room, text):
    posted = services.post_message(services.NewMessage(room.pk, user.pk, secrets.token_hex(8), text))
    return Message.objects.get(room=room, number=posted.number)


def page(client, name, *args, **query):
    response = client.get(reverse(f"admin:{name}", args=args), query)
    assert response.status_code == 200
    return response.content.decode()


def act(client, model, action, rows, **extra):
    data = {"action": action, "_selected_action": [row.pk for row in rows], **extra}
    return client.post(reverse(f"admin:realtime_{model}_changelist"), data, follow=True)


# --- The door ------------------------------------------------------------------------------------------------------


def test_the_admin_is_entered_through_the_sites_sign_in(client, root):
    response = client.get(reverse("admin:index"), follow=True)
    assert response.redirect_chain[-1][0].startswith(reverse("account_login"))


def test_who_is_no_administrator_stays_outside(client, root, alice):
    client.force_login(alice)
    response = client.get(reverse("admin:realtime_message_changelist"), follow=True)
    assert response.status_code == 403


# --- Finding -------------------------------------------------------------------------------------------------------


def test_messages_are_found_by_text_author_and_room(admin, room, alice):
    say(alice, room, "soup again")
    for words in ("soup", "Alice", "alice@example.org", "Kitchen"):
        assert "soup again" in page(admin, "realtime_message_changelist", q=words)
    assert "soup again" not in page(admin, "realtime_message_changelist", q="salad")


def test_deleted_messages_are_told_apart(admin, room, alice):
    say(alice, room, "stays")
    services.delete_message(alice, say(alice, room, "goes"))
    deleted = page(admin, "realtime_message_changelist", state="yes")
    assert "stays" not in deleted
    assert "1 message" in deleted


def test_rooms_are_found_by_name_topic_and_member(admin, room):
    for words in ("kitch", "lunch", "Alice"):
        assert "1 room" in page(admin, "realtime_room_changelist", q=words)
    assert "0 rooms" in page(admin, "realtime_room_changelist", q="garage")


def test_archived_rooms_are_told_apart(admin, room, root):
    services.archive_room(root, services.create_room(root, "Old"))
    assert ">Old<" in page(admin, "realtime_room_changelist", state="yes")
    assert ">Old<" not in page(admin, "realtime_room_changelist", state="no")


def fill(people=4, rooms=4, texts=3):
    """People who are all in all rooms and have all said something there."""
    start = User.objects.count()
    users = [User.objects.create_user(f"p{start + n}@example.org", None, display_name=f"P{n}") for n in range(people)]
    for _ in range(rooms):
        room = services.create_room(users[0], f"Room {Room.objects.count()}")
        for user in users[1:]:
            services.join_room(user, room)
        services.post_messages(
            [
                services.NewMessage(room.pk, user.pk, f"{room.pk}-{n}", f"text {n}")
                for user in users
                for n in range(texts)
            ]
        )
        Invitation.issue(users[0])


@pytest.mark.parametrize("model", [f"realtime_{name}" for name in CHAT] + ["accounts_user", "accounts_invitation"])
def test_a_list_costs_the_same_queries_however_long(admin, model):
    fill()
    page(admin, f"{model}_changelist")
    with CaptureQueriesContext(connection) as few:
        short = page(admin, f"{model}_changelist")
    fill(people=9, rooms=6)
    with CaptureQueriesContext(connection) as many:
        long = page(admin, f"{model}_changelist")
    assert long.count("<tr") > short.count("<tr")
    assert len(many) == len(few)
    assert len(many) <= 8


# --- Steering ------------------------------------------------------------------------------------------------------


def test_a_room_is_renamed_through_the_service(admin, room, root):
    admin.post(reverse("admin:realtime_room_change", args=[room.pk]), {"name": " Tea  room ", "topic": "Tea"})
    room.refresh_from_db()
    assert (room.name, room.topic) == ("Tea room", "Tea")


@pytest.mark.parametrize(("name", "told"), [("  ", "A room needs a name"), ("gARAGE", "already an open room")])
def test_a_name_that_cannot_be_is_refused_in_the_form(admin, room, root, name, told):
    services.create_room(root, "Garage")
    response = admin.post(reverse("admin:realtime_room_change", args=[room.pk]), {"name": name, "topic": ""})
    assert response.status_code == 200
    assert told in response.content.decode() or "This field is required" in response.content.decode()
    room.refresh_from_db()
    assert room.name == "Kitchen"


def test_rooms_are_archived_and_numbers_cannot_be_written(admin, room):
    admin.post(
        reverse("admin:realtime_room_change", args=[room.pk]), {"name": "Kitchen", "topic": "", "last_number": "99"}
    )
    response = act(admin, "room", "archive", [room])
    room.refresh_from_db()
    assert room.is_archived
    assert room.last_number == 0
    assert "Archived: 1." in response.content.decode()


def test_a_direct_room_cannot_be_changed(admin, alice, bob, room):
    direct = services.open_direct_room(alice, bob)
    response = act(admin, "room", "archive", [direct, room])
    assert "This can&#x27;t be done in a direct room." in response.content.decode()
    direct.refresh_from_db()
    room.refresh_from_db()
    assert (direct.is_archived, room.is_archived) == (False, True)
    assert 'name="name"' not in page(admin, "realtime_room_change", direct.pk)


def test_deleting_a_message_asks_first_and_leaves_a_tombstone(admin, room, alice):
    kept, gone = say(alice, room, "kept"), say(alice, room, "gone <b>")
    asked = act(admin, "message", "delete_text", [gone]).content.decode()
    assert "gone &lt;b&gt;" in asked
    assert "Delete 1 message" in asked
    gone.refresh_from_db()
    assert not gone.is_deleted
    act(admin, "message", "delete_text", [gone], confirmed="yes")
    gone.refresh_from_db()
    kept.refresh_from_db()
    assert (gone.is_deleted, gone.text, gone.html, gone.number) == (True, "", "", 2)
    assert not kept.is_deleted
    room.refresh_from_db()
    assert (room.last_number, room.last_version, gone.version) == (2, 3, 3)


def test_too_many_messages_at_once_are_refused(admin, room, alice, monkeypatch):
    monkeypatch.setattr("realtime.admin.DELETED_AT_ONCE", 1)
    rows = [say(alice, room, "one"), say(alice, room, "two")]
    assert "Choose at most 1 messages at once" in act(admin, "message", "delete_text", rows).content.decode()


def test_members_are_made_owners_and_removed(admin, room, alice, bob):
    bobs = services.join_room(bob, room)
    act(admin, "membership", "make_owner", [bobs])
    bobs.refresh_from_db()
    assert bobs.role == Membership.Role.OWNER
    act(admin, "membership", "remove", [bobs])
    assert not Membership.objects.filter(user=bob).exists()


def test_the_last_owner_is_not_removed(admin, room, alice, bob):
    services.join_room(bob, room)
    response = act(admin, "membership", "remove", [Membership.objects.get(user=alice)])
    assert "only owner" in response.content.decode()
    assert Membership.objects.filter(user=alice).exists()


@pytest.mark.parametrize("model", CHAT)
def test_chat_has_neither_adding_nor_deleting_of_rows(admin, room, alice, model):
    say(alice, room, "text")
    rows = {"room": Room.objects.all(), "membership": Membership.objects.all(), "message": Message.objects.all()}
    row = rows[model].first()
    assert admin.get(reverse(f"admin:realtime_{model}_add")).status_code == 403
    assert admin.post(reverse(f"admin:realtime_{model}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403
    assert "delete_selected" not in page(admin, f"realtime_{model}_changelist")


def test_a_message_cannot_be_rewritten(admin, room, alice):
    message = say(alice, room, "as said")
    response = admin.post(reverse("admin:realtime_message_change", args=[message.pk]), {"text": "forged"})
    assert response.status_code == 403
    message.refresh_from_db()
    assert message.text == "as said"


def test_staff_who_may_look_can_change_nothing(client, root, room, alice, bob):
    bob.is_staff = True
    bob.save()
    bob.user_permissions.set(Permission.objects.filter(content_type__app_label="realtime"))
    message = say(alice, room, "text")
    client.force_login(bob)
    assert "text" in page(client, "realtime_message_changelist")
    act(client, "message", "delete_text", [message], confirmed="yes")
    client.post(reverse("admin:realtime_room_change", args=[room.pk]), {"name": "Mine", "topic": ""})
    message.refresh_from_db()
    room.refresh_from_db()
    assert (message.text, room.name) == ("text", "Kitchen")


# --- The strict policy ---------------------------------------------------------------------------------------------


class InlineCode(HTMLParser):
    """Collects what a policy without 'unsafe-inline' would not let run or show."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        if tag == "style" or "style" in named:
            self.found.append(self.get_starttag_text())
        if tag == "script" and "src" not in named and named.get("type") != "application/json":
            self.found.append(self.get_starttag_text())
        self.found += [f"{tag} {name}" for name in named if name.startswith("on")]
        self.found += [value for value in named.values() if (value or "").strip().lower().startswith("javascript:")]


def inline_code(html):
    parser = InlineCode()
    parser.feed(html)
    return parser.found


def test_the_scan_finds_what_it_looks_for():
    bad = '<style>x</style><p style="a">b</p><script>c</script><a onclick="d" href="javascript:e">f</a>'
    assert len(inline_code(bad)) == 5
    assert inline_code('<script src="a"></script><script type="application/json">{}</script>') == []


def pages(root, room, message):
    group = Group.objects.create(name="Cooks")
    user = User.objects.get(display_name="Alice")
    models = ["accounts_user", "accounts_invitation", "accounts_installation", "auth_group", "events_deadletter"]
    models += [f"realtime_{name}" for name in CHAT]
    names = ("index", "events", "jobs", "password_change", "password_change_done")
    yield from (reverse(f"admin:{name}") for name in names)
    yield reverse("admin:jobs_dead", args=["default"])
    yield from (reverse("admin:jobs_of_queue", args=["default", "bulk", kind]) for kind in ("waiting", "running"))
    yield reverse("admin:queue_pause", args=["default", "bulk"])
    yield from (reverse(f"admin:{model}_changelist") for model in models)
    yield reverse("admin:realtime_message_changelist") + "?q=x&kind__exact=text&o=1"
    yield reverse("admin:app_list", args=["realtime"])
    yield reverse("admin:accounts_user_add")
    yield reverse("admin:auth_group_add")
    yield reverse("admin:auth_user_password_change", args=[user.pk])
    for model, row in (
        ("accounts_user", user),
        ("auth_group", group),
        ("realtime_room", room),
        ("realtime_message", message),
    ):
        yield reverse(f"admin:{model}_change", args=[row.pk])
        yield reverse(f"admin:{model}_history", args=[row.pk])
    yield reverse("admin:accounts_user_delete", args=[user.pk])
    yield reverse("admin:auth_group_delete", args=[group.pk])


def test_no_page_has_inline_script_or_style(admin, root, room, alice):
    message = say(alice, room, "text")
    for address in pages(root, room, message):
        response = admin.get(address)
        assert response.status_code == 200, address
        assert inline_code(response.content.decode()) == [], address
        assert "unsafe-inline" not in response.headers["Content-Security-Policy"]


def test_pages_that_answer_a_form_have_none_either(admin, root, room, alice):
    message = say(alice, room, "text")
    group = Group.objects.create(name="Cooks")
    chosen = {"action": "delete_selected", "_selected_action": [group.pk]}
    answers = [
        act(admin, "message", "delete_text", [message]),
        act(admin, "message", "", [message]),
        admin.post(reverse("admin:auth_group_changelist"), chosen),
        admin.post(reverse("admin:accounts_user_add"), {"email": "wrong"}),
        admin.post(reverse("admin:realtime_room_change", args=[room.pk]), {"name": "", "topic": ""}),
        admin.post(reverse("admin:auth_group_add") + "?_popup=1", {"name": "Popup", "_popup": "1"}),
    ]
    for answer in answers:
        assert answer.status_code == 200
        assert inline_code(answer.content.decode()) == []


def test_a_list_without_actions_has_no_inline_style(admin, room, monkeypatch):
    """Django's own template has a style element for a list that shows no action bar."""
    monkeypatch.setattr(RoomAdmin, "actions_on_top", False)
    html = page(admin, "realtime_room_changelist")
    assert "without-actions" in html
    assert inline_code(html) == []


def test_html_in_a_message_is_shown_as_text(admin, room, alice):
    say(alice, room, "<script>alert(1)</script>")
    html = page(admin, "realtime_message_changelist")
    assert "<script>alert(1)" not in html
    assert re.search(r"&lt;script&gt;alert\(1\)", html)


def test_times_are_kept(admin, room, alice):
    """A list of imported messages shows when they were said, not when they were imported."""
    at = datetime(2006, 6, 1, 11, 22, tzinfo=UTC)
    message = services.NewMessage(room.pk, alice.pk, "old", "old text", created_at=at, imported=True)
    services.post_message(message)
    assert "June 1, 2006, 11:22 a.m." in page(admin, "realtime_message_changelist")


def test_messages_are_filtered_by_the_kind_of_their_room(admin, room, alice, bob):
    say(alice, room, "in the open")
    say(alice, services.open_direct_room(alice, bob), "between us")
    assert "between us" not in page(admin, "realtime_message_changelist", room_kind="open")
    assert "between us" in page(admin, "realtime_message_changelist", room_kind="direct")
