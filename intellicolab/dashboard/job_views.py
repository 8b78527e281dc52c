"""The pages about jobs, and what is done there."""

from collections.abc import Callable, Sequence
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from redis.exceptions import RedisError

from intellicolab.jobs import operations, scheduler
from intellicolab.jobs.details import JobDetails, details
from intellicolab.jobs.errors import QueueFull
from intellicolab.jobs.plans import Plan, plan_named
from intellicolab.jobs.worker import Queue, queues

from .acting import Deed, Question, ask, carry_out, note_done, outage_told
from .job_actions import ACTIONS, fitting_job
from .job_lists import KINDS, dead_list, queue_list
from .queries import reason
from .queueing import AREA, jobs_page

OPERATE_JOBS = "jobs.operate_jobs"
VIEW_JOBS = "jobs.view_plannedjob"

Trail = Sequence[tuple[str, str]]


# --- Pages ---------------------------------------------------------------------------------------------------------


def jobs(request: HttpRequest) -> HttpResponse:
    """For everybody who may open the admin; the buttons and the jobs themselves for whoever may press and see them."""
    return _page(request, "jobs", "Jobs", page=jobs_page())


def jobs_of_queue(request: HttpRequest, backend: str, queue: str, kind: str) -> HttpResponse:
    _check(request, VIEW_JOBS)
    found, shown = _queue(backend, queue), KINDS.get(kind)
    if shown is None:
        raise Http404(f"There is no list of {kind} jobs.")
    page = _read(lambda: queue_list(found, shown, request.GET.get("after", "")))
    return _page(request, "job_list", f"{shown.title} in {queue}", _trail(), page=page, queue=found)


def dead_jobs(request: HttpRequest, backend: str) -> HttpResponse:
    _check(request, VIEW_JOBS)
    known_backend(backend)
    page = _read(lambda: dead_list(backend, request.GET.get("after", "")))
    return _page(request, "job_list", "Dead jobs", _trail(), page=page, backend=backend)


def job(request: HttpRequest, backend: str, job_id: str) -> HttpResponse:
    _check(request, VIEW_JOBS)
    known_backend(backend)
    try:
        found = _details(backend, job_id)
    except (RedisError, OSError) as error:
        return _page(request, "job", "Job", _trail(), error=reason(error))
    if found is None:
        return _no_job(request, job_id)
    if found.id != job_id:
        return HttpResponseRedirect(_job_address(backend, found.id))
    return _page(request, "job", found.task, _trail(), job=found, backend=backend, actions=fitting_job(found))


def find_job(request: HttpRequest) -> HttpResponse:
    """To the job of that id, as logs name it, whichever backend has it."""
    _check(request, VIEW_JOBS)
    job_id = request.GET.get("id", "").strip()
    with outage_told(request, "The job"):
        for backend in backends():
            if _details(backend, job_id) is not None:
                return HttpResponseRedirect(_job_address(backend, job_id))
        return _no_job(request, job_id)
    return HttpResponseRedirect(reverse("admin:jobs"))


def _details(backend: str, job_id: str) -> JobDetails | None:
    """What no job is called is not asked for: PostgreSQL refuses a NUL."""
    return details(backend, job_id) if job_id.isalnum() else None


def _page(request: HttpRequest, template: str, title: str, trail: Trail = (), **context: Any) -> TemplateResponse:
    may = {"may_operate": request.user.has_perm(OPERATE_JOBS), "may_look": request.user.has_perm(VIEW_JOBS)}
    shown = {**admin.site.each_context(request), **may, "title": title, "trail": trail, **context}
    return TemplateResponse(request, f"dashboard/{template}.html", shown)


def _no_job(request: HttpRequest, job_id: str) -> HttpResponse:
    response = _page(request, "no_job", "No such job", _trail(), job_id=job_id)
    response.status_code = 404
    return response


def _read(read: Callable[[], Any]) -> Any:
    """Raises Http404 for the place of no page."""
    try:
        return read()
    except ValueError as error:
        raise Http404("There is no such page of the list.") from error


# --- One job -------------------------------------------------------------------------------------------------------


def act_on_job(request: HttpRequest, backend: str, job_id: str, name: str) -> HttpResponse:
    _check(request, OPERATE_JOBS)
    known_backend(backend)
    action = ACTIONS.get(name)
    if action is None:
        raise Http404(f"Nobody can {name} a job.")
    subject = _subject(backend, job_id)
    if subject is None:
        return _no_job(request, job_id)
    if request.method == "POST":
        deed = Deed(AREA, subject, action.done, action.unchanged)
        return carry_out(request, lambda: action.do(backend, job_id), deed, _back(request, backend, job_id, name))
    if not action.meaning:
        return HttpResponseNotAllowed(["POST"])
    back = _back(request, backend, job_id, "")
    title, button = f"{action.button} this job?", f"{action.button} the job"
    return ask(request, Question(title, action.meaning, button, back, _trail(), things=[subject]))


def _subject(backend: str, job_id: str) -> str | None:
    """What the journal calls it; None for an unknown one. While Redis is away, its id alone."""
    try:
        found = _details(backend, job_id)
    except (RedisError, OSError):
        return job_id
    return f"{found.task} {job_id}" if found else None


def _back(request: HttpRequest, backend: str, job_id: str, name: str) -> str:
    """The list that one came from; else the job, unless it is no more or one may not look at it."""
    wanted = request.GET.get("next", "")
    if wanted and url_has_allowed_host_and_scheme(wanted, allowed_hosts=None):
        return wanted
    if not request.user.has_perm(VIEW_JOBS):
        return reverse("admin:jobs")
    return reverse("admin:jobs_dead", args=[backend]) if name == "discard" else _job_address(backend, job_id)


def _job_address(backend: str, job_id: str) -> str:
    return reverse("admin:job", args=[backend, job_id])


# --- Queues --------------------------------------------------------------------------------------------------------


def pause_queue(request: HttpRequest, backend: str, queue: str) -> HttpResponse:
    _check(request, OPERATE_JOBS)
    _queue(backend, queue)
    back = reverse("admin:jobs")
    if request.method == "POST":
        deed = Deed(AREA, f"queue {queue}", "Paused")
        return carry_out(request, lambda: operations.pause(backend, queue), deed, back)
    meaning = (
        "What runs goes on to its end; then no worker begins a job of this queue. Jobs wait, none is lost, and they "
        "are run when it is resumed. Plans whose task is in this queue go on to enqueue."
    )
    return ask(request, Question(f"Pause the queue {queue}?", meaning, "Pause", back, _trail()))


def resume_queue(request: HttpRequest, backend: str, queue: str) -> HttpResponse:
    _check(request, OPERATE_JOBS)
    _queue(backend, queue)
    deed = Deed(AREA, f"queue {queue}", "Resumed")
    return carry_out(request, lambda: operations.resume(backend, queue), deed, reverse("admin:jobs"))


# --- Plans ---------------------------------------------------------------------------------------------------------


def run_plan(request: HttpRequest, name: str) -> HttpResponse:
    _check(request, OPERATE_JOBS)
    plan, subject = _plan(name), f"plan {name}"
    with outage_told(request, subject):
        try:
            job_id = scheduler.run_now(plan)
        except QueueFull as full:
            messages.error(request, f"{subject}: not run. {full}")
        else:
            note_done(request, Deed(AREA, subject, f"Enqueued as the job {job_id}"))
            return HttpResponseRedirect(_back(request, plan.task.backend, job_id, "run"))
    return HttpResponseRedirect(reverse("admin:jobs"))


def pause_plan(request: HttpRequest, name: str) -> HttpResponse:
    _check(request, OPERATE_JOBS)
    _plan(name)
    if request.method == "POST":
        return _set_paused(request, name, True, "Paused")
    meaning = "Until it is resumed nothing is enqueued for it. What was planned meanwhile is not made up for."
    question = Question(f"Pause the plan “{name}”?", meaning, "Pause", reverse("admin:jobs"), _trail())
    return ask(request, question)


def resume_plan(request: HttpRequest, name: str) -> HttpResponse:
    _check(request, OPERATE_JOBS)
    _plan(name)
    return _set_paused(request, name, False, "Resumed")


def _set_paused(request: HttpRequest, name: str, paused: bool, done: str) -> HttpResponse:
    unchanged = "that was so already, or the scheduler has not met this plan yet"
    deed = Deed(AREA, f"plan {name}", done, unchanged)
    with transaction.atomic():  # the entry in the log is not there without the pause, nor the pause without it
        return carry_out(request, lambda: scheduler.set_paused(name, paused), deed, reverse("admin:jobs"))


# --- What there is -------------------------------------------------------------------------------------------------


def _check(request: HttpRequest, permission: str) -> None:
    if not request.user.has_perm(permission):
        raise PermissionDenied


def _trail() -> Trail:
    return [("Jobs", reverse("admin:jobs"))]


def backends() -> list[str]:
    return sorted({queue.backend.alias for queue in queues()})


def known_backend(backend: str) -> None:
    """Raises Http404."""
    if backend not in backends():
        raise Http404(f"There is no backend {backend}.")


def _queue(backend: str, name: str) -> Queue:
    for queue in queues():
        if (queue.backend.alias, queue.name) == (backend, name):
            return queue
    raise Http404(f"There is no queue {name}.")


def _plan(name: str) -> Plan:
    found = plan_named(name)
    if found is None:
        raise Http404(f"There is no plan {name!r}.")
    return found
