"""The zip file of an export: `messages.jsonl` for programs and `messages-1.html`, … for people.

A zip is written member after member, so the room is read twice: that costs time, where a second temporary file would
cost as much disk as the room has text.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile
from zoneinfo import ZoneInfo

from . import lines
from .reading import Said, pages
from .sheets import SHEET, Sheet

LINES = "messages.jsonl"

# Told after each page: how many messages were written, to either form, and what is being written.
Tell = Callable[[int, str], None]


@dataclass(frozen=True, slots=True)
class Contents:
    """What goes in: the messages of a room up to a number, and what the sheets say at their heads."""

    room_id: int
    upto: int
    about: dict[str, object]
    zone: ZoneInfo

    @property
    def total(self) -> int:
        """Each message is written twice."""
        return 2 * self.upto


def write(path: Path, contents: Contents, tell: Tell) -> None:
    """Write the file. What `tell` raises ends it; raises OSError."""
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        _write_lines(archive, contents, tell)
        _write_sheets(archive, contents, tell)


def _write_lines(archive: ZipFile, contents: Contents, tell: Tell) -> None:
    with archive.open(LINES, "w", force_zip64=True) as file:
        for page in pages(contents.room_id, contents.upto):
            file.write(b"".join(map(lines.line, page)))
            tell(page[-1].number, "the data")


def _write_sheets(archive: ZipFile, contents: Contents, tell: Tell) -> None:
    sheets = max(1, -(-contents.upto // SHEET))
    if not contents.upto:
        _write_sheet(archive, Sheet(contents.about, contents.zone, 1, 1), iter(()), contents, tell)
    for number, parts in groupby(pages(contents.room_id, contents.upto), _sheet_of):
        _write_sheet(archive, Sheet(contents.about, contents.zone, number, sheets), parts, contents, tell)


def _sheet_of(page: list[Said]) -> int:
    """Numbers have no gaps, so a page, of which SHEET is a multiple, lies in one sheet."""
    return (page[0].number - 1) // SHEET + 1


def _write_sheet(archive: ZipFile, sheet: Sheet, parts: Iterator[list[Said]], contents: Contents, tell: Tell) -> None:
    with archive.open(sheet.name, "w", force_zip64=True) as file:
        file.write(sheet.head())
        for page in parts:
            file.write(b"".join(map(sheet.message, page)))
            tell(contents.upto + page[-1].number, "the pages to read")
        file.write(sheet.foot())
