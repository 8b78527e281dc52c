"""The deployment files: what they promise is there, and what they name exists.

They are read with a small reader of just the YAML that they use (mappings, lists, scalars); it fails on anything else.
No container engine is needed.
"""

import json
import re
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings

ROOT = Path(settings.BASE_DIR)
COMPOSE = ROOT / "deploy" / "docker-compose.yml"
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
ENV = ROOT / "deploy" / "env.example"
VARIABLE = re.compile(r"\$\{(\w+)(:[-?])?")


def read_yaml(text):
    lines = [
        (len(line) - len(line.lstrip()), line.strip())
        for line in text.splitlines()
        if line.strip() and not line.strip().startswith("#")
    ]
    value, rest = read_block(lines, 0)
    assert not rest, f"not understood: {rest[0]}"
    return value


def read_block(lines, indent):
    """(value, lines after it) of the block that begins here with this indentation."""
    if lines[0][1].startswith("- "):
        return read_list(lines, indent)
    found = {}
    while lines and lines[0][0] == indent:
        key, colon, value = lines[0][1].partition(":")
        assert colon, f"not understood: {lines[0]}"
        assert re.fullmatch(r"[\w-]+", key), f"not understood: {lines[0]}"
        assert key not in found, f"twice: {key}"
        lines = lines[1:]
        if value.strip():
            found[key] = scalar(value.strip())
        elif lines and lines[0][0] > indent:
            found[key], lines = read_block(lines, lines[0][0])
        else:
            found[key] = None
    return found, lines


def read_list(lines, indent):
    found = []
    while lines and lines[0][0] == indent and lines[0][1].startswith("- "):
        item = lines[0][1][2:]
        if re.match(r"[\w-]+: ", item):  # a mapping whose first key stands beside the dash
            value, lines = read_block([(indent + 2, item), *lines[1:]], indent + 2)
            found.append(value)
        else:
            found.append(scalar(item))
            lines = lines[1:]
    return found, lines


def scalar(text):
    if text[0] in '["':
        return json.loads(text)
    assert text[0] not in "{&*|>'%@`!", f"not understood: {text}"
    return {"true": True, "false": False}.get(text, text)


@pytest.fixture(scope="module")
def compose():
    return read_yaml(COMPOSE.read_text())


@pytest.fixture(scope="module")
def services(compose):
    return compose["services"]


def test_every_service_is_there_and_starts_again(services):
    assert set(services) == {"web", "postgres", "redis", "cache", "redis-insight"}
    assert {service["restart"] for service in services.values()} == {"unless-stopped"}


def test_every_image_is_pinned_to_a_version(services):
    images = [service["image"] for service in services.values()]
    images += re.findall(r"^FROM (\S+)", DOCKERFILE.read_text(), re.MULTILINE)
    assert len(images) == 7
    assert [image for image in images if not re.search(r":\d+(\.\d+)*(-\w+)*$", image)] == []


def test_the_state_server_persists_and_never_evicts(services):
    state = services["redis"]
    assert "./redis.conf:/etc/redis/redis.conf:ro" in state["volumes"]
    assert "redis-data:/data" in state["volumes"]
    assert "/etc/redis/redis.conf" in state["command"]
    assert state["command"][state["command"].index("--maxmemory-policy") + 1] == "noeviction"


def test_the_cache_server_is_bounded_and_evicts(services):
    command = services["cache"]["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "allkeys-lru"
    assert command[command.index("--maxmemory") + 1] == "${CACHE_MEMORY:-256mb}"


def test_both_servers_ask_for_a_password(services):
    for name in ("redis", "cache"):
        command = services[name]["command"]
        assert command[command.index("--requirepass") + 1] == "${REDIS_PASSWORD}"


def test_volumes_that_services_use_are_declared(compose, services):
    used = {volume.partition(":")[0] for service in services.values() for volume in service.get("volumes", [])}
    assert {name for name in used if not name.startswith(".")} == set(compose["volumes"])
    assert services["postgres"]["volumes"] == ["postgres-data:/var/lib/postgresql/data"]


def test_the_web_process_waits_until_its_servers_are_well(services):
    for name, condition in services["web"]["depends_on"].items():
        assert condition == {"condition": "service_healthy"}
        assert services[name]["healthcheck"]["test"]
    assert "HEALTHCHECK" in DOCKERFILE.read_text()


def test_nothing_is_open_to_other_machines(services):
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_trusted_proxy_is_the_networks_gateway(compose, services):
    gateway = compose["networks"]["default"]["ipam"]["config"][0]["gateway"]
    assert services["web"]["environment"]["TRUSTED_PROXIES"] == f"${{TRUSTED_PROXIES:-{gateway}}}"


@pytest.mark.parametrize("name", ["SECRET_KEY", "PUBLIC_URL", "POSTGRES_PASSWORD", "REDIS_PASSWORD"])
def test_what_has_no_safe_default_must_be_set(name):
    assert re.search(rf"\$\{{{name}:\?Set {name} in deploy/.env", COMPOSE.read_text())
    assert re.search(rf"^{name}=", ENV.read_text(), re.MULTILINE)


def test_every_variable_has_a_line_in_the_example_and_the_other_way_round():
    used = {name for name, _ in VARIABLE.findall(COMPOSE.read_text())}
    assert set(re.findall(r"^(?:# )?([A-Z_]+)=", ENV.read_text(), re.MULTILINE)) == used


def test_the_web_process_gets_only_settings_that_are_documented(services):
    documented = set(re.findall(r"^\| `(\w+)`", (ROOT / "docs" / "configuration.md").read_text(), re.MULTILINE))
    assert set(services["web"]["environment"]) <= documented


def test_no_secret_is_written_down():
    for name in ("SECRET_KEY", "POSTGRES_PASSWORD", "REDIS_PASSWORD"):
        assert re.search(rf"^{name}=$", ENV.read_text(), re.MULTILINE)


def test_the_image_holds_every_app_and_runs_without_privileges():
    text = DOCKERFILE.read_text()
    copied = set(re.findall(r"^COPY (\S+) \S+$", text, re.MULTILINE))
    own = {
        Path(app.path).relative_to(ROOT).parts[0]
        for app in apps.get_app_configs()
        if ROOT in Path(app.path).parents and ".venv" not in app.path
    }
    assert own <= copied
    assert {name for name in copied if not (ROOT / name).exists()} == set()
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    ignored = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text()
    assert {line[1:] for line in ignored.splitlines() if line.startswith("!")} == copied


def test_the_reader_refuses_what_it_does_not_understand():
    assert read_yaml('a: 1\nb:\n  - c: 2\n    d: x\n  - "e:f"\n') == {"a": "1", "b": [{"c": "2", "d": "x"}, "e:f"]}
    for bad in ("a: 1\na: 2\n", "a: |\n  x\n", "just words\n", "a: 1\n   b: 2\n"):
        with pytest.raises(AssertionError):
            read_yaml(bad)
