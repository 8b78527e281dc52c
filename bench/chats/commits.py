"""Messages a second that one process commits durably, and how long their senders wait."""

from functools import partial
from statistics import median

from bench.chats.brief import ROUNDS, seconds
from bench.chats.places import KINDS, Place, Places, ours
from bench.harness.results import Row, at_least, at_most
from bench.harness.rounds import interleaved, percentile

SOCKETS, WINDOW = 20, 3
SECONDS = seconds(4)
BARS = {"daphne": 1000, "uvicorn": 1500}
WAIT_BAR = 100  # ms
CONDITIONS = (
    f"a room of {SOCKETS} sockets that each have {WINDOW} messages on their way and send again when one is "
    f"acknowledged, median of {ROUNDS} interleaved rounds of {SECONDS} s"
)


def rows(places: Places) -> list[Row]:
    found = interleaved({ours(kind): partial(measure, places[kind]) for kind in KINDS}, ROUNDS)
    return [row for kind in KINDS for row in rows_of(kind, found[ours(kind)])]


def measure(place: Place) -> tuple[float, float, float]:
    """(messages a second, p50 and p99 of send → ack in ms)"""
    result = place.ask(do="commits", sockets=SOCKETS, window=WINDOW, seconds=SECONDS)
    assert not result["errors"], f"{result['errors']} error frames"
    return result["messages"], *(percentile(result["waits"], percent) * 1000 for percent in (50, 99))


def rows_of(kind: str, rounds: list[tuple[float, float, float]]) -> list[Row]:
    rate, half, most = (median(figures) for figures in zip(*rounds, strict=True))
    title = f"20-socket room, {kind}"
    return [
        at_least(f"{title}: committed", rate, "messages/s", BARS[kind], {}, CONDITIONS),
        Row(f"{title}: send → ack, p50", half, "ms", conditions=CONDITIONS),
        at_most(f"{title}: send → ack, p99", most, "ms", WAIT_BAR, {}, CONDITIONS),
    ]
