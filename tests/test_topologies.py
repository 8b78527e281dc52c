"""Failovers during traffic, moving slots, silent nodes, wrong certificates and rights: with real servers."""

import asyncio
import contextlib
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count

import pytest
import redis
from django.core.cache import caches
from redis.exceptions import RedisError

from accounts.sessions import SessionStore
from intellicolab.dashboard import queries
from intellicolab.redis import scripts
from intellicolab.redis.client import READ_TIMEOUT, Purpose, Role, aclose, async_client, client, primaries, reports

from .site import ROOT
from .topologies import (
    PASSWORD,
    QUOTED,
    RIGHTS,
    Acl,
    Authority,
    Nodes,
    Sentinels,
    Server,
    Single,
    Tls,
    settings_of,
    until,
    valkey,
)

ERROR_SECONDS = 6.0  # the longest that one call may take while a failover goes on
HEALED_SECONDS = 20.0
TAG = "{room}"


@pytest.fixture
def sentinels(settings) -> Iterator[Sentinels]:
    servers = Sentinels()
    with servers, settings_of(settings, servers.url, f"{servers.url.replace('/0?', '/1?')}"):
        yield servers


@contextlib.contextmanager
def cluster_of(settings, replicas: int = 0) -> Iterator[Nodes]:
    # One Cluster for both roles' clients would share nothing but its nodes; the cache needs no failover of its own.
    with Nodes(valkey(), replicas) as nodes, Single(valkey()) as cache, settings_of(settings, nodes.url, cache.url):
        yield nodes


@pytest.fixture
def cluster(settings) -> Iterator[Nodes]:
    with cluster_of(settings) as nodes:
        yield nodes


@pytest.fixture
def replicated(settings) -> Iterator[Nodes]:
    with cluster_of(settings, replicas=1) as nodes:
        yield nodes


@pytest.fixture
def increment(tmp_path) -> scripts.Script:
    path = tmp_path / "increment.lua"
    path.write_text("-- KEYS[1]: a number; ARGV[1]: what to add\nreturn redis.call('INCRBY', KEYS[1], ARGV[1])")
    return scripts.Script(path)


class Traffic:
    """Calls of one kind, again and again from a thread of its own; each append carries a number of its own."""

    def __init__(self, call: Callable[[int], object]) -> None:
        self._call, self._stop = call, threading.Event()
        self.done: list[int] = []
        self.felt = 0  # how many were done when the last error came
        self.slowest = 0.0
        self.errors: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Traffic":
        self._thread.start()
        until(lambda: self.done, what="traffic flows")
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        for number in count():
            if self._stop.is_set():
                return
            began = time.monotonic()
            try:
                self._call(number)
                self.done.append(number)
            except (RedisError, OSError) as error:
                self.errors[type(error).__name__] += 1
                self.felt = len(self.done)
            self.slowest = max(self.slowest, time.monotonic() - began)
            time.sleep(0.005)

    def heals(self) -> None:
        """It goes on without a restart: a hundred more calls get through, one after another, to every node."""
        before = len(self.done)

        def healed() -> bool:
            return len(self.done) > max(before, self.felt) + 100

        until(healed, HEALED_SECONDS, f"traffic heals after {self.errors}")


def kinds_of_traffic(increment: scripts.Script) -> list[Traffic]:
    def cached(number: int) -> None:
        caches["sessions"].set(f"k{number}", number, 60)
        assert caches["sessions"].get(f"k{number}") in (number, None)

    def piped(number: int) -> None:
        pipeline = client(Role.STATE).pipeline(transaction=False)
        for name in "abcdef":  # over several nodes
            pipeline.rpush(f"piped:{name}", number)
        pipeline.execute()

    return [
        Traffic(lambda number: [client(Role.STATE).rpush(f"list:{number % 20}", number)]),
        Traffic(lambda number: increment(client(Role.STATE), [f"{TAG}:{number % 20}"], [1])),
        Traffic(cached),
        Traffic(piped),
    ]


def runs_through(increment: scripts.Script, fail: Callable[[], None]) -> None:
    """Fail a server under traffic of every kind, then look at what was written."""
    traffic = kinds_of_traffic(increment)
    session = SessionStore()
    session["who"] = "alice"
    session.save()
    with traffic[0], traffic[1], traffic[2], traffic[3]:
        fail()
        until(lambda: traffic[1].errors, what="the failure is felt")  # its keys are all on the server that fails
        for one in traffic:
            one.heals()
    assert max(one.slowest for one in traffic) < ERROR_SECONDS
    for name in [f"list:{number}" for number in range(20)] + [f"piped:{name}" for name in "abcdef"]:
        written = client(Role.STATE).lrange(name, 0, -1)
        assert len(written) == len(set(written)), f"{name} was written to twice"
    fresh = SessionStore(session.session_key)
    assert fresh.load() in ({"who": "alice"}, {})
    fresh = SessionStore()
    fresh["who"] = "bob"
    fresh.save()
    assert SessionStore(fresh.session_key).load() == {"who": "bob"}


@pytest.mark.slow
def test_a_sentinel_failover_needs_no_restart_and_writes_nothing_twice(sentinels, increment):
    runs_through(increment, sentinels.primary.kill)
    assert [primary.name for primary in primaries(Role.STATE)] == [sentinels.replica.name]


@pytest.mark.slow
def test_a_primary_of_a_cluster_dies_and_its_replica_is_found(replicated, increment):
    def fail() -> None:
        node_of(replicated, f"{TAG}:1").kill()

    runs_through(increment, fail)
    assert len(primaries(Role.STATE)) == 3


@pytest.mark.slow
async def test_async_clients_find_the_promoted_replica_too(replicated):
    state = async_client(Role.STATE)
    await state.rpush("list", 0)
    node_of(replicated, "list").kill()
    try:
        assert await heals(lambda number: state.rpush("list", number))
        assert await heals(lambda number: piped(state, number))
        written = await state.lrange("list", 0, -1)
        assert len(written) == len(set(written))
    finally:
        await aclose()


@pytest.mark.slow
async def test_async_clients_follow_a_sentinel_failover(sentinels):
    state = async_client(Role.STATE)
    await state.rpush("list", 0)
    sentinels.primary.kill()
    try:
        assert await heals(lambda number: state.rpush("list", number))
        written = await state.lrange("list", 0, -1)
        assert len(written) == len(set(written))
    finally:
        await aclose()


@pytest.mark.slow
async def test_tasks_that_ask_the_sentinels_at_once_lose_none_of_them(sentinels):
    """redis-py's own swaps who answered to the front of one list, at a place that it looked up before it waited."""
    asked = async_client(Role.STATE).connection_pool.sentinel_manager
    given = set(asked.sentinels)
    sentinels.sentinels[0].kill()  # so that the second one is asked, and moved
    try:
        found = await asyncio.gather(*(asked.discover_master("team") for _ in range(10)))
        assert {port for _, port in found} == {sentinels.primary.port.number}
        assert set(asked.sentinels) == given
    finally:
        await aclose()


@pytest.mark.slow
def test_a_demoted_primary_is_left_without_an_error_that_lasts(sentinels):
    client(Role.STATE).set("k", 1)
    sentinels.sentinels[0].run("SENTINEL", "FAILOVER", "team")
    until(lambda: primaries(Role.STATE)[0].name == sentinels.replica.name, HEALED_SECONDS)
    until(lambda: client(Role.STATE).set("k", 2), HEALED_SECONDS)
    assert sentinels.replica.run("GET", "k") == "2"


@pytest.mark.slow
def test_a_silent_node_gets_nothing_twice(cluster, fast_enough):
    """redis-py's own pipelines of a Cluster send again what timed out, even without retries."""
    fast = client(Role.STATE, Purpose.FAST)
    fast.xlen("stream")
    node = node_of(cluster, "stream")
    with stalled(node), pytest.raises((redis.TimeoutError, redis.ConnectionError)):
        fast.xadd("stream", {"n": 1})
    assert client(Role.STATE).xlen("stream") == 1
    fast.xlen("stream")
    with stalled(node):
        answers = fast.pipeline(transaction=False).xadd("stream", {"n": 2}).xadd("stream", {"n": 3}).execute(False)
    assert all(isinstance(answer, redis.TimeoutError | redis.ConnectionError) for answer in answers)
    assert client(Role.STATE).xlen("stream") == 3


@pytest.mark.slow
async def test_a_silent_node_gets_nothing_twice_async(cluster, fast_enough):
    fast = async_client(Role.STATE, Purpose.FAST)
    node = node_of(cluster, "stream")
    try:
        await fast.xlen("stream")
        with stalled(node), pytest.raises((redis.TimeoutError, redis.ConnectionError)):
            await fast.xadd("stream", {"n": 1})
        assert client(Role.STATE).xlen("stream") == 1
        await fast.xlen("stream")
        with stalled(node), pytest.raises((redis.TimeoutError, redis.ConnectionError)):
            await fast.pipeline(transaction=False).xadd("stream", {"n": 2}).execute()
        assert client(Role.STATE).xlen("stream") == 2
    finally:
        await aclose()


@pytest.mark.slow
def test_a_slot_moves_while_scripts_run(cluster, increment):
    state = client(Role.STATE)
    assert increment(state, [f"{TAG}:n"], [1]) == 1
    with moving(cluster, f"{TAG}:n"):
        assert increment(state, [f"{TAG}:new"], [5]) == 5  # not at the old node: ASK
        pipeline = state.pipeline(transaction=False).incr(f"{TAG}:new").eval(increment.text, 1, f"{TAG}:new", 1)
        assert pipeline.execute() == [6, 7]
        assert increment(state, [f"{TAG}:n"], [1]) == 2  # still at the old node
    assert increment(state, [f"{TAG}:n"], [1]) == 3  # MOVED
    assert state.mget(f"{TAG}:n", f"{TAG}:new") == [b"3", b"7"]


@pytest.mark.slow
async def test_a_slot_moves_while_async_scripts_run(cluster, increment):
    state = async_client(Role.STATE)
    try:
        await asyncio.gather(*(state.incr(f"{TAG}:n") for _ in range(8)))  # several connections, as under load
        with moving(cluster, f"{TAG}:n"):
            answers = [increment.call_async(state, [f"{TAG}:new"], [1]) for _ in range(8)]
            assert sorted(await asyncio.gather(*answers)) == list(range(1, 9))
            assert await state.pipeline(transaction=False).incr(f"{TAG}:new").execute() == [9]
        assert await increment.call_async(state, [f"{TAG}:n"], [1]) == 9
    finally:
        await aclose()


@pytest.mark.slow
async def test_a_node_that_refuses_asking_mixes_up_no_answers(cluster):
    """ASKING and the command go out together, so the answer to the command is still on its way."""
    state = async_client(Role.STATE)
    try:
        with moving(cluster, f"{TAG}:n") as new:
            assert await state.set(f"{TAG}:n", "moved")
            new.run("ACL", "SETUSER", "default", "-asking")
            with pytest.raises(redis.exceptions.NoPermissionError):
                await state.get(f"{TAG}:n")
            new.run("ACL", "SETUSER", "default", "+asking")
            assert await state.strlen(f"{TAG}:n") == len("moved")
            assert await state.get(f"{TAG}:n") == b"moved"
    finally:
        await aclose()


@pytest.mark.slow
async def test_a_slot_that_the_map_lacks_is_an_outage_until_a_node_has_it(cluster):
    """redis-py's own errors for it are no RedisError, and its asyncio client would keep them for good."""
    slot, owner = redis.cluster.key_slot(b"k"), node_of(cluster, "k")
    for node in cluster.servers:
        node.run("CONFIG", "SET", "cluster-require-full-coverage", "no")
        node.run("CLUSTER", "DELSLOTS", slot)
    state, asynchronous = client(Role.STATE), async_client(Role.STATE)
    calls = [
        lambda: state.get("k"),
        lambda: state.mget("k", "other"),
        lambda: state.delete("k", "other"),
        lambda: state.pipeline(transaction=False).get("k").execute(),
        lambda: state.pipeline(transaction=True).set("k", 1).get("k").execute(),
    ]
    awaited = [
        lambda: asynchronous.get("k"),
        lambda: asynchronous.mget("k", "other"),
        lambda: asynchronous.delete("k", "other"),
        lambda: asynchronous.pipeline(transaction=False).get("k").execute(),
    ]
    try:
        for call in calls:
            with pytest.raises(redis.ConnectionError):
                call()
        for call in awaited:
            with pytest.raises(redis.ConnectionError):
                await call()
        for node in cluster.servers:
            node.run("CLUSTER", "SETSLOT", slot, "NODE", Nodes.id_of(owner))
        until(lambda: state.set("k", 1))
        assert await heals(lambda number: asynchronous.set("k", number))
    finally:
        await aclose()


@pytest.mark.slow
def test_a_cluster_of_which_nobody_answers_is_an_outage_like_any(cluster):
    client(Role.STATE).set("k", 1)
    for node in cluster.servers:
        node.kill()
    for _ in range(2):
        with pytest.raises(redis.ConnectionError):
            client(Role.STATE).get("k")
        with pytest.raises(redis.ConnectionError):
            client(Role.STATE).pipeline(transaction=False).get("k").execute()
        with pytest.raises(redis.ConnectionError):  # a client that never saw it
            client(Role.STATE, Purpose.FAST).get("k")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cluster", "sentinels"])
def test_blocking_reads_and_subscriptions_work(request, kind):
    request.getfixturevalue(kind)
    blocking = client(Role.STATE, Purpose.BLOCKING)
    timer = threading.Timer(2.3, lambda: client(Role.STATE).rpush("list", "late"))
    timer.start()
    try:
        assert blocking.blpop(["list"], timeout=10) == (b"list", b"late")
    finally:
        timer.join()
    with blocking.pubsub() as subscriber:
        subscriber.subscribe("news")
        assert subscriber.get_message(timeout=10)["type"] == "subscribe"
        client(Role.STATE).publish("news", "hello")
        assert subscriber.get_message(timeout=10)["data"] == b"hello"


def test_a_server_whose_certificate_is_of_another_authority_is_refused(settings, tmp_path):
    Authority(tmp_path, "stranger")
    with Tls() as tls:
        wrong = re.sub(r"ssl_ca_certs=[^&]+", f"ssl_ca_certs={tmp_path / 'stranger.pem'}", tls.url)
        with settings_of(settings, wrong, wrong), pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY"):
            client(Role.STATE).ping()
        with settings_of(settings, tls.url, tls.url):
            assert client(Role.STATE).ping()


def test_a_user_without_rights_is_told_which_are_missing(settings):
    with Acl("~other:* +get +@connection") as acl, settings_of(settings, acl.url, acl.url):
        assert client(Role.STATE).ping()
        with pytest.raises(redis.ResponseError, match="set"):
            client(Role.STATE).set("ic:k", 1)
        with pytest.raises(redis.ResponseError, match="key"):
            client(Role.STATE).get("ic:k")


def test_a_wrong_password_is_an_error_that_does_not_show_it(settings):
    with Acl() as acl:
        wrong = acl.url.replace(QUOTED, "guess")
        with settings_of(settings, wrong, wrong), pytest.raises(redis.AuthenticationError) as error:
            client(Role.STATE).ping()
    assert "guess" not in str(error.value)
    assert PASSWORD not in str(error.value)


def test_the_documented_rights_are_enough(settings, increment):
    with Acl(f"~ic:* &ic:* {RIGHTS}") as acl, settings_of(settings, acl.url, acl.url.replace("/0", "/1")):
        cache = caches["default"]
        cache.set_many({"a": 1, "b": 2}, 60)
        assert cache.delete_pattern("*") == 2
        cache.clear()
        session = SessionStore()
        session["who"] = "alice"
        session.save()
        assert SessionStore(session.session_key).load() == {"who": "alice"}
        assert increment(client(Role.STATE), ["ic:n"], [1]) == 1
        assert queries.server(Role.STATE).error == ""
        assert client(Role.STATE).publish("ic:layer", "x") == 0


def test_the_rights_are_documented():
    assert f"~ic:* &ic:* {RIGHTS}" in (ROOT / "docs" / "deployment.md").read_text()


@pytest.mark.topology
def test_the_dashboard_adds_up_the_primaries():
    state = client(Role.STATE)
    for number in range(50):
        state.set(f"k{number}", 1)
    server = queries.server(Role.STATE)
    assert server.error == ""
    assert server.keys >= 50
    assert len(server.run_id.split()) == len(primaries(Role.STATE)) == len(reports(Role.STATE))


@pytest.mark.topology
def test_readyz_asks_every_role(client_of_site):
    assert client_of_site.get("/readyz").json()["failed"] == []


@pytest.fixture
def client_of_site(client, transactional_db):
    return client


def node_of(nodes: Nodes, key: str) -> Server:
    """The primary that has the key."""
    slot = redis.cluster.key_slot(key.encode())
    return nodes.primaries[next(i for i in range(3) if slot < 16384 * (i + 1) // 3)]


@pytest.fixture
def fast_enough(monkeypatch):
    """A limit for Purpose.FAST that a loaded machine does not outrun."""
    monkeypatch.setitem(READ_TIMEOUT, Purpose.FAST, 0.6)


@contextlib.contextmanager
def stalled(server: Server) -> Iterator[None]:
    """Silent for a little longer than Purpose.FAST waits: who sends again then is heard both times."""
    server.pause()
    timer = threading.Timer((READ_TIMEOUT[Purpose.FAST] or 0) * 1.5, server.resume)
    timer.start()
    try:
        yield
    finally:
        timer.join()
        until(lambda: server.client.ping())


@contextlib.contextmanager
def moving(nodes: Nodes, key: str) -> Iterator[Server]:
    """The key's slot is on its way to the node that it gives; at the end it is there."""
    slot, old = redis.cluster.key_slot(key.encode()), node_of(nodes, key)
    new = next(server for server in nodes.primaries if server is not old)
    new.run("CLUSTER", "SETSLOT", slot, "IMPORTING", Nodes.id_of(old))
    old.run("CLUSTER", "SETSLOT", slot, "MIGRATING", Nodes.id_of(new))
    yield new
    left = list(old.run("CLUSTER", "GETKEYSINSLOT", slot, 100))
    old.run("MIGRATE", "127.0.0.1", new.port.number, "", 0, 2000, "AUTH", PASSWORD, "KEYS", *left)
    for server in (new, *nodes.primaries):
        server.run("CLUSTER", "SETSLOT", slot, "NODE", Nodes.id_of(new))


async def heals(call: Callable) -> bool:
    """Whether twenty calls in a row get through before long; every number is sent once."""
    deadline, row = time.monotonic() + HEALED_SECONDS, 0
    for number in count(int(time.monotonic() * 1000)):
        try:
            await call(number)
            row += 1
        except (RedisError, OSError):
            row = 0
            await asyncio.sleep(0.05)
        if row == 20 or time.monotonic() > deadline:
            return row == 20
    return False


async def piped(state: redis.asyncio.Redis, number: int) -> None:
    pipeline = state.pipeline(transaction=False)
    for name in "abcdef":
        pipeline.rpush(f"piped:{name}", number)
    await pipeline.execute()
