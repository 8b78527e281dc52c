"""People of an installation that nobody has to sign up: each with a session of their own, and in every room."""

import json

from tests.site import Site

CODE = """
import json
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.hashers import make_password
from accounts.models import Installation, User
from accounts.sessions import SessionStore
from realtime import services
from realtime.models import Membership, Room

def person(number):
    name = f"person-{{number}}"
    return User(email=f"{{name}}@example.org", display_name=name, password=make_password(None))

def cookie(user):
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return f"{{settings.SESSION_COOKIE_NAME}}={{session.session_key}}"

owner = User.objects.create_superuser("owner@example.org", "correct horse battery", display_name="Owner")
Installation.objects.create(pk=1, administrator=owner)
people = User.objects.bulk_create(person(number) for number in range({people}))
rooms = [services.create_room(owner, f"Room {{number}}") for number in range({rooms})]
Membership.objects.bulk_create(Membership(room=room, user=user) for room in rooms for user in people)
Room.objects.filter(pk__in=[room.pk for room in rooms]).update(people=len(people) + 1)
print("MADE" + json.dumps({{"cookies": [cookie(user) for user in people], "rooms": [room.pk for room in rooms]}}))
"""


class Population:
    """`cookies` of that many people, and the ids of that many `rooms`."""

    def __init__(self, site: Site, people: int, rooms: int) -> None:
        done = site.manage("shell", "-v", "0", "-c", CODE.format(people=people, rooms=rooms))
        assert done.returncode == 0, done.stderr
        made = json.loads(done.stdout.rpartition("MADE")[2])
        self.cookies: list[str] = made["cookies"]
        self.rooms: list[int] = made["rooms"]
