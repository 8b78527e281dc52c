"""How long a message takes to the last of 1,000 sockets while the room is quiet otherwise."""

from bench.chats.brief import count
from bench.chats.places import ECHO, KINDS, SOCKETIO, Places, ours
from bench.harness.results import Row, at_most
from bench.harness.rounds import percentile

SOCKETS = 1000
EVERY = 0.2  # seconds
COUNT, PEER_COUNT = count(150), count(50)
BARS = {50: 30, 99: 80}  # percent: ms
CONDITIONS = (
    f"{SOCKETS:,} sockets in one process, which has to read them all in this time, {1 / EVERY:.0f} messages a second, "
    f"{COUNT} of them ({PEER_COUNT} for peers)"
)


def rows(places: Places) -> list[Row]:
    found = {name: measure(places, name, PEER_COUNT) for name in (SOCKETIO, ECHO)}
    found |= {ours(kind): measure(places, ours(kind), COUNT) for kind in KINDS}
    return [row_of(kind, percent, bar, found) for kind in KINDS for percent, bar in BARS.items()]


def measure(places: Places, name: str, messages: int) -> dict[int, float]:
    """{percent: ms}"""
    waits = places.ask(name, do="last", sockets=SOCKETS, count=messages, every=EVERY)["waits"]
    found = {percent: percentile(waits, percent) * 1000 for percent in BARS}
    print(f"  {name:<36}" + "".join(f"{value:>12,.1f} ms" for value in found.values()), flush=True)
    return found


def row_of(kind: str, percent: int, bar: float, found: dict[str, dict[int, float]]) -> Row:
    peers = {f"{name}, nothing stored": found[name][percent] for name in (SOCKETIO, ECHO)}
    value = found[ours(kind)][percent]
    return at_most(f"{kind}: send → the last of {SOCKETS:,}, p{percent}", value, "ms", bar, peers, CONDITIONS)
