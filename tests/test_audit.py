"""The audit log: each fact as a sentence, for administrators to find and nobody to change."""

import sqlite3
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.events import UserConfirmed, UserCreated, UserDeactivated, UserDeleted, UserReactivated, UserUpdated
from accounts.models import User
from intellicolab.audit import services
from intellicolab.audit.models import AuditEntry
from intellicolab.audit.sentences import tell
from intellicolab.events import handling
from intellicolab.events.groups import groups
from intellicolab.events.models import DeadLetter
from intellicolab.events.schema import encode, registered
from intellicolab.jobs.events import JobDead
from ratelimit.events import LimitExceeded
from realtime.events import MemberJoined, MemberLeft, MessageDeleted, RoomArchived, RoomCreated
from realtime.models import Room

from .test_admin import inline_code
from .test_events import wait_until

pytestmark = pytest.mark.django_db
NOBODY = 10**9


@pytest.fixture
def here(alice, bob):
    """Alice, Bob, an open, a private and a direct room, by name."""
    return {
        "alice": alice.pk,
        "bob": bob.pk,
        "plans": Room.objects.create(name="Plans").pk,
        "cellar": Room.objects.create(name="Cellar", kind="private").pk,
        "theirs": Room.objects.create(kind="direct", direct_key=f"{alice.pk}:{bob.pk}").pk,
        "gone": NOBODY,
    }


def handle(*events):
    """By the group as it is declared."""
    group = next(group for group in groups() if group.name == "audit")
    entries = [
        handling.Entry(at, event.name, event.version, encode(event).encode()) for at, event in enumerate(events, 1)
    ]
    return handling.handle(group, "any", entries)


def log():
    return list(AuditEntry.objects.order_by("pk").values_list("sentence", flat=True))


# --- Sentences -----------------------------------------------------------------------------------------------------

GONE = f"(person {NOBODY})"
SENTENCES = [
    (UserCreated, {"user_id": "bob"}, "Bob made an account.", "bob"),
    (UserCreated, {"user_id": "bob", "by_id": "alice"}, "Alice made an account for Bob.", "alice"),
    (UserConfirmed, {"user_id": "bob"}, "Bob has a confirmed email address.", "bob"),
    (UserUpdated, {"user_id": "bob", "fields": ["bio"]}, "Bob changed their own text about themselves.", "bob"),
    (
        UserUpdated,
        {"user_id": "bob", "fields": ["display_name", "email", "is_staff"], "by_id": "alice"},
        "Alice changed the name, email address and access to the admin of Bob.",
        "alice",
    ),
    (UserDeactivated, {"user_id": "bob", "by_id": "alice"}, "Alice deactivated the account of Bob.", "alice"),
    (UserDeactivated, {"user_id": "bob"}, "The account of Bob was deactivated.", None),
    (UserReactivated, {"user_id": "gone"}, f"The account of somebody who is gone {GONE} was reactivated.", None),
    (UserDeleted, {"user_id": "gone", "display_name": "Eve"}, "The account of Eve was deleted.", None),
    (
        UserDeleted,
        {"user_id": "gone", "display_name": "Eve", "by_id": "alice"},
        "Alice deleted the account of Eve.",
        "alice",
    ),
    (RoomCreated, {"room_id": "plans", "kind": "open", "by_id": "alice"}, "Alice made the room Plans.", "alice"),
    (RoomCreated, {"room_id": "cellar", "kind": "private"}, "The private room Cellar was made.", None),
    (RoomCreated, {"room_id": "theirs", "kind": "direct", "by_id": "bob"}, "Bob opened a direct room.", "bob"),
    (RoomArchived, {"room_id": "plans", "by_id": "alice"}, "Alice archived the room Plans.", "alice"),
    (
        RoomArchived,
        {"room_id": "gone", "by_id": "gone"},
        f"Somebody who is gone {GONE} archived a room that is gone (room {NOBODY}).",
        None,
    ),
    (MemberJoined, {"room_id": "plans", "user_id": "bob"}, "Bob joined the room Plans.", "bob"),
    (
        MemberJoined,
        {"room_id": "cellar", "user_id": "bob", "by_id": "alice"},
        "Alice added Bob to the room Cellar.",
        "alice",
    ),
    (MemberLeft, {"room_id": "plans", "user_id": "bob"}, "Bob left the room Plans.", "bob"),
    (
        MemberLeft,
        {"room_id": "plans", "user_id": "bob", "by_id": "alice"},
        "Alice removed Bob from the room Plans.",
        "alice",
    ),
    (
        MessageDeleted,
        {"room_id": "theirs", "number": 7, "author_id": "bob", "by_id": "alice"},
        "Alice deleted message 7 of Bob in a direct room.",
        "alice",
    ),
]


@pytest.mark.parametrize(("kind", "fields", "sentence", "actor"), SENTENCES, ids=lambda value: str(value)[:60])
def test_each_fact_is_a_sentence(here, kind, fields, sentence, actor):
    event = kind(
        **{name: here.get(value, value) if isinstance(value, str) else value for name, value in fields.items()}
    )
    assert handle(event).through
    [entry] = AuditEntry.objects.all()
    assert (entry.sentence, entry.actor_id) == (sentence, here.get(actor))
    assert (entry.event, entry.event_id, entry.at) == (kind.name, event.id, event.at)
    assert entry.room_id == (here[fields["room_id"]] if "room_id" in fields else None)
    assert not DeadLetter.objects.exists()


@pytest.mark.parametrize(
    ("kind", "who", "said"),
    [
        ("address", "192.0.2.1", "the address 192.0.2.1"),
        ("api_key", "s3cr…", "the API key s3cr…"),
        ("user", "bob", "Bob"),
    ],
)
def test_a_limit_says_whom_it_refused(here, kind, who, said):
    event = LimitExceeded(policy_id=1, policy="sign-in", kind=kind, who=str(here.get(who, who)), refusals=1234)
    handle(event)
    assert log() == [f"The limit sign-in refused {said} 1,234 times within ten minutes."]
    assert AuditEntry.objects.get().actor_id == here.get(who)


def test_what_people_write_is_not_in_it(here):
    room = {"room_id": here["plans"], "number": 1}
    own = MessageDeleted(**room, author_id=here["bob"], by_id=here["bob"])
    assert handle(own).through == [handling.Entry(1, own.name, 1, encode(own).encode())]
    assert log() == []
    taken = {name for group in groups() if group.name == "audit" for name, _version in group.handlers}
    own = {kind.name for kind in registered() if kind.stream and not kind.name.startswith("test:")}
    assert own - taken == {"message:created", "message:edited"}


def test_a_kind_without_a_sentence_is_told_as_such(here):
    with pytest.raises(LookupError, match="message:edited"):
        tell(next(kind for kind in registered() if kind.name == "message:edited")(room_id=1, number=1, by_id=1))


def test_what_turns_text_around_is_told_as_its_code():
    told = tell(JobDead(job_id="1", task="app.tasks.pay", queue="default", reason="ValueError: \u202eoslaf\0"))
    assert told.sentence == "The job pay failed for the last time: ValueError: \\u202eoslaf\\x00"


# --- Entries -------------------------------------------------------------------------------------------------------


@pytest.mark.database
def test_a_fact_is_one_entry_even_when_its_group_has_forgotten_it(here):
    event = UserCreated(user_id=here["bob"])
    services.record(event)
    services.record(event)
    assert len(log()) == 1


@pytest.mark.database
def test_an_entry_outlives_who_did_it(here, alice):
    handle(RoomArchived(room_id=here["plans"], by_id=alice.pk))
    alice.delete()
    [entry] = AuditEntry.objects.all()
    assert (entry.actor, entry.actor_name, entry.sentence) == (None, "Alice", "Alice archived the room Plans.")


@pytest.mark.database
def test_entries_end_after_their_days(here, settings, monkeypatch):
    monkeypatch.setattr(services, "BATCH", 2)
    settings.AUDIT_DAYS = 30
    now = timezone.now()
    for days in (29, 31, 32, 33, 400):
        services.record(UserCreated(user_id=here["bob"], at=now - timedelta(days=days)))
    assert services.prune() == 4
    assert [entry.at for entry in AuditEntry.objects.all()] == [now - timedelta(days=29)]
    assert services.prune() == 0


# --- In the admin --------------------------------------------------------------------------------------------------


@pytest.fixture
def admin(make_user, browser_of):
    return browser_of(make_user("root", is_staff=True, is_superuser=True))


def page(browser, **query):
    response = browser.get(reverse("admin:audit_auditentry_changelist"), query)
    assert response.status_code == 200
    html = response.content.decode()
    assert inline_code(html) == []
    return html


def fill(here):
    handle(
        RoomArchived(room_id=here["plans"], by_id=here["alice"]),
        UserDeactivated(user_id=here["bob"], by_id=here["alice"]),
    )


@pytest.mark.database
def test_entries_are_found_by_words_event_and_date(admin, here):
    fill(here)
    archived, deactivated = "archived the room Plans", "deactivated the account of Bob"
    year = timezone.now().year
    for query in ({}, {"q": "alice@example.org"}, {"at__year": year}):
        assert archived in page(admin, **query)
        assert deactivated in page(admin, **query)
    for query in ({"q": "plans"}, {"event": "room:archived"}):
        assert archived in page(admin, **query)
        assert deactivated not in page(admin, **query)
    assert archived not in page(admin, at__year=year - 1)


def test_html_in_a_name_is_shown_as_text(admin, here):
    User.objects.filter(pk=here["bob"]).update(display_name="<script>alert(1)</script>")
    fill(here)
    assert "&lt;script&gt;alert(1)" in page(admin)


def test_an_entry_is_read_and_neither_made_changed_nor_deleted(admin, here):
    fill(here)
    entry = AuditEntry.objects.first()
    address = reverse("admin:audit_auditentry_change", args=[entry.pk])
    shown = admin.get(address)
    assert entry.sentence in shown.content.decode()
    assert inline_code(shown.content.decode()) == []
    assert admin.post(address, {"sentence": "forged"}).status_code == 403
    assert admin.get(reverse("admin:audit_auditentry_add")).status_code == 403
    delete = reverse("admin:audit_auditentry_delete", args=[entry.pk])
    assert admin.post(delete, {"post": "yes"}).status_code == 403
    assert "delete_selected" not in page(admin)
    assert AuditEntry.objects.count() == 2


def test_it_is_for_who_may_see_it(here, bob, browser_of):
    User.objects.filter(pk=bob.pk).update(is_staff=True)
    browser = browser_of(bob)
    address = reverse("admin:audit_auditentry_changelist")
    assert browser.get(address).status_code == 403
    bob.user_permissions.set(Permission.objects.filter(codename="view_auditentry"))
    assert browser.get(address).status_code == 200


def test_the_list_costs_the_same_queries_however_long(admin, here):
    fill(here)
    page(admin)
    with CaptureQueriesContext(connection) as few:
        page(admin)
    fill(here)
    with CaptureQueriesContext(connection) as many:
        page(admin)
    assert len(many) == len(few) <= 8


# --- The whole way -------------------------------------------------------------------------------------------------


def test_a_running_site_welcomes_and_notes_who_comes(site):
    [dora] = site.people("dora")
    wait_until(lambda: hers(site.var / "mail"), 30)
    with sqlite3.connect(site.var / "db.sqlite3") as database:
        asked = "SELECT sentence FROM audit_auditentry WHERE person_id = ? AND event = 'user:created'"
        wait_until(lambda: database.execute(asked, [dora["id"]]).fetchall() == [("Dora made an account.",)], 30)
    assert len(hers(site.var / "mail")) == 1


def hers(folder):
    return [path for path in folder.glob("welcome.*.eml") if b"To: dora@example.org" in path.read_bytes()]
