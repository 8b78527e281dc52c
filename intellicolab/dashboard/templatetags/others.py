"""What others have written, in pages of the dashboard."""

from django import template

from intellicolab.plain import plain

register = template.Library()
register.filter("plain", plain)
