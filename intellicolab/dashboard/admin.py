"""Dead letters in the admin: what groups have given up, to look at, to replay and to discard."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import transaction
from django.db.models import Max, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.text import Truncator

from intellicolab.events import operations
from intellicolab.events.models import DeadLetter
from intellicolab.plain import plain
from realtime.admin import ReadOnlyAdmin

from . import journal
from .acting import Question, ask
from .views import OPERATE_EVENTS

EXCERPT = 100  # characters of a reason in the list
NAMED = 20  # letters in a question
BATCH = 500

Act = Callable[[Sequence[int]], list[int]]


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    """Letters are seen and acted on, not made, changed or deleted."""

    list_display = ("name", "group", "stream", "tries", "at", "excerpt")
    list_filter = ("group", "stream", "name")
    search_fields = ("name", "reason", "data")
    ordering = ("-pk",)
    fields = ("name", "version", "group", "stream", "position", "tries", "at", "why", "event")
    readonly_fields = fields
    actions = ("replay", "discard")

    class Media:
        css: ClassVar = {"all": ["intellicolab/css/admin.css"]}

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm(OPERATE_EVENTS))

    @admin.display(description="reason")
    def excerpt(self, letter: DeadLetter) -> str:
        return _excerpt(letter)

    @admin.display(description="reason")
    def why(self, letter: DeadLetter) -> str:
        return plain(letter.reason)

    @admin.display(description="event")
    def event(self, letter: DeadLetter) -> str:
        return format_html('<pre class="data">{}</pre>', plain(pretty(letter.data)))

    @admin.action(description="Replay: give it to its group again", permissions=["operate"])
    def replay(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> HttpResponse | None:
        """Asks first where that may repeat something outside of the database."""
        letters = _asked(request, queryset)
        if not request.POST.get("confirmed"):
            doubtful = Counter(letter.group for batch in _batches(letters) for letter in operations.uncertain(batch))
            if doubtful:
                return self._ask(request, letters, "replay", _repeating(doubtful), "Replay")
        count = _act(request, letters, operations.replay, "Replayed")
        self.message_user(request, f"Replayed: {count}.")
        if left := letters.count():
            gone = f"{left:,} stay: their group does not read that stream in this version of the code."
            self.message_user(request, gone, messages.WARNING)
        return None

    @admin.action(description="Discard: its group will never handle it", permissions=["operate"])
    def discard(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> HttpResponse | None:
        letters = _asked(request, queryset)
        if not request.POST.get("confirmed"):
            meaning = "What these events say will never be handled by their group, and cannot be replayed any more."
            return self._ask(request, letters, "discard", meaning, "Discard")
        count = _act(request, letters, operations.discard, "Discarded")
        self.message_user(request, f"Discarded: {count}.")
        return None

    def _ask(
        self, request: HttpRequest, letters: QuerySet[DeadLetter], action: str, meaning: str, button: str
    ) -> HttpResponse:
        count, back = letters.count(), reverse("admin:events_deadletter_changelist")
        what = "this dead letter" if count == 1 else f"these {count:,} dead letters"
        question = Question(
            f"{button} {what}?",
            meaning,
            button,
            back,
            trail=[("Events", reverse("admin:events")), ("Dead letters", back)],
            things=[_line(letter) for letter in letters[:NAMED]],
            more=max(0, count - NAMED),
            fields=_fields(request, letters, action),
        )
        return ask(request, question)


def _excerpt(letter: DeadLetter) -> str:
    return Truncator(plain(letter.reason)).chars(EXCERPT)


def _line(letter: DeadLetter) -> str:
    return f"{letter}, given up {timezone.localtime(letter.at):%Y-%m-%d %H:%M}: {_excerpt(letter)}"


def pretty(data: str) -> str:
    """JSON with a line a field; what is none as it is."""
    try:
        return json.dumps(json.loads(data), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return data


def _asked(request: HttpRequest, queryset: QuerySet[DeadLetter]) -> QuerySet[DeadLetter]:
    """The letters that were there when it was asked: "all" must not grow until the answer."""
    newest = request.POST.get("newest", "")
    return queryset.filter(pk__lte=int(newest)) if newest.isdecimal() else queryset


def _fields(request: HttpRequest, letters: QuerySet[DeadLetter], action: str) -> Iterator[tuple[str, Any]]:
    """What the form of the list has sent, once more."""
    yield "action", action
    yield "confirmed", "yes"
    yield "newest", letters.aggregate(newest=Max("pk"))["newest"] or 0
    yield "select_across", request.POST.get("select_across", "0")
    for pk in request.POST.getlist(ACTION_CHECKBOX_NAME):
        yield ACTION_CHECKBOX_NAME, pk


def _repeating(doubtful: Counter[str]) -> str:
    groups = ", ".join(sorted(doubtful))
    return (
        f"For {doubtful.total():,} of them nobody knows whether {groups} has done it: a worker was killed in the "
        "middle, or lost the answer. Replaying does it, perhaps a second time; an email may be sent twice."
    )


def _act(request: HttpRequest, letters: QuerySet[DeadLetter], act: Act, done: str) -> int:
    """Each batch with its entries in the journal: one is not there without the other."""
    count = 0
    for batch in _batches(letters):
        with transaction.atomic():
            gone = set(act([letter.pk for letter in batch]))
            journal.note_rows(request, [letter for letter in batch if letter.pk in gone], f"{done}.")
        count += len(gone)
    return count


def _batches(letters: QuerySet[DeadLetter]) -> Iterator[list[DeadLetter]]:
    """In the order in which they were given up."""
    last = 0
    while batch := list(letters.filter(pk__gt=last).order_by("pk")[:BATCH]):
        yield batch
        last = batch[-1].pk
