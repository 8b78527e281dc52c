"""Requests a second through Django's seven standard middlewares: the one-hop handler against Django's own."""

import time
from functools import partial
from statistics import median

from bench.harness.load import rates
from bench.harness.processes import free_port, pin, processor_time, python, server
from bench.harness.results import Row, at_least
from bench.harness.rounds import interleaved

SITE = "bench.sites.plain"
CONNECTIONS = 32
SECONDS = 1.5
ROUNDS = 3
SERVER_CORE, CLIENT_CORE = 0, 1

# Django's own handler times this is the bar: requests a second of one core. The ratio is taken from processor time,
# which on an idle machine is the core's time, and which other programs' work does not change.
BARS = {"Daphne": 4, "uvicorn": 6}
CONDITIONS = (
    f"trivial sync view, {CONNECTIONS} keep-alive connections, server on one core, client on another, "
    f"median of {ROUNDS} interleaved rounds of {SECONDS} s; ratios by the server's processor time"
)


def daphne(application: str, port: int) -> list[str]:
    return python("-m", "daphne", "-v", "0", "-p", str(port), f"{SITE}:{application}")


def uvicorn(application: str, port: int) -> list[str]:
    quiet = ("--log-level", "warning", "--no-access-log")
    return python("-m", "uvicorn", "--port", str(port), *quiet, f"{SITE}:{application}")


def granian(application: str, port: int) -> list[str]:
    options = ("--interface", "wsgi", "--blocking-threads", "8", "--no-ws")
    return python("-m", "granian", "--no-log", "--port", str(port), *options, f"{SITE}:{application}")


SERVERS = {"Daphne": daphne, "uvicorn": uvicorn}
APPLICATIONS = {
    "one hop": "one_hop",
    "Django's handler": "django_asgi",
    "a2wsgi": "bridged",
    "without Django": "bare",
}
CONTENDERS = {
    **{f"{name}, {label}": (SERVERS[name], app) for name in SERVERS for label, app in APPLICATIONS.items()},
    "granian, WSGI, 8 threads": (granian, "wsgi"),
}


def measure(name: str) -> tuple[float, float]:
    """Requests a second of wall time, and of the server's processor time."""
    command, application = CONTENDERS[name]
    port = free_port()
    with server(command(application, port), port, core=SERVER_CORE) as child:
        by_wall, by_processor = rates(port, CONNECTIONS, SECONDS, (time.perf_counter, processor_time(child)))
        return by_wall, by_processor


def run() -> list[Row]:
    pin(CLIENT_CORE)
    found = interleaved({name: partial(measure, name) for name in CONTENDERS}, ROUNDS)
    by_wall = {name: median(wall for wall, _ in rounds) for name, rounds in found.items()}
    processor = {name: 1e6 / median(rate for _, rate in rounds) for name, rounds in found.items()}
    return [row for name in SERVERS for row in rows_of(name, by_wall, processor)]


def rows_of(name: str, by_wall: dict[str, float], processor: dict[str, float]) -> list[Row]:
    ours = f"{name}, one hop"
    times = processor[f"{name}, Django's handler"] / processor[ours]
    peers = [peer for peer in CONTENDERS if peer != ours and (name in peer or "granian" in peer)]

    def told(figure: str, unit: str, values: dict[str, float]) -> Row:
        return Row(figure, values[ours], unit, peers={peer: values[peer] for peer in peers}, conditions=CONDITIONS)

    return [
        told(f"{name}: one hop", "requests/s", by_wall),
        told(f"{name}: processor time a request", "µs", processor),
        at_least(f"{name}: one hop, against Django's handler", times, "times", BARS[name], {}, CONDITIONS),
    ]
