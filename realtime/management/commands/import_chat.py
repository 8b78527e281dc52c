"""`manage.py import_chat`: a conversation from a log file into a room; docs/import.md describes it."""

import codecs
import re
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo, available_timezones

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from realtime.errors import ChatError
from realtime.importing.authors import NotAPlaceholder
from realtime.importing.formats import FORMATS, Format
from realtime.importing.importer import Importer, Summary
from realtime.importing.records import SourceLine

_DATE = re.compile(r"(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)")
_SHOWN = 80  # characters of a line that could not be read


class Command(BaseCommand):
    help = "Import a chat log into a room. Importing a log again adds only what is new in it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="the log")
        parser.add_argument("--format", required=True, help=f"the log's format: {', '.join(sorted(FORMATS))}")
        parser.add_argument("--room", required=True, help="the open room's name; it is made if it is missing")
        parser.add_argument("--date", help="the log's first day, YYYY-MM-DD; else it is taken from the file's name")
        parser.add_argument("--time-zone", default=settings.TIME_ZONE, help="where the log's clock stood: %(default)s")

    def handle(self, *args: Any, **options: Any) -> None:
        path = _existing(options["file"])
        log = _format(options["format"])
        day, zone = _first_day(options["date"], path), _time_zone(options["time_zone"])
        importer = Importer(options["room"], log)
        damaged: list[int] = []
        try:
            with path.open("rb") as file, _bar(path) as bar:
                importer.run(log.parse(read_lines(file, bar.update, damaged.append), day, zone))
        except OSError as error:
            raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
        except ChatError as error:
            raise CommandError(f"Room {options['room']!r}: {error.detail}") from error
        except NotAPlaceholder as error:
            raise CommandError(str(error)) from error
        self._report(importer.summary, damaged, options["room"])
        if not importer.summary.imported + importer.summary.known:
            raise CommandError(f"Nothing was imported: no line of {path} could be read as {log.name}.")

    def _report(self, summary: Summary, damaged: list[int], room: str) -> None:
        if summary.unread_count:
            self.stderr.write(f"{_count(summary.unread_count, 'line')} could not be read:")
        for line in summary.unread:
            self.stderr.write(f"  line {line.line}: {line.reason}: {printable(line.text)}")
        if summary.unread_count > len(summary.unread):
            self.stderr.write(f"  … and {summary.unread_count - len(summary.unread):,} more")
        if damaged:
            self.stderr.write(
                f"{_count(len(damaged), 'line')} held bytes that are not UTF-8, shown as \ufffd; "
                f"the first is line {damaged[0]}"
            )
        self.stdout.write(
            f"{_count(summary.imported, 'message')} imported into {room!r}, {summary.known:,} already there; "
            f"{summary.people:,} authors, {summary.people_made:,} of them new"
        )


def read_lines(file: BinaryIO, read: Callable[[int], object], damaged: Callable[[int], object]) -> Iterator[SourceLine]:
    """Lines without their ends. `read` is told the bytes of each, `damaged` the number of one that is not UTF-8.

    Only a line feed ends a line: IRC text may hold what Python also counts as an end, such as a form feed.
    """
    for number, raw in enumerate(file, 1):
        read(len(raw))
        line = raw.rstrip(b"\r\n")
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        try:
            yield SourceLine(number, line.decode())
        except UnicodeDecodeError:
            damaged(number)
            yield SourceLine(number, line.decode(errors="replace"))


def printable(text: str) -> str:
    """A line for a terminal: shortened, and without control characters, which could move its cursor."""
    shown = "".join(character if character.isprintable() else "\ufffd" for character in text[:_SHOWN])
    return shown if len(text) <= _SHOWN else f"{shown}…"


def _existing(path: Path) -> Path:
    if not path.exists():
        raise CommandError(f"{path} does not exist.")
    if path.is_dir():
        raise CommandError(f"{path} is a folder; name the log file in it.")
    if path.stat().st_size == 0:
        raise CommandError(f"{path} is empty.")
    return path


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise CommandError(f"There is no format {name!r}. Formats: {', '.join(sorted(FORMATS))}.")
    return FORMATS[name]


def _first_day(given: str | None, path: Path) -> date:
    found = _DATE.search(path.name)
    text = given or (found[0] if found else None)
    if text is None:
        raise CommandError(f"{path.name} does not tell the log's date. Give it with --date YYYY-MM-DD.")
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise CommandError(f"{text} is not a date. Give the log's first day with --date YYYY-MM-DD.") from error


def _time_zone(name: str) -> ZoneInfo:
    if name not in available_timezones():
        raise CommandError(f"{name!r} is not a time zone. Use a name such as Europe/Berlin.")
    return ZoneInfo(name)


def _bar(path: Path) -> tqdm:
    """A bar over the file's bytes on a terminal, nothing elsewhere."""
    size = path.stat().st_size
    return tqdm(total=size, unit="B", unit_scale=True, desc=path.name, file=sys.stderr, disable=None)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
