"""The first visit: one administrator, one installation, one room General, however many try."""

import threading

import pytest
from django.db import connection
from django.test import Client

from accounts.models import Installation, User
from accounts.signals import joined
from realtime.models import Membership, Room

from .conftest import PASSWORD

FORM = {
    "display_name": "  Alice   Liddell ",
    "email": "Alice@Example.org",
    "password": PASSWORD,
    "time_zone": "Europe/Berlin",
}

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fast_passwords"), pytest.mark.database]


def test_every_page_of_an_empty_installation_leads_to_the_set_up(client):
    for path in ("/", "/accounts/login/", "/admin/", "/rooms/"):
        assert client.get(path).headers["Location"] == "/setup/", path
    assert client.get("/setup/").status_code == 200
    assert client.get("/healthz").status_code == 200


def test_the_set_up_makes_the_administrator_and_the_first_room_and_signs_in(client):
    response = client.post("/setup/", FORM)
    assert response.status_code == 302
    assert response["Location"] == "/"
    alice = User.objects.get()
    assert (alice.email, alice.display_name, alice.time_zone) == ("alice@example.org", "Alice Liddell", "Europe/Berlin")
    assert alice.is_staff
    assert alice.is_superuser
    assert alice.check_password(PASSWORD)
    assert Installation.objects.get().administrator == alice
    general = Room.objects.get()
    assert (general.name, general.kind) == ("General", Room.Kind.OPEN)
    assert Membership.objects.get().user == alice
    assert client.get("/profile/").status_code == 200


def test_the_administrator_can_sign_in_again_with_mandatory_confirmation(client, settings):
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    client.post("/setup/", FORM)
    again = Client()
    again.post("/accounts/login/", {"login": "alice@example.org", "password": PASSWORD})
    assert again.get("/profile/").status_code == 200


@pytest.mark.parametrize("method", ["get", "post"])
def test_it_works_once(client, method):
    client.post("/setup/", FORM)
    response = getattr(Client(), method)("/setup/", {**FORM, "email": "bob@example.org"})
    assert response.status_code == 409
    assert "already set up" in response.content.decode()
    assert User.objects.count() == 1


def test_an_account_made_on_the_command_line_counts_as_set_up(client):
    User.objects.create_superuser("alice@example.org", PASSWORD, display_name="Alice")
    assert client.get("/setup/").status_code == 409


def test_authors_of_imported_messages_do_not_count_as_set_up(client):
    User.objects.create_user("importer@invalid", display_name="nick", is_placeholder=True)
    assert client.get("/").headers["Location"] == "/setup/"
    assert client.post("/setup/", FORM).status_code == 302


@pytest.mark.django_db(transaction=True)
def test_of_two_submissions_at_the_same_moment_one_wins_and_nothing_is_half_made():
    barrier = threading.Barrier(2)
    answers = {}

    def submit(name):
        client = Client()
        assert client.get("/setup/").status_code == 200
        barrier.wait(10)
        answers[name] = client.post("/setup/", {**FORM, "email": f"{name}@example.org", "display_name": name})
        connection.close()

    threads = [threading.Thread(target=submit, args=(name,)) for name in ("alice", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(answer.status_code for answer in answers.values()) == [302, 409]
    winner = next(name for name, answer in answers.items() if answer.status_code == 302)
    assert [user.email for user in User.objects.all()] == [f"{winner}@example.org"]
    assert Installation.objects.count() == 1
    assert [room.name for room in Room.objects.all()] == ["General"]
    assert Membership.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_receiver_that_fails_undoes_the_whole(client):
    def fail(**kwargs):
        raise RuntimeError("no room")

    joined.connect(fail)
    try:
        with pytest.raises(RuntimeError, match="no room"):
            client.post("/setup/", FORM)
    finally:
        joined.disconnect(fail)
    assert not User.objects.exists()
    assert not Installation.objects.exists()
    assert not Room.objects.exists()
    assert client.post("/setup/", FORM).status_code == 302


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("password", "short", "too short"),
        ("password", "1234567890123", "entirely numeric"),
        ("password", "alice@example.org", "too similar"),
        ("password", "Alice   Liddell", "too similar"),
        ("email", "alice", "valid email"),
        ("display_name", "\u202e\u200b", "others can read"),
        ("time_zone", "Mars/Olympus", "valid choice"),
    ],
)
def test_what_is_wrong_is_said_beside_its_field(client, field, value, words):
    response = client.post("/setup/", {**FORM, field: value})
    assert response.status_code == 422
    assert words in response.content.decode()
    assert not User.objects.exists()


def test_an_older_name_that_a_browser_has_for_its_zone_is_taken(client):
    assert client.post("/setup/", {**FORM, "time_zone": "Asia/Calcutta"}).status_code == 302
    assert User.objects.get().time_zone == "Asia/Calcutta"


def test_on_a_reachable_host_it_asks_for_the_code_that_serve_printed(client, settings):
    settings.SETUP_CODE = "k7Qz-2fYp"
    assert 'name="code"' in client.get("/setup/").content.decode()
    for wrong in ("", "k7Qz", "k7Qz-2fYq", "k7Qz-2fYp0", "ключ"):
        assert client.post("/setup/", {**FORM, "code": wrong}).status_code == 422
    assert not User.objects.exists()
    assert client.post("/setup/", {**FORM, "code": " k7Qz-2fYp "}).status_code == 302


def test_a_wrong_code_is_said_clearly(client, settings):
    settings.SETUP_CODE = "k7Qz-2fYp"
    assert "This is not the code" in client.post("/setup/", {**FORM, "code": "guess"}).content.decode()


def test_the_printed_address_may_carry_the_code(client, settings):
    settings.SETUP_CODE = "k7Qz-2fYp"
    assert 'value="k7Qz-2fYp"' in client.get("/setup/?code=k7Qz-2fYp").content.decode()


def test_guesses_of_the_code_are_limited(client, settings, make_policy):
    settings.SETUP_CODE = "k7Qz-2fYp"
    make_policy(limit="3/min")
    answers = [client.post("/setup/", {**FORM, "code": "guess"}).status_code for _ in range(4)]
    assert answers == [422, 422, 422, 429]


def test_on_this_machine_no_code_is_asked_for(client):
    assert 'name="code"' not in client.get("/setup/").content.decode()


def test_that_it_was_set_up_is_asked_once_a_process(client, alice, django_assert_num_queries):
    with django_assert_num_queries(2):  # is there an installation; is there anybody
        client.get("/accounts/login/")
    with django_assert_num_queries(0):
        client.get("/accounts/login/")


@pytest.mark.django_db(transaction=True)
def test_with_redis_away_the_installation_is_whole_and_signing_in_comes_later(client, redis_server):
    redis_server.kill()
    response = client.post("/setup/", FORM)
    assert response.status_code == 503
    assert not response.cookies
    redis_server.start()
    assert Installation.objects.count() == 1
    assert [room.name for room in Room.objects.all()] == ["General"]
    client.post("/accounts/login/", {"login": FORM["email"], "password": PASSWORD})
    assert client.get("/profile/").status_code == 200
