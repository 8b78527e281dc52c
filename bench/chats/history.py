"""Opening a room with 50 messages against one with 1,000,000."""

import sqlite3
from statistics import median
from urllib.parse import urlsplit

from bench.chats.brief import BRIEF, count
from bench.chats.places import TEXT, Place, installation
from bench.harness.results import Row, at_most

KIND = "uvicorn"  # whose own share of a request's time is the smaller one
SMALL, LARGE = 50, 100_000 if BRIEF else 1_000_000
CHUNK = 50_000  # messages a transaction, so that nobody else waits long for theirs
BEHIND = 20  # changes that a resume brings
ROUNDS = count(300)
BAR = 1.2
WHAT = {"page": "GET /rooms/N/", "history": "GET /rooms/N/messages", "resume": "room.resume"}
CONDITIONS = (
    f"a room of {SMALL} messages and one of {LARGE:,} take turns, {ROUNDS} times, signed in, on {KIND}; medians; "
    f"the resume brings {BEHIND} changes"
)
FILL = """
INSERT INTO realtime_message (
    room_id, number, version, author_id, client_id, kind, format, text, html, created_at, deleted_at
)
WITH RECURSIVE rows(n) AS (SELECT :first UNION ALL SELECT n + 1 FROM rows WHERE n < :last)
SELECT :room, n, n, :author, 'fill-' || :room || '-' || n, 'text', 'markdown', :text, :html, :now, NULL FROM rows
"""


def rows() -> list[Row]:
    with installation(KIND, people=20, rooms=2) as place:
        assert place.site is not None
        rooms = {"small": (place.rooms[0], SMALL), "large": (place.rooms[1], LARGE)}
        for room, messages in rooms.values():
            fill(str(place.site.var / "db.sqlite3"), room, messages)
        return [row for what, found in opened(place, rooms).items() for row in rows_of(what, found)]


def fill(database: str, room: int, messages: int) -> None:
    with sqlite3.connect(database, timeout=60, isolation_level="IMMEDIATE") as connection:
        owner, now = connection.execute("SELECT min(id), datetime('now') FROM accounts_user").fetchone()
        content = {"author": owner, "now": now, "text": TEXT, "html": f"<p>{TEXT}</p>", "room": room}
        for first in range(1, messages + 1, CHUNK):
            last = min(first + CHUNK - 1, messages)
            connection.execute(FILL, {**content, "first": first, "last": last})
            connection.execute(
                "UPDATE realtime_room SET last_number = ?, last_version = ? WHERE id = ?", (last, last, room)
            )
            connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def opened(place: Place, rooms: dict[str, tuple[int, int]]) -> dict[str, dict[str, list[float]]]:
    asked = {name: [room, messages - BEHIND] for name, (room, messages) in rooms.items()}
    host = urlsplit(place.job["origin"]).netloc
    return place.ask(do="open rooms", rooms=asked, rounds=ROUNDS, host=host)


def rows_of(what: str, found: dict[str, list[float]]) -> list[Row]:
    small, large = (median(found[name]) * 1000 for name in ("small", "large"))
    title = f"{WHAT[what]}, {LARGE:,} messages"
    return [
        Row(title, large, "ms", peers={f"{SMALL} messages": small}, conditions=CONDITIONS),
        at_most(f"{title}: against {SMALL}", large / small, "times", BAR, {}, CONDITIONS),
    ]
