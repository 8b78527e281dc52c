"""All dead jobs at once, in batches: each request does as much as a request may, and asks to go on."""

from dataclasses import dataclass
from datetime import datetime

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from intellicolab.jobs import operations
from intellicolab.jobs.figures import dead_count

from . import journal
from .acting import Question, ask, outage_told
from .job_actions import DISCARD, RETRY, JobAction
from .job_views import OPERATE_JOBS, known_backend
from .queueing import AREA

BATCH = 1000  # jobs a request: two round trips each, well under the seconds after which a proxy gives up

_MEANING = {
    RETRY: "Each begins anew, with all its tries. One that did a part of its work may do that part a second time.",
    DISCARD: "What they should have done will not be done, and their errors are forgotten. None can be retried.",
}


@dataclass(slots=True)
class Sweep:
    """The dead jobs of a backend up to the moment when it was asked: those that die again meanwhile are not retried
    for ever. `passed` are those that were left as they are, the earliest of all by then."""

    action: JobAction
    backend: str
    until: datetime
    passed: int = 0
    done: int = 0

    def go_on(self) -> None:
        """A batch. Raises RedisError, and knows what it has done until then."""
        for job_id in operations.dead_until(self.backend, self.until, self.passed, BATCH):
            if self.action.do(self.backend, job_id):
                self.done += 1
            else:
                self.passed += 1

    def left(self) -> int:
        """Raises RedisError."""
        return max(0, dead_count(self.backend, until=self.until) - self.passed)


def retry_all(request: HttpRequest, backend: str) -> HttpResponse:
    return _all(request, backend, RETRY)


def discard_all(request: HttpRequest, backend: str) -> HttpResponse:
    return _all(request, backend, DISCARD)


def _all(request: HttpRequest, backend: str, action: JobAction) -> HttpResponse:
    if not request.user.has_perm(OPERATE_JOBS):
        raise PermissionDenied
    known_backend(backend)
    with outage_told(request, "Dead jobs"):
        if request.method == "POST":
            return _go_on(request, _sweep(request, backend, action))
        return _question(request, Sweep(action, backend, timezone.now()))
    return HttpResponseRedirect(_list(backend))


def _sweep(request: HttpRequest, backend: str, action: JobAction) -> Sweep:
    try:
        until, passed = parse_datetime(request.POST.get("until", "")), int(request.POST.get("passed", "0"))
    except ValueError:
        until, passed = None, 0
    if until is None or until.utcoffset() is None or passed < 0:
        raise Http404("The form does not say until when.")
    return Sweep(action, backend, until, passed)


def _go_on(request: HttpRequest, sweep: Sweep) -> HttpResponse:
    try:
        sweep.go_on()
    finally:  # what was done before an outage was done
        if sweep.done:
            done = f"{sweep.action.done}: {_jobs(sweep.done)}."
            journal.note(request, AREA, f"dead jobs of {sweep.backend}", done)
            messages.success(request, done)
    if sweep.left():
        return _question(request, sweep)
    if sweep.passed:
        messages.warning(request, f"{_jobs(sweep.passed)} stay: {sweep.action.unchanged}.")
    return HttpResponseRedirect(_list(sweep.backend))


def _question(request: HttpRequest, sweep: Sweep) -> HttpResponse:
    """With how many are left; the answer goes on with no more than those."""
    left, button = sweep.left(), sweep.action.button
    if not left:
        messages.info(request, "No job is dead.")
        return HttpResponseRedirect(_list(sweep.backend))
    title = f"{button} the other {_jobs(left)}?" if sweep.done or sweep.passed else f"{button} {_jobs(left)}?"
    meaning = _MEANING[sweep.action]
    if left > BATCH:
        meaning += f" At most {BATCH:,} are done at once; then you are asked whether to go on."
    fields = [("until", sweep.until.isoformat()), ("passed", sweep.passed)]
    trail = [("Jobs", reverse("admin:jobs")), ("Dead jobs", _list(sweep.backend))]
    return ask(request, Question(title, meaning, button, _list(sweep.backend), trail, fields=fields))


def _list(backend: str) -> str:
    return reverse("admin:jobs_dead", args=[backend])


def _jobs(count: int) -> str:
    return "1 dead job" if count == 1 else f"{count:,} dead jobs"
