"""What chat contributes to pages of any app: the sidebar with the person's rooms."""

from typing import Any

from django import template
from django.template.context import RequestContext

from realtime.models import Room
from realtime.queries import rooms_of

register = template.Library()


def lists(context: dict[str, Any], user: Any, place: str | None, current: int | None) -> dict[str, Any]:
    """What the sidebar's lists show: rooms, and the people one has a direct room with."""
    entries = rooms_of(user)
    return {
        **context,
        "rooms": [entry for entry in entries if entry.kind != Room.Kind.DIRECT],
        "direct": [entry for entry in entries if entry.kind == Room.Kind.DIRECT],
        "place": place,
        "current": current,
    }


@register.filter
def exact(count: int) -> str:
    return f"{count:,}"


@register.filter
def compact(count: int) -> str:
    """1,204, 12K, 4.5M: what fits beside other words. The exact number belongs in the title."""
    if count < 10_000:
        return exact(count)
    if count < 999_500:
        return f"{count / 1000:.0f}K"
    return f"{count / 1_000_000:,.1f}M"


@register.inclusion_tag("realtime/sidebar.html", takes_context=True)
def sidebar(context: RequestContext) -> dict[str, Any]:
    """The sidebar of the signed-in person; the room of the address, if any, is marked as the current one."""
    request = context["request"]
    match = request.resolver_match
    handed_down = {name: context.get(name) for name in ("request", "user", "me", "tier", "site_name", "csrf_token")}
    current = match.kwargs.get("room_id") if match else None
    return lists(handed_down, request.user, match.url_name if match else None, current)
