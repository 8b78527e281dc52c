"""Times in tables of the dashboard: relative under a day, and exact on hover."""

from datetime import datetime, timedelta

from django import template
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html

from intellicolab.dashboard.figures import age

register = template.Library()


@register.filter
def moment(at: datetime | str | None) -> str:
    """An element for a time, and "" for none, which to a template may be an empty text."""
    if not isinstance(at, datetime):
        return ""
    local = timezone.localtime(at)
    exact = date_format(local, "Y-m-d H:i:s T")
    return format_html('<time datetime="{}" title="{}">{}</time>', local.isoformat(), exact, _words(at, exact))


def _words(at: datetime, exact: str) -> str:
    passed = timezone.now() - at
    if abs(passed) >= timedelta(days=1):
        return exact
    words = age(abs(passed).total_seconds())
    return f"{words} ago" if passed >= timedelta(0) else f"in {words}"
