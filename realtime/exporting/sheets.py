"""Messages as HTML, for people: sheets of some thousand messages, each complete in itself and without scripts.

Head and foot are templates. The messages between them are put together here, which takes a tenth of a template's time.
"""

from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import escape
from django.utils.safestring import mark_safe

from .lines import iso
from .reading import Said

SHEET = 5_000  # messages: some megabytes, which a browser still opens at once

# The file's own; it never meets the site's Content-Security-Policy, and brings a stricter one along.
_CSS = (Path(__file__).parent / "sheet.css").read_text()
STYLE = mark_safe(f"<style>\n{_CSS}</style>")  # noqa: S308  a file of ours


def name_of(sheet: int, sheets: int) -> str:
    """Numbered with as many digits as the last one, so that they lie in order."""
    return f"messages-{sheet:0{len(str(sheets))}}.html"


@dataclass(slots=True)
class Sheet:
    """One of `sheets` files. `about` is what all of them say of the room."""

    about: dict[str, object]
    zone: ZoneInfo
    number: int
    sheets: int
    _day: date | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        return name_of(self.number, self.sheets)

    def head(self) -> bytes:
        return render_to_string("realtime/export/head.html", self._context() | {"style": STYLE}).encode()

    def foot(self) -> bytes:
        return render_to_string("realtime/export/foot.html", self._context()).encode()

    def message(self, said: Said) -> bytes:
        """One message, below the line of its day if it is the first of it."""
        when = said.created_at.astimezone(self.zone)
        return (self._day_line(when.date()) + _article(said, when)).encode()

    def _context(self) -> dict[str, object]:
        before, after = self.number - 1, self.number + 1
        return self.about | {
            "number": self.number,
            "sheets": self.sheets,
            "zone": self.zone.key,
            "before": name_of(before, self.sheets) if before >= 1 else "",
            "after": name_of(after, self.sheets) if after <= self.sheets else "",
        }

    def _day_line(self, day: date) -> str:
        if day == self._day:
            return ""
        self._day = day
        return f"<h2>{date_format(day, 'l, j F Y')}</h2>\n"


def _article(said: Said, when: datetime) -> str:
    """The html was sanitised when the message was written."""
    mark = ' <span class="mark">(edited)</span>' if said.edited_at and not said.deleted_at else ""
    text = said.html if not said.deleted_at else '<p class="mark">This message was deleted.</p>'
    return (
        f'<article id="m{said.number}" class="{said.kind}">'
        f'<p class="by"><b>{escape(said.author)}</b> <time datetime="{iso(said.created_at)}">{when:%H:%M}</time>'
        f'{mark} <a href="#m{said.number}">#{said.number}</a></p>\n{text}</article>\n'
    )


def about(title: str, topic: str, messages: int) -> dict[str, object]:
    """What every sheet says of the room."""
    return {"title": title, "topic": topic, "messages": messages, "made_at": timezone.now()}
