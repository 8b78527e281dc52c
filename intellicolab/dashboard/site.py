"""The admin site: Django's own, whose first page tells how the installation is doing."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.views.decorators.http import require_POST

from accounts.admin_login import secure

from . import dead_views, job_views, views
from .overview import overview

View = Callable[..., HttpResponse]

EVENTS: list[tuple[str, View, str]] = [
    ("events/", views.events, "events"),
    ("events/<str:group>/pause/", views.pause_group, "events_pause"),
    ("events/<str:group>/resume/", views.resume_group, "events_resume"),
]
JOBS: list[tuple[str, View, str]] = [
    ("jobs/", job_views.jobs, "jobs"),
    ("jobs/find/", job_views.find_job, "jobs_find"),
    ("jobs/plans/<path:name>/run/", require_POST(job_views.run_plan), "plan_run"),
    ("jobs/plans/<path:name>/pause/", job_views.pause_plan, "plan_pause"),
    ("jobs/plans/<path:name>/resume/", require_POST(job_views.resume_plan), "plan_resume"),
    ("jobs/in/<str:backend>/dead/", job_views.dead_jobs, "jobs_dead"),
    ("jobs/in/<str:backend>/dead/retry/", dead_views.retry_all, "jobs_retry_all"),
    ("jobs/in/<str:backend>/dead/discard/", dead_views.discard_all, "jobs_discard_all"),
    ("jobs/in/<str:backend>/job/<str:job_id>/", job_views.job, "job"),
    ("jobs/in/<str:backend>/job/<str:job_id>/<str:name>/", job_views.act_on_job, "job_act"),
    ("jobs/in/<str:backend>/queue/<path:queue>/pause/", job_views.pause_queue, "queue_pause"),
    ("jobs/in/<str:backend>/queue/<path:queue>/resume/", require_POST(job_views.resume_queue), "queue_resume"),
    ("jobs/in/<str:backend>/queue/<path:queue>/<str:kind>/", job_views.jobs_of_queue, "jobs_of_queue"),
]


class DashboardSite(AdminSite):
    """Signs in through the site's own sign-in. The figures are for people who may open the admin at all."""

    site_header = f"{settings.SITE_NAME} administration"
    site_title = settings.SITE_NAME
    index_title = "Dashboard"
    index_template = "dashboard/index.html"

    def __init__(self, name: str = "admin") -> None:
        super().__init__(name)
        secure(self)

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        return super().index(request, {"overview": overview(), **(extra_context or {})})

    def get_urls(self) -> list[URLPattern | URLResolver]:
        """The pages Events and Jobs stand where Django would list their models."""
        own = [path(route, self.admin_view(view), name=name) for route, view, name in (*EVENTS, *JOBS)]
        return [*own, *super().get_urls()]

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[dict[str, Any]]:
        """Jobs are in Redis, so Django finds no model to lead to them."""
        found = list(super().get_app_list(request, app_label))
        if app_label in (None, "jobs") and request.user.is_authenticated:
            found = sorted([*found, _jobs_app(request)], key=lambda app: app["name"].lower())
        return found


def _jobs_app(request: HttpRequest) -> dict[str, Any]:
    backends = job_views.backends() if request.user.has_perm(job_views.VIEW_JOBS) else []
    return {
        "name": "Jobs",
        "app_label": "jobs",
        "app_url": reverse("admin:jobs"),
        "has_module_perms": True,
        "models": [_dead_jobs(backend, f" ({backend})" if len(backends) > 1 else "") for backend in backends],
    }


def _dead_jobs(backend: str, aside: str) -> dict[str, Any]:
    return {
        "name": f"Dead jobs{aside}",
        "object_name": f"Dead-{backend}",
        "admin_url": reverse("admin:jobs_dead", args=[backend]),
        "add_url": None,
        "view_only": True,
        "perms": {"view": True},
    }
