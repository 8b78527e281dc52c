"""Sessions that survive an outage of Redis, the reader's time zone, and the way to the set-up page of an empty
installation."""

import logging

import redis
from django.conf import settings
from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessionMiddleware
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.deprecation import MiddlewareMixin

from intellicolab.errors import SessionOutage, session_outage

from . import devices, last_seen, queries
from .own_settings import settings_of
from .sessions import SessionStore, SessionUnavailable

logger = logging.getLogger("accounts")

OUTAGES = (SessionUnavailable, redis.ConnectionError, redis.TimeoutError)

HEALTH = settings.HEALTH_PATHS


class SessionMiddleware(DjangoSessionMiddleware):
    """Answers 503 while the session store is away, and then sends no cookie of any kind.

    A session whose cookie came with the request is loaded here, at once: an outage is met in one place, before any
    view, and costs one timeout. Visitors without a cookie still get every page that needs no session.
    """

    def process_request(self, request: HttpRequest) -> HttpResponse | None:  # type: ignore[override]
        if request.path_info in HEALTH:
            request.session = self.SessionStore(None)
            return None
        super().process_request(request)
        try:
            request.session.preload()  # type: ignore[attr-defined]
        except SessionUnavailable as error:
            return outage(request, error)
        note_use(request)
        return None

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """For what a view does itself: signing in and out, and allauth's memory of used one-time codes."""
        return outage(request, exception) if isinstance(exception, OUTAGES) else None

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if request.path_info in HEALTH:
            return response
        if not isinstance(response, SessionOutage):
            try:
                response = super().process_response(request, response)
            except SessionUnavailable as error:
                response = outage(request, error)
            else:
                note_use(request)
                return response
        # The middlewares inside this one may have put their own there (messages, CSRF), or a half-done sign-out.
        response.cookies.clear()
        return response


def note_use(request: HttpRequest) -> None:
    """Called before the view, which may show the list, and after: who signs in with this request has their key then."""
    session = getattr(request, "session", None)
    if isinstance(session, SessionStore) and session.user_id is not None and session.hash is not None:
        user_agent, address = request.META.get("HTTP_USER_AGENT", ""), request.META.get("REMOTE_ADDR", "")
        devices.touch(session.user_id, session.hash, user_agent, address)
        last_seen.note(session.user_id)


def outage(request: HttpRequest, error: Exception) -> SessionOutage:
    logger.warning("%s %s: no answer from Redis: %s", request.method, request.path, error)
    return session_outage(request)


class ZoneMiddleware(MiddlewareMixin):
    """Has pages tell times in the zone of who reads them."""

    def process_request(self, request: HttpRequest) -> None:
        user_id = getattr(request.session, "user_id", None)
        own = settings_of(user_id) if user_id is not None else None
        if own is not None:
            timezone.activate(own.zone)

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        timezone.deactivate()  # the thread's next request is another person's
        return response


class SetupMiddleware(MiddlewareMixin):
    """Sends every visitor of an empty installation to the set-up page.

    That it was set up is remembered in the process and never asked again: it cannot be undone.
    """

    installed = False

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        if self.installed or request.path_info in HEALTH:
            return None
        setup = reverse("setup")
        if request.path_info == setup:
            return None
        self.installed = queries.is_installed()
        return None if self.installed else HttpResponseRedirect(setup)
