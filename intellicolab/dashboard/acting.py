"""Actions on a page of the admin: asked before, carried out by POST, and noted in the journal."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from redis.exceptions import RedisError

from . import journal
from .queries import reason


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked before an action: `meaning` says what it does and what is lost, `things` to what.

    `back` is the address of who does not want it, `trail` the pages (title, address) that lead here, `fields` what the
    form sends beside its button.
    """

    title: str
    meaning: str
    button: str
    back: str
    trail: Sequence[tuple[str, str]] = ()
    things: Sequence[str] = ()
    more: int = 0  # things that are not named
    fields: Iterable[tuple[str, object]] = field(default=())


def ask(request: HttpRequest, question: Question) -> TemplateResponse:
    """The page that asks; its form is sent to the same address."""
    shown = {"title": question.title, "trail": question.trail, "question": question}
    return TemplateResponse(request, "dashboard/question.html", {**admin.site.each_context(request), **shown})


@dataclass(frozen=True, slots=True)
class Deed:
    """What is done to `subject`, of an area of the journal: `done` says it, `unchanged` why nothing was changed."""

    area: str
    subject: str
    done: str
    unchanged: str = "that was so already"


def carry_out(request: HttpRequest, act: Callable[[], bool], deed: Deed, back: str) -> HttpResponse:
    """Do it, note it, and say so on the page `back`. `act` tells whether it changed anything, and raises RedisError."""
    with outage_told(request, deed.subject):
        if act():
            note_done(request, deed)
        else:
            messages.info(request, f"{deed.subject}: {deed.unchanged}.")
    return HttpResponseRedirect(back)


def note_done(request: HttpRequest, deed: Deed) -> None:
    """In the journal, and on the page that comes."""
    journal.note(request, deed.area, deed.subject, f"{deed.done}.")
    messages.success(request, f"{deed.done}: {deed.subject}.")


@contextmanager
def outage_told(request: HttpRequest, subject: str) -> Iterator[None]:
    """Redis may have done it all the same: nobody knows, so it is not noted, and whoever wanted it must look."""
    try:
        yield
    except (RedisError, OSError) as error:
        messages.error(
            request, f"{subject}: Redis gives {reason(error)}. Look here whether it was done, and else try again."
        )
