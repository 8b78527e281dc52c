"""Settings: what is documented, what production means, and what is refused."""

import os
import re
import subprocess
import sys

import pytest

from .site import ROOT

DOCUMENTED = re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "docs" / "configuration.md").read_text(), re.M)


def read_variables():
    found = set()
    for path in (ROOT / "intellicolab").rglob("*.py"):
        found |= set(re.findall(r'(?:\benv(?:\.\w+)?\(|environ\.get\()\s*"([A-Z_]+)"', path.read_text()))
    return found


def test_every_variable_is_documented_and_every_documented_one_is_read():
    assert set(DOCUMENTED) == read_variables()
    assert len(DOCUMENTED) == len(set(DOCUMENTED))


def test_the_tests_put_every_variable_of_the_shell_aside():
    text = (ROOT / "tests" / "environment.py").read_text()
    ours = set(re.search(r"OURS = \(\n(.*?)\)\.split", text, re.S)[1].replace('"', "").split())
    assert ours == set(DOCUMENTED) - {"HOST", "PORT", "SERVER"}


def settings_of(expression, **env):
    """What a fresh process says of its settings under these variables."""
    given = {name: value for name, value in os.environ.items() if name not in DOCUMENTED}
    code = f"from django.conf import settings; print(*[{expression}])"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**given, "DJANGO_SETTINGS_MODULE": "intellicolab.settings", **env},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    return result.stdout.strip() or result.stderr.strip().splitlines()[-1]


def test_production_is_the_default(tmp_path):
    assert settings_of("settings.DEBUG", VAR_DIR=str(tmp_path)) == "False"


def test_a_secret_key_is_made_once_and_kept_private(tmp_path):
    first = settings_of("settings.SECRET_KEY", VAR_DIR=str(tmp_path))
    assert len(first) > 50
    assert settings_of("settings.SECRET_KEY", VAR_DIR=str(tmp_path)) == first
    assert (tmp_path / "secret_key").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "env", [{"DATABASE_URL": "postgres://h/x"}, {"PUBLIC_URL": "https://a.example"}, {"ALLOWED_HOSTS": "a.example"}]
)
def test_a_public_installation_without_a_key_is_refused(tmp_path, env):
    assert "SECRET_KEY is not set" in settings_of("settings.DEBUG", VAR_DIR=str(tmp_path), **env)


def test_behind_tls_cookies_are_secure_and_hsts_is_on(tmp_path):
    shown = "settings.SESSION_COOKIE_SECURE, settings.CSRF_COOKIE_SECURE, settings.SECURE_HSTS_SECONDS > 0"
    env = {"VAR_DIR": str(tmp_path), "SECRET_KEY": "k" * 50}
    assert settings_of(shown, PUBLIC_URL="https://a.example", **env) == "True True True"
    assert settings_of(shown, PUBLIC_URL="http://a.example", **env) == "False False False"


def test_hosts_other_than_localhost_must_be_named(client, db, alice):
    assert client.get("/healthz", headers={"host": "localhost"}).status_code == 200
    assert client.get("/accounts/login/", headers={"host": "chat.example.org"}).status_code == 400


@pytest.mark.parametrize(
    ("state", "cache"),
    [
        ("redis://h:6379/0", "redis://h:6379/1"),
        ("redis://h", "redis://h/1"),
        ("rediss://u:p@h:6380/4", "rediss://u:p@h:6380/5"),
        ("unix:///run/r.sock?db=2", "unix:///run/r.sock?db=3"),
    ],
)
def test_the_cache_goes_beside_the_state(tmp_path, state, cache):
    shown = "settings.REDIS_URLS['cache']"
    assert settings_of(shown, VAR_DIR=str(tmp_path), REDIS_URL=state) == cache


def test_security_headers(client, db, alice):
    answer = client.get("/accounts/login/")
    policy = answer.headers["Content-Security-Policy"]
    assert "unsafe-inline" not in policy
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"


def test_production_settings_pass_the_deployment_check(tmp_path):
    env = {name: value for name, value in os.environ.items() if name not in DOCUMENTED}
    env |= {"VAR_DIR": str(tmp_path), "SECRET_KEY": os.urandom(40).hex(), "PUBLIC_URL": "https://chat.example.org"}
    result = subprocess.run(
        [sys.executable, "-W", "error", "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
