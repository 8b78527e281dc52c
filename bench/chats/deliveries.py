"""Deliveries a second of one room with 200 and 1,000 sockets, and what fan-out alone comes to."""

from collections.abc import Callable
from functools import partial

from bench.chats.brief import ROUNDS, seconds
from bench.chats.places import ECHO, KINDS, PYTHON_SOCKETIO, SOCKETIO, TEXT, Places, ours, tutorial
from bench.harness.results import Row, at_least
from bench.harness.rounds import medians

SIZES = (200, 1000)
WINDOW = 64  # messages on their way at any moment: enough that no server waits for the next one
BATCH = 16  # messages published together where nothing is stored; the committer, too, makes batches under load
SECONDS = seconds(2)

# Times the named peer, in the same run.
BARS: dict[tuple[int, str], dict[str, float]] = {
    (200, "daphne"): {"tutorial": 12},
    (1000, "daphne"): {"tutorial": 30, SOCKETIO: 1},
    (200, "uvicorn"): {SOCKETIO: 1},
    (1000, "uvicorn"): {SOCKETIO: 1.2},
}
CONDITIONS = (
    f"{len(TEXT)}-byte messages, {WINDOW} on their way, server on one core, clients, Redis and worker on another, "
    f"median of {ROUNDS} interleaved rounds of {SECONDS} s; ours signed in, with limits and Markdown, committed durably"
)
ALONE = f"the same, but nothing stored: ours are published to the room's topic in batches of {BATCH}"


def rows(places: Places) -> list[Row]:
    contenders: dict[str, Callable[[], float]] = {}
    for size in SIZES:
        for name in (*map(ours, KINDS), *map(tutorial, KINDS), SOCKETIO, PYTHON_SOCKETIO, ECHO):
            contenders[f"{size:,}: {name}"] = partial(measure, places, name, size)
        for kind in KINDS:
            contenders[f"{size:,}: {fan_out(kind)}"] = partial(publish, places, kind, size)
    found = medians(contenders, ROUNDS)
    pairs = [(size, kind) for size in SIZES for kind in KINDS]
    stored = [row for size, kind in pairs for row in rows_of(size, kind, found)]
    return stored + [alone_row(size, kind, found) for size, kind in pairs]


def fan_out(kind: str) -> str:
    return f"{kind}, fan-out alone"


def measure(places: Places, name: str, size: int) -> float:
    """Deliveries a second that a crowd of that size counts."""
    return heard(places.ask(name, do="deliveries", sockets=size, window=WINDOW, seconds=SECONDS))


def publish(places: Places, kind: str, size: int) -> float:
    place = places[kind]
    job = {"do": "deliveries", "sockets": size, "window": WINDOW, "seconds": SECONDS}
    return heard(place.ask(**job, batch=BATCH, room=place.rooms[-1]))


def heard(result: dict) -> float:
    if result["lost"]:
        print(f"  the server closed {result['lost']} sockets", flush=True)
    return result["deliveries"]


def rows_of(size: int, kind: str, found: dict[str, float]) -> list[Row]:
    figures = {"tutorial": found[f"{size:,}: {tutorial(kind)}"], SOCKETIO: found[f"{size:,}: {SOCKETIO}"]}
    value, title = found[f"{size:,}: {ours(kind)}"], f"{size:,} sockets, {kind}"
    peers = {"Channels tutorial, nothing stored": figures["tutorial"], f"{SOCKETIO}, nothing stored": figures[SOCKETIO]}
    told = Row(f"{title}: deliveries", value, "deliveries/s", peers=peers, conditions=CONDITIONS)
    return [told] + [
        at_least(f"{title}: against {peer}", value / figures[peer], "times", bar, {}, CONDITIONS)
        for peer, bar in BARS[size, kind].items()
    ]


def alone_row(size: int, kind: str, found: dict[str, float]) -> Row:
    peers = {name: found[f"{size:,}: {name}"] for name in (SOCKETIO, PYTHON_SOCKETIO, ECHO)}
    value = found[f"{size:,}: {fan_out(kind)}"]
    return Row(f"{size:,} sockets, {kind}: fan-out alone", value, "deliveries/s", peers=peers, conditions=ALONE)
