from django.apps import AppConfig
from django.contrib.admin import apps as admin


class DashboardConfig(AppConfig):
    name = "intellicolab.dashboard"
    label = "dashboard"
    default = True


class AdminConfig(admin.AdminConfig):
    """Django's admin, with our site, whose index is the dashboard."""

    default = False
    default_site = "intellicolab.dashboard.site.DashboardSite"
