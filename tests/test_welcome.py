"""The welcome email: one a person, whoever is killed when, by files and by a mail server that does what it likes."""

import email
import importlib
from email.policy import default as policy

import pytest
from allauth.account.models import EmailAddress
from django.apps import apps
from django.core.mail import EmailMessage, get_connection

from accounts import emails, services
from accounts.events import UserConfirmed, UserCreated
from accounts.models import User, Welcome
from intellicolab.events import handling
from intellicolab.events.groups import Group, always
from intellicolab.events.models import DeadLetter, HandledEvent
from intellicolab.events.schema import encode
from intellicolab.mail.smtp import MailRefused

from .smtp_sink import HANG_UP, Sink

pytestmark = [pytest.mark.django_db, pytest.mark.database]
SMTP = "intellicolab.mail.smtp.EmailBackend"


@pytest.fixture
def mail(settings, tmp_path):
    """The folder that mail goes to."""
    settings.EMAIL_BACKEND, settings.EMAIL_FILE_PATH = emails.FILES, tmp_path / "mail"
    return settings.EMAIL_FILE_PATH


@pytest.fixture
def sink(settings):
    """The server that mail goes to."""
    server = Sink()
    settings.EMAIL_BACKEND, settings.EMAIL_HOST, settings.EMAIL_PORT = SMTP, "127.0.0.1", server.port
    yield server
    server.close()


@pytest.fixture
def confirmed_first(settings):
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"


def group(*more, repeatable=True):
    """As it is declared, with handlers after its own."""
    all_of_them = [(handler, always) for handler in (emails.welcome, *more)]
    handlers = {(kind.name, kind.version): all_of_them for kind in (UserCreated, UserConfirmed)}
    return Group("email-service", outside=True, repeatable=repeatable, batch=1, handlers=handlers)


def handle(event, declared=None, tries=1):
    entry = handling.Entry(1, event.name, event.version, encode(event).encode(), tries)
    return handling.handle(declared or group(), event.stream, [entry])


def confirm(user, address=None):
    EmailAddress.objects.create(user=user, email=address or user.email, primary=not address, verified=True)
    return UserConfirmed(user_id=user.pk)


def files(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def read(folder):
    [path] = folder.iterdir()
    return email.message_from_bytes(path.read_bytes(), policy=policy)


def die(*args):
    raise SystemExit


# --- What it says --------------------------------------------------------------------------------------------------


def test_it_is_html_and_text_with_the_sites_name_and_where_to_sign_in(alice, mail, settings):
    settings.SITE_NAME, settings.PUBLIC_URL = "The Kitchen", "https://chat.example.org"
    User.objects.filter(pk=alice.pk).update(display_name="Alice <3 & Co")
    fact = UserCreated(user_id=alice.pk)
    handle(fact)
    found = read(mail)
    assert (found["To"], found["Subject"]) == ("alice@example.org", "Welcome to The Kitchen")
    assert found["Message-ID"].startswith(f"<welcome.{fact.id}@")
    assert found["Date"].datetime == fact.at.replace(microsecond=0)
    text, html = (found.get_body([kind]).get_content() for kind in ("plain", "html"))
    assert "Hello Alice <3 & Co," in text
    assert "Welcome, Alice &lt;3 &amp; Co" in html
    for part in (text, html):
        assert "The Kitchen" in part
        assert "alice@example.org" in part
        assert "https://chat.example.org/accounts/login/" in part
        assert "https://chat.example.org/accounts/password/reset/" in part
    assert "src=" not in html
    assert "<script" not in html


def test_without_an_address_of_the_site_it_names_none(alice, mail):
    handle(UserCreated(user_id=alice.pk))
    assert "http" not in read(mail).get_body(["html"]).get_content()


# --- Once a person -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["before it is there", "after it is there"])
def test_who_is_killed_while_the_file_is_written_leaves_one_email(alice, mail, monkeypatch, at):
    fact = UserCreated(user_id=alice.pk)
    with monkeypatch.context() as patch:
        if at.startswith("before"):
            patch.setattr("os.replace", die)
        with pytest.raises(SystemExit):
            handle(fact, group(die))
    left = {path.name: path.read_bytes() for path in mail.iterdir()}
    assert len(left) == at.startswith("after")
    assert handle(fact).through
    assert files(mail) == [f"welcome.{fact.id}.eml"]
    assert all(path.read_bytes() == left.get(path.name, path.read_bytes()) for path in mail.iterdir())
    assert not DeadLetter.objects.exists()


def test_created_and_confirmed_together_are_one_welcome(alice, mail):
    created, confirmed = UserCreated(user_id=alice.pk), confirm(alice)
    for fact in (created, confirmed, created, confirm(alice, "al@example.org")):
        assert handle(fact).through
    assert files(mail) == [f"welcome.{created.id}.eml"]


def test_a_fact_that_waits_for_its_next_try_is_not_overtaken_by_another(alice, settings):
    settings.EMAIL_BACKEND, settings.EMAIL_HOST, settings.EMAIL_PORT = SMTP, "127.0.0.1", 1  # nobody listens there
    created = UserCreated(user_id=alice.pk)
    assert handle(created).again
    server = Sink()
    settings.EMAIL_PORT = server.port
    assert handle(confirm(alice)).through
    assert server.taken == []
    assert handle(created, tries=2).through
    assert [recipients for recipients, _text in server.taken] == [[alice.email]]
    server.close()


def test_nobody_is_welcomed_before_the_address_is_theirs(alice, mail, confirmed_first):
    handle(UserCreated(user_id=alice.pk))
    handle(confirm(alice, "al@example.org"))  # theirs, but not the one that the email would go to
    assert files(mail) == []
    fact = confirm(alice)
    handle(fact)
    assert files(mail) == [f"welcome.{fact.id}.eml"]


def test_placeholders_the_deactivated_and_the_deleted_get_none(alice, bob, make_user, mail):
    nick = make_user("nick", is_placeholder=True)
    services.set_active([alice], False)
    gone = bob.pk
    bob.delete()
    for user_id in (alice.pk, nick.pk, gone):
        assert handle(UserCreated(user_id=user_id)).through
    assert files(mail) == []


def test_who_was_here_before_there_was_a_welcome_gets_none(alice, mail):
    module = importlib.import_module("accounts.migrations.0003_welcome")
    module.note_who_is_here(apps, None)
    handle(confirm(alice))
    assert files(mail) == []


@pytest.mark.parametrize("address", ["alice@example.org\nBcc: eve@example.org", "alice@example.org, eve@example.org"])
def test_an_address_brings_neither_lines_nor_recipients_of_its_own(alice, mail, address):
    User.objects.filter(pk=alice.pk).update(email=address)
    assert handle(UserCreated(user_id=alice.pk)).through
    assert files(mail) == []
    assert "takes no mail" in DeadLetter.objects.get().reason


# --- By a mail server ----------------------------------------------------------------------------------------------


def test_a_mail_server_gets_it_once(alice, sink):
    fact = UserCreated(user_id=alice.pk)
    for _ in range(2):
        handle(fact, group(repeatable=False))
    [(recipients, text)] = sink.taken
    assert recipients == ["alice@example.org"]
    assert f"Message-ID: <welcome.{fact.id}@".encode() in text


def test_who_is_killed_while_a_mail_server_has_it_leaves_a_dead_letter_and_no_second_email(alice, sink):
    fact = UserCreated(user_id=alice.pk)
    with pytest.raises(SystemExit):
        handle(fact, group(die, repeatable=False))
    assert handle(fact, group(repeatable=False)).through
    assert len(sink.taken) == 1
    assert DeadLetter.objects.get().reason == handling.UNKNOWN_OUTCOME


@pytest.mark.parametrize(
    ("verb", "answer"),
    [("RCPT", "450 later"), ("RCPT", HANG_UP), ("MAIL", "550 not from you"), ("MAIL", HANG_UP), (".", "451 later")],
)
def test_what_was_not_sent_is_sent_later(alice, sink, verb, answer):
    usual, sink.answers[verb] = sink.answers[verb], answer
    fact = UserCreated(user_id=alice.pk)
    assert handle(fact, group(repeatable=False)).again
    assert not HandledEvent.objects.exists()
    sink.answers[verb] = usual
    assert handle(fact, group(repeatable=False), tries=2).through
    assert len(sink.taken) == 1


@pytest.mark.parametrize("verb", ["RCPT", "."])
def test_what_is_refused_for_good_is_given_up_at_once_and_another_fact_may_bring_it(alice, sink, verb):
    usual, sink.answers[verb] = sink.answers[verb], "550 no such person"
    assert handle(UserCreated(user_id=alice.pk), group(repeatable=False)).through
    assert "no such person" in DeadLetter.objects.get().reason
    assert not Welcome.objects.exists()
    sink.answers[verb] = usual
    handle(confirm(alice), group(repeatable=False))
    assert len(sink.taken) == 1


def test_a_break_after_the_text_leaves_open_whether_it_was_sent(alice, sink):
    sink.answers["."] = HANG_UP
    fact = UserCreated(user_id=alice.pk)
    assert handle(fact, group(repeatable=False)).through
    assert handle(fact, group(repeatable=False)).through
    assert "Nobody knows" in DeadLetter.objects.get().reason
    assert len(sink.taken) == 1


@pytest.mark.parametrize("farewell", [HANG_UP, "x" * 9000])
def test_a_rude_farewell_does_not_send_it_twice(alice, sink, farewell):
    sink.answers["QUIT"] = farewell
    assert handle(UserCreated(user_id=alice.pk), group(repeatable=False)).through
    assert len(sink.taken) == 1
    assert not DeadLetter.objects.exists()


def test_other_mail_goes_by_the_same_ways(alice, sink):
    EmailMessage("Hello", "text", to=["alice@example.org"]).send()
    assert len(sink.taken) == 1
    sink.answers["RCPT"] = "550 no"
    with pytest.raises(MailRefused):
        EmailMessage("Hello", "text", to=["alice@example.org"]).send()


# --- As files ------------------------------------------------------------------------------------------------------


def test_any_email_is_a_private_file_whatever_its_id(mail):
    for message_id in ("<../../../x@h>", "<.hidden@h>", "<" + "a" * 300 + "@h>", "<fine.1@h>", None):
        headers = {"Message-ID": message_id} if message_id else {}
        assert EmailMessage("Hello", "text", to=["alice@example.org"], headers=headers).send() == 1
    assert len(files(mail)) == 5
    assert "fine.1.eml" in files(mail)
    for path in mail.iterdir():
        assert path.stat().st_mode & 0o077 == 0
        assert path.suffix == ".eml"
        assert not path.name.startswith(".")


def test_a_folder_that_cannot_be_written_is_told_unless_it_is_to_be_silent(mail):
    mail.write_text("a file is in the way")
    message = EmailMessage("Hello", "text", to=["alice@example.org"])
    with pytest.raises(OSError, match="mail"):
        message.send()
    assert get_connection(fail_silently=True).send_messages([message]) == 0
