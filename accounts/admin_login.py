"""The admin's door is the site's own sign-in."""

from allauth.account.decorators import secure_admin_login
from django.contrib.admin import AdminSite


def secure(site: AdminSite) -> None:
    """Send the admin's sign-in through allauth, whose second factor it would otherwise go round.

    Who is signed in without being an administrator gets a 403 instead of a sign-in form that can't help them.
    """
    site.login = secure_admin_login(site.login)  # type: ignore[method-assign]
