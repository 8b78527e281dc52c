"""What chat contributes to pages of any app: the sidebar with the person's rooms."""

from typing import Any

from django import template
from django.template.context import RequestContext

from accounts.profiles import get_profiles
from realtime.models import Room
from realtime.queries import rooms_of

register = template.Library()


def lists(context: dict[str, Any], user: Any, place: str | None, current: int | None) -> dict[str, Any]:
    """What the sidebar's lists show: rooms, and direct rooms each with the other person's profile."""
    entries = rooms_of(user)
    direct = [entry for entry in entries if entry.kind == Room.Kind.DIRECT]
    others = get_profiles([entry.other_id for entry in direct if entry.other_id])
    return {
        **context,
        "rooms": [entry for entry in entries if entry.kind != Room.Kind.DIRECT],
        "direct": [(entry, others.get(entry.other_id or 0)) for entry in direct],
        "place": place,
        "current": current,
    }


@register.inclusion_tag("realtime/sidebar.html", takes_context=True)
def sidebar(context: RequestContext) -> dict[str, Any]:
    """The sidebar of the signed-in person; the room of the address, if any, is marked as the current one."""
    request = context["request"]
    match = request.resolver_match
    handed_down = {name: context.get(name) for name in ("request", "user", "me", "tier", "site_name", "csrf_token")}
    current = match.kwargs.get("room_id") if match else None
    return lists(handed_down, request.user, match.url_name if match else None, current)
