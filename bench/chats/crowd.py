"""2,000 people with a socket each, in 20 rooms: what an idle one costs, and what happens if all come back at once."""

from bench.chats.brief import count
from bench.chats.places import KINDS, Place, installation
from bench.harness.crew import Crew
from bench.harness.processes import unshared_memory, wait_until_idle
from bench.harness.results import Row, at_least, at_most
from bench.harness.rounds import percentile

SOCKETS, ROOMS = count(2000), 20
EVERY, STEADY = 0.2, count(75)
WARM = 50  # sockets that were there before: the first ones import and connect
MEMORY_BAR, LINEAR_BAR = 40, 1.2
BACK_BAR, ACK_BAR = 10, 500
IDLE = f"{SOCKETS:,} people, each signed in with a socket and in {ROOMS} rooms; unshared memory of the web process"
BACK = (
    f"{SOCKETS:,} sockets cut at once; all connect at once, get their hello and resume a room, while another socket "
    f"sends {1 / EVERY:.0f} messages a second into it"
)


def rows() -> list[Row]:
    return [row for kind in KINDS for row in measured(kind)]


def measured(kind: str) -> list[Row]:
    with installation(kind, SOCKETS + 1, ROOMS) as place, place.clients(2) as clients:
        return [*memory(kind, place, clients), *reconnect(kind, place, clients)]


def memory(kind: str, place: Place, clients: Crew) -> list[Row]:
    for sockets in (WARM, 0):
        grow(place, clients, sockets)
    empty, half, full = (grow(place, clients, sockets) for sockets in (0, SOCKETS // 2, SOCKETS))
    print(
        f"  {kind}, KB with 0, {SOCKETS // 2:,}, {SOCKETS:,} sockets  {empty:,.0f} {half:,.0f} {full:,.0f}", flush=True
    )
    title, linear = f"{kind}: an idle socket", (full - half) / max(half - empty, 1)
    return [
        at_most(f"{title}, memory", (full - empty) / SOCKETS, "KB", MEMORY_BAR, {}, IDLE),
        at_most(f"{title}, second half against first", linear, "times", LINEAR_BAR, {}, IDLE),
    ]


def grow(place: Place, clients: Crew, sockets: int) -> float:
    """KB of the web process with so many sockets."""
    job = {**place.job, "do": "grow", "sockets": sockets}
    answer = clients.do([job, {**job, "sockets": 0}])[0]
    assert answer["sockets"] == sockets, answer
    wait_until_idle(place.pid)
    return unshared_memory(place.pid) / 1024


def reconnect(kind: str, place: Place, clients: Crew) -> list[Row]:
    jobs = [
        {"do": "reconnect", "room": place.rooms[0]},
        {"do": "steady", "person": SOCKETS, "count": STEADY, "every": EVERY},
    ]
    back, steady = clients.do([{**place.job, **job} for job in jobs])
    waits = [wait for sent, wait in steady["waits"] if back["began"] <= sent <= back["ended"]]
    errors = {**back["errors"], "of the sender": steady["errors"]}
    print(f"  {kind}, errors  {errors}", flush=True)
    title = f"{kind}: {SOCKETS:,} reconnect"
    return [
        at_most(f"{title}, all resumed", back["ended"] - back["began"], "s", BACK_BAR, {}, BACK),
        at_most(f"{title}, errors", sum(errors.values()), "errors", 0, {}, BACK),
        at_least(f"{title}, messages sent meanwhile", len(waits), "messages", 1, {}, BACK),
        at_most(f"{title}, send → ack, p99", percentile(waits, 99) * 1000, "ms", ACK_BAR, {}, BACK),
    ]
