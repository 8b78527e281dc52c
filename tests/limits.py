"""What the tests of the limiter share."""

import time

from django.http import HttpResponse
from django.test import RequestFactory

from intellicolab.redis.client import Role, client
from intellicolab.redis.counters import counters, totals
from ratelimit import statistics
from ratelimit.book import book
from ratelimit.identity import named
from ratelimit.middleware import RateLimitMiddleware

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
FIRST = "198.51.100.7"
SECOND = "198.51.100.8"


class Visit:
    """The middleware before a site that answers at once; call it with an address to make a request from there."""

    def __init__(self, view=lambda request: HttpResponse("fine")):
        self.middleware = RateLimitMiddleware(view)

    def __call__(self, address=FIRST, path="/", method="GET", session=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        request = RequestFactory(REMOTE_ADDR=address).generic(method, path, headers=headers)
        if session is not None:
            request.COOKIES["sessionid"] = session.session_key or "some"
            request.session = session
        return self.middleware(request)


def statuses(visit, times, *args, **kwargs):
    return [visit(*args, **kwargs).status_code for _ in range(times)]


def wait_for(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.01)
    return True


def counted(policy, outcome):
    """A total since the server was empty; the counters' own thread may be writing what is missing from it."""
    counters.flush()
    name = policy if isinstance(policy, str) else str(policy.pk)
    return totals(statistics.FAMILY).get(statistics.field(name, outcome), 0)


def key_of(policy, kind="address", name=FIRST):
    """Where Redis keeps what counts against somebody."""
    from intellicolab.redis import keys

    return keys.limit(policy.rule.state, named(kind, name).hashed)


def stored():
    return [key.decode() for key in client(Role.STATE).scan_iter() if b":limit:" in key]


def look_again():
    """As half a second later."""
    book.expire()
