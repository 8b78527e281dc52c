"""The admin site: Django's own, whose first page tells how the installation is doing."""

from typing import Any

from django.conf import settings
from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.template.response import TemplateResponse

from accounts.admin_login import secure

from .overview import overview


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
