"""Importing a log: what is read, who wrote it, and that importing again adds nothing."""

import html
import io
import os
import pty
import re
import select
import sys
import termios
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from django.core.management import CommandError, call_command

from accounts.models import User
from realtime import services
from realtime.importing.authors import local_part
from realtime.importing.irc import fold, parse
from realtime.importing.records import Said, SourceLine, Unread
from realtime.models import Membership, Message, Room

LOG = Path(__file__).parent / "data" / "irc-2024-02-28.txt"
UNREADABLE = [17, 24, 25, 28, 29]
BERLIN = ZoneInfo("Europe/Berlin")

pytestmark = pytest.mark.django_db


def read(*lines, day=date(2024, 2, 28), zone=BERLIN):
    return list(parse([SourceLine(number, text) for number, text in enumerate(lines, 1)], day, zone))


def run(path=LOG, room="Test", **options):
    """(standard output, standard error) of the command."""
    out, err = io.StringIO(), io.StringIO()
    call_command("import_chat", path, format=options.pop("format", "irc"), room=room, stdout=out, stderr=err, **options)
    return out.getvalue(), err.getvalue()


def shown(message):
    """What a reader sees of a message: its HTML without tags."""
    text = re.sub(r"<br\s*/?>\n?", "\n", message.html)
    return html.unescape(re.sub(r"<[^>]+>", "", text)).strip()


def write(tmp_path, *lines, name="log-2024-02-28.txt", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))
    return path


# --- Reading -------------------------------------------------------------------------------------------------------


def test_reads_something_said():
    at = datetime(2024, 2, 28, 11, 22, tzinfo=BERLIN)
    assert read("[11:22] <alice> hello there") == [Said(1, at, "alice", "hello there", "text")]


@pytest.mark.parametrize("line", ["[11:22]  * alice waves", "[11:22] * alice waves"])
def test_reads_an_action(line):
    [said] = read(line)
    assert (said.nick, said.text, said.kind) == ("alice", "waves", "action")


@pytest.mark.parametrize("nick", ["[zero]", "K|NgGh0sT", "jcz`", "evi|one", "a-b_c", "ü"])
def test_reads_nicks_with_signs(nick):
    assert read(f"[11:22] <{nick}> x")[0].nick == nick


@pytest.mark.parametrize("written", ["<@alice>", "<+alice>", "< alice>", "<alice >"])
def test_the_sign_of_a_mode_is_not_part_of_the_nick(written):
    assert read(f"[11:22] {written} x")[0].nick == "alice"


def test_keeps_every_character_of_the_text():
    text = r"  two spaces, <b> & &amp; \o/ =] :D\-< *a* `b` > c  "
    assert read(f"[11:22] <alice> {text}")[0].text == text


def test_colours_of_irc_clients_are_left_out():
    assert read("[11:22] <alice> \x0304,01red\x0f \x02bold\x02 12")[0].text == "red bold 12"


def test_a_clock_that_jumps_back_has_passed_midnight():
    times = [
        said.at.strftime("%d %H:%M")
        for said in read(*[f"[{at}] <a> x" for at in "22:00 23:59 00:00 09:00 08:00".split()])
    ]
    assert times == ["28 22:00", "28 23:59", "29 00:00", "29 09:00", "29 08:00"]


def test_a_quiet_night_is_a_new_day_too():
    assert [said.at.day for said in read("[13:00] <a> x", "[11:59] <a> x")] == [28, 29]


@pytest.mark.parametrize(
    "line",
    [
        "nothing",
        "[24:00] <a> x",
        "[11:60] <a> x",
        "[11:2] <a> x",
        "11:22 <a> x",
        "[11:22] a: x",
        "[11:22] <> x",
        "[11:22] <a b> x",
    ],
)
def test_other_lines_are_unread(line):
    assert read(line) == [Unread(1, line, "it does not begin with a time and a nick")]


@pytest.mark.parametrize(
    "line", ["[11:22] <alice> ", "[11:22] <alice>", "[11:22]  * alice", "[11:22] <alice> \x02\x02"]
)
def test_a_line_that_says_nothing_is_unread(line):
    assert read(line) == [Unread(1, line, "it says nothing")]


def test_blank_lines_are_nothing():
    assert read("", "   ") == []


# --- Authors -------------------------------------------------------------------------------------------------------


def test_nicks_are_equal_as_irc_compares_them():
    assert fold("Alice[]\\~") == fold("aLICE{}|^")


def test_no_two_nicks_share_an_address():
    nicks = [
        "a.b",
        "a_b",
        "a-b",
        "a|b",
        "a b",
        "a_5fb",
        "ä",
        "a_h",
        "x" * 64,
        "x" * 65,
        "x" * 66,
        "x" * 30 + "_h",
        "|" * 40,
        "|" * 41,
    ]
    addresses = [local_part(nick) for nick in nicks]
    assert len(set(addresses)) == len(nicks)
    assert all(re.fullmatch(r"[a-z0-9_-]{1,64}", address) for address in addresses)


def test_an_author_can_never_sign_in(client, settings):
    run()
    wren = User.objects.get(email="wren@irc.invalid")
    assert (wren.is_placeholder, wren.is_active, wren.display_name) == (True, False, "wren")
    assert not wren.has_usable_password()


def test_spellings_of_a_nick_are_one_person_with_the_first_spelling(tmp_path):
    run(write(tmp_path, "[10:00] <Alice> a", "[10:01] <ALICE> b", "[10:02] <alice[x]> c", "[10:03] <alice{x}> d"))
    assert list(User.objects.order_by("pk").values_list("display_name", flat=True)) == ["Alice", "alice[x]"]
    assert [message.author.display_name for message in Message.objects.order_by("number")] == [
        "Alice",
        "Alice",
        "alice[x]",
        "alice[x]",
    ]


def test_authors_of_a_log_are_not_members():
    run()
    assert not Membership.objects.filter(user__is_placeholder=True).exists()


def test_a_real_account_is_never_given_anothers_words(make_user):
    User.objects.create_user("wren@irc.invalid", None)
    with pytest.raises(CommandError, match=r"wren@irc\.invalid is a real person's"):
        run()
    assert not Message.objects.exists()


# --- Importing -----------------------------------------------------------------------------------------------------


@pytest.mark.database
def test_keeps_order_and_time():
    run(time_zone="Europe/Berlin")
    lines = [line for line in read(*LOG.read_text().splitlines()) if isinstance(line, Said)]
    stored = list(Message.objects.select_related("author").order_by("number"))
    assert [message.number for message in stored] == list(range(1, len(lines) + 1))
    assert [message.version for message in stored] == list(range(1, len(lines) + 1))
    assert [(message.created_at, message.kind, message.text) for message in stored] == [
        (line.at, line.kind, line.text) for line in lines
    ]
    room = Room.objects.get(name="Test")
    assert (room.last_number, room.last_version) == (len(lines), len(lines))


def test_shows_the_text_as_it_was_typed():
    run()
    for message in Message.objects.all():
        assert shown(message) == message.text.strip()


def test_nothing_is_formatted_and_only_addresses_become_links():
    run()
    everything = "".join(Message.objects.values_list("html", flat=True))
    assert set(re.findall(r"<(\w+)", everything)) <= {"p", "a", "br"}
    assert 'href="https://example.org/builds/7.2?arch=arm64&amp;lang=en"' in everything


@pytest.mark.database
def test_importing_again_adds_nothing():
    first, _ = run()
    before = list(Message.objects.values_list("pk", "number", "version"))
    again, _ = run()
    assert "26 messages imported into 'Test', 0 already there; 7 authors, 7 of them new" in first
    assert "0 messages imported into 'Test', 26 already there; 7 authors, 0 of them new" in again
    assert list(Message.objects.values_list("pk", "number", "version")) == before


def test_a_log_that_grew_adds_only_what_is_new(tmp_path):
    lines = LOG.read_text().splitlines()
    run(write(tmp_path, *lines[:15]))  # ends after the second of three equal lines
    run(write(tmp_path, *lines))
    texts = list(Message.objects.order_by("number").values_list("text", flat=True))
    assert len(texts) == 26
    assert texts.count("hm") == 3


def test_one_log_in_two_rooms_is_two_conversations():
    run(room="One")
    run(room="Two")
    assert [Room.objects.get(name=name).last_number for name in ("One", "Two")] == [26, 26]


def test_batches_follow_each_other_without_gaps(tmp_path):
    count = 1203
    run(write(tmp_path, *(f"[{n // 60 % 24:02}:{n % 60:02}] <nick{n % 7}> line {n}" for n in range(count))))
    stored = Message.objects.order_by("number").values_list("number", "text")
    assert list(stored) == [(n + 1, f"line {n}") for n in range(count)]


def test_the_room_is_found_whatever_its_case(alice):
    room = services.create_room(alice, "General")
    run(room="general")
    room.refresh_from_db()
    assert room.last_number == 26
    assert Room.objects.count() == 1


def test_a_new_room_is_open_and_the_administrators(make_user):
    admin = make_user("alice", is_superuser=True)
    run()
    room = Room.objects.get()
    assert room.kind == Room.Kind.OPEN
    assert Membership.objects.get().user == admin


def test_an_archived_room_is_not_written_to(make_user):
    admin = make_user("alice", is_superuser=True)
    archived = services.archive_room(admin, services.create_room(admin, "Test"))
    run()
    archived.refresh_from_db()
    assert archived.last_number == 0
    assert Room.objects.exclude(pk=archived.pk).get().last_number == 26


# --- Reports -------------------------------------------------------------------------------------------------------


def test_lines_that_could_not_be_read_are_reported():
    _, err = run()
    assert [int(number) for number in re.findall(r"line (\d+):", err)] == UNREADABLE
    assert "5 lines could not be read" in err
    assert "line 29: it does not begin with a time and a nick: this line has no time at all" in err


def test_the_report_is_bounded_and_harmless_to_a_terminal(tmp_path):
    _, err = run(write(tmp_path, "[10:00] <a> x", *[f"\x1b[2J{'y' * 5000}"] * 30))
    assert "30 lines could not be read" in err
    assert "and 10 more" in err
    assert "\x1b" not in err
    assert len(err) < 5000


def test_a_message_that_is_too_long_is_reported(tmp_path, settings):
    settings.MESSAGE_MAX_LENGTH = 10
    out, err = run(write(tmp_path, "[10:00] <a> short", "[10:01] <a> much too long"))
    assert "1 message imported" in out
    assert "line 2: A message may have 10 characters" in err


def test_bytes_that_are_not_utf8_are_replaced_and_reported(tmp_path):
    path = write(tmp_path, "[10:00] <a> fine", "[10:01] <a> grün", encoding="latin-1")
    _, err = run(path)
    assert "1 line held bytes that are not UTF-8" in err
    assert "the first is line 2" in err
    assert Message.objects.get(number=2).text == "gr\ufffdn"


def test_line_ends_and_mark_of_windows_are_no_text(tmp_path):
    path = tmp_path / "log-2024-02-28.txt"
    path.write_bytes(b"\xef\xbb\xbf[10:00] <a> one\r\n[10:01] <a> two\x0cpages\r\n")
    _, err = run(path)
    assert err == ""
    assert list(Message.objects.order_by("number").values_list("text", flat=True)) == ["one", "two\x0cpages"]


def read_until(terminal, pattern):
    """What a terminal was sent, up to this pattern: the kernel hands it over in pieces, each in its own time."""
    sent = b""
    while not re.search(pattern, sent.decode(errors="replace")):
        ready, _, _ = select.select([terminal], [], [], 10)
        assert ready, f"no {pattern!r} in {sent!r}"
        sent += os.read(terminal, 65536)
    return sent.decode()


def test_a_terminal_shows_how_far_it_is(monkeypatch):
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 100))
    with open(slave, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        run()
        shown = read_until(master, rf"{LOG.name}: 100%\|█+\|")
    os.close(master)
    assert re.search(rf"{LOG.name}:\s+0%", shown)


def test_without_a_terminal_there_is_no_bar(monkeypatch):
    elsewhere = io.StringIO()
    monkeypatch.setattr(sys, "stderr", elsewhere)
    run()
    assert elsewhere.getvalue() == ""


# --- What is refused, in one clear line ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("missing.txt", {}, "does not exist"),
        (".", {}, "is a folder"),
        ("empty-2024-01-01.txt", {}, "is empty"),
        ("undated.txt", {}, "Give it with --date YYYY-MM-DD"),
        ("2024-13-40.txt", {}, "2024-13-40 is not a date"),
        ("undated.txt", {"date": "yesterday"}, "yesterday is not a date"),
        ("undated.txt", {"date": "2024-01-01", "format": "slack"}, "There is no format 'slack'. Formats: irc."),
        ("undated.txt", {"date": "2024-01-01", "time_zone": "Mars/Crater"}, "'Mars/Crater' is not a time zone"),
        ("undated.txt", {"date": "2024-01-01"}, "no line of .* could be read as irc"),
        ("good.txt", {"date": "2024-01-01", "room": " "}, "A room needs a name"),
    ],
)
def test_says_what_is_wrong_in_one_line(tmp_path, name, options, told):
    (tmp_path / "empty-2024-01-01.txt").touch()
    (tmp_path / "undated.txt").write_text("no log\n")
    (tmp_path / "2024-13-40.txt").write_text("[10:00] <a> x\n")
    (tmp_path / "good.txt").write_text("[10:00] <a> x\n")
    with pytest.raises(CommandError, match=told) as caught:
        run(tmp_path / name, **options)
    assert "\n" not in str(caught.value)
    assert not Room.objects.exists()
