from django.contrib.admin import AdminSite


class DashboardSite(AdminSite):
    pass
