"""Every address of the site; each app names its own below."""

from django.contrib import admin
from django.urls import include, path

from . import health

urlpatterns = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("admin/", admin.site.urls),
    path("accounts/", include("allauth.urls")),
    path("", include("accounts.urls")),
    path("", include("realtime.urls")),
]

handler400 = "intellicolab.errors.bad_request"
handler403 = "intellicolab.errors.permission_denied"
handler404 = "intellicolab.errors.not_found"
handler500 = "intellicolab.errors.server_error"
