"""The rules of the house that a machine can check."""

import ast
import re
from pathlib import Path

import pytest

from .topologies import KINDS

ROOT = Path(__file__).resolve().parent.parent

# Lower floors first: a module may import from its own floor and from those below it.
FLOORS = [
    ["intellicolab.redis", "intellicolab.sqlite"],
    ["intellicolab.cache", "intellicolab.events", "intellicolab.jobs"],
    ["ratelimit"],
    ["accounts"],
    ["realtime"],
    ["intellicolab.insights", "intellicolab.audit"],
    ["intellicolab.dashboard"],
    ["intellicolab.urls", "intellicolab.asgi", "intellicolab.servers"],
]
APPS = ["accounts", "intellicolab", "ratelimit", "realtime"]


def floor_of(module: str) -> int | None:
    found = [
        (len(name), level)
        for level, names in enumerate(FLOORS)
        for name in names
        if module == name or module.startswith(name + ".")
    ]
    return max(found)[1] if found else None


def modules() -> list[Path]:
    return [path for app in APPS for path in sorted((ROOT / app).rglob("*.py")) if "migrations" not in path.parts]


def imported(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += absolute(path, node)
    return names


def absolute(path: Path, node: ast.ImportFrom) -> list[str]:
    package = list(path.relative_to(ROOT).parent.parts)
    base = package[: len(package) - node.level + 1] if node.level else []
    module = ".".join([*base, *([node.module] if node.module else [])])
    return [module, *(f"{module}.{alias.name}" for alias in node.names)]


def wrong_way(path: Path) -> list[str]:
    module = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
    here = floor_of(module)
    if here is None:
        return []
    return [name for name in imported(path) if (there := floor_of(name)) is not None and there > here]


def test_the_rule_sees_an_import_that_runs_upwards(tmp_path):
    assert floor_of("ratelimit.middleware") < floor_of("realtime.hub")
    assert "realtime.services" in absolute(
        ROOT / "realtime" / "hub.py", ast.parse("from .services import post_message").body[0]
    )


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_run_one_way(path):
    assert wrong_way(path) == []


def test_the_limiter_needs_nothing_of_the_site_but_its_redis_clients_and_where_facts_go():
    mine = [path for path in modules() if path.is_relative_to(ROOT / "ratelimit")]
    told = ("events.py", "services.py")
    foreign = {
        name
        for path in mine
        for name in imported(path)
        if name.split(".")[0] in APPS and not name.startswith(("intellicolab.redis", "ratelimit"))
        if not (path.name in told and name.startswith("intellicolab.events"))
    }
    assert foreign <= {"intellicolab"}


def test_no_pickle_and_no_keys_command():
    for path in modules():
        text = path.read_text()
        assert "import pickle" not in text, path
        assert '.keys("*' not in text, path
        assert "KEYS *" not in text, path


def test_ci_runs_the_marked_tests_against_every_kind_of_server():
    makefile = (ROOT / "Makefile").read_text()
    named = " ".join(re.findall(r"^(?:TOPOLOGIES|DOORS) \?= (.+)$", makefile, flags=re.MULTILINE)).split()
    assert sorted(named) == sorted(KINDS)
    ci = (ROOT / ".ci" / "run").read_text()
    assert "export REQUIRE_REDIS=1" in ci  # else a server that is not found would be passed over
    assert {"make check", "make test", "make test-all"} <= set(ci.splitlines())
