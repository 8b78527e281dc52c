"""Settings: what is documented, what production means, and what is refused."""

import os
import re
import runpy
import subprocess
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured

from .site import ROOT

DOCUMENTED = re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "docs" / "configuration.md").read_text(), re.M)


def read_variables():
    found = set()
    for path in (ROOT / "intellicolab").rglob("*.py"):
        found |= set(re.findall(r'(?:\benv_\w+\(|environ\.get\()\s*"([A-Z_]+)"', path.read_text()))
    return found


def test_every_variable_is_documented_and_every_documented_one_is_read():
    assert set(DOCUMENTED) == read_variables()
    assert len(DOCUMENTED) == len(set(DOCUMENTED))


def test_the_tests_put_every_variable_of_the_shell_aside():
    text = (ROOT / "tests" / "environment.py").read_text()
    ours = set(re.search(r"OURS = \(\n(.*?)\)\.split", text, re.S)[1].replace('"', "").split())
    assert ours == set(DOCUMENTED) - {"HOST", "PORT", "SERVER"}


def without_ours():
    return {name: value for name, value in os.environ.items() if name not in DOCUMENTED}


def settings_of(expression, **env):
    """What a fresh process says of its settings under these variables."""
    code = f"from django.conf import settings; print(*[{expression}])"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**without_ours(), "DJANGO_SETTINGS_MODULE": "intellicolab.settings", **env},
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
        ("redis://h:6379?db=3", "redis://h:6379/4"),
        ("redis://:p%40ss@h/2?socket_timeout=5", "redis://:p%40ss@h/3?socket_timeout=5"),
        ("rediss://u:p@h:6380/4", "rediss://u:p@h:6380/5"),
        ("unix:///run/r.sock?db=2", "unix:///run/r.sock?db=3"),
        ("unix:///run/r.sock?password=p&db=2", "unix:///run/r.sock?password=p&db=3"),
        ("unix:///run/r.sock", "unix:///run/r.sock?db=1"),
        ("redis+sentinel://:p@a,b:2/team?sentinel_password=q", "redis+sentinel://:p@a,b:2/team/1?sentinel_password=q"),
        ("rediss+sentinel://a/team/3", "rediss+sentinel://a/team/4"),
    ],
)
def test_the_cache_goes_beside_the_state(run_settings, state, cache):
    assert run_settings(REDIS_URL=state)["REDIS_URLS"]["cache"] == cache


def test_a_cluster_needs_another_one_for_the_cache(run_settings):
    with pytest.raises(ImproperlyConfigured, match="REDIS_CACHE_URL must be set"):
        run_settings(REDIS_URL="redis+cluster://a,b")
    urls = run_settings(REDIS_URL="redis+cluster://a,b", REDIS_CACHE_URL="redis+cluster://c")["REDIS_URLS"]
    assert urls == {"state": "redis+cluster://a,b", "cache": "redis+cluster://c"}


WRONG = [
    ("REDIS_URL", "garbage"),
    ("REDIS_URL", "redis+cluster://a/1"),
    ("REDIS_URL", "redis+sentinel://a"),
    ("REDIS_URL", "http://127.0.0.1"),
    ("REDIS_URL", "redis://127.0.0.1:1/foo"),
    ("REDIS_URL", "redis://127.0.0.1:99999/0"),
    ("REDIS_URL", "redis://127.0.0.1:port"),
    ("REDIS_URL", "redis://127.0.0.1?db=one"),
    ("REDIS_URL", "redis://127.0.0.1?db=-1"),
    ("REDIS_URL", "redis://127.0.0.1?color=blue"),
    ("REDIS_URL", "redis://[::1"),
    ("REDIS_CACHE_URL", "redis://127.0.0.1:1/foo"),
    ("RATELIMIT", "sometimes"),
    ("MESSAGE_MAX_LENGTH", "-1"),
    ("MESSAGE_MAX_LENGTH", "1.5"),
    ("MESSAGE_MAX_LENGTH", "abc"),
    ("MESSAGE_MAX_LENGTH", "0"),
    ("MESSAGE_MAX_LENGTH", "16001"),
    ("TIME_ZONE", "Foo"),
    ("TIME_ZONE", "Europe"),
    ("TIME_ZONE", "/etc/passwd"),
    ("LOG_LEVEL", "foo"),
    ("DEBUG", "maybe"),
    ("SIGNUP", "closed"),
    ("PUBLIC_URL", "chat.example.org"),
    ("PUBLIC_URL", "https://a:xx"),
    ("PUBLIC_URL", "https://a:99999"),
    ("PUBLIC_URL", "https://[::1"),
    ("PUBLIC_URL", "https://a.example/chat"),
    ("PUBLIC_URL", "https://alice@a.example"),
    ("TRUSTED_PROXIES", "xx"),
    ("TRUSTED_PROXIES", "10.0.0.0/8, 10.0.0.999"),
    ("DATABASE_URL", "garbage"),
    ("DATABASE_URL", "postgres://h"),
    ("DATABASE_URL", "postgres://h:port/x"),
    ("DATABASE_URL", "mysql://h/x"),
    ("EMAIL_URL", "garbage"),
    ("EMAIL_URL", "smtp://"),
    ("EMAIL_URL", "smtp://h:port"),
]


@pytest.fixture
def run_settings(monkeypatch, tmp_path):
    """Call with variables: what the settings file makes of them."""

    def run(**env):
        for name in DOCUMENTED:
            monkeypatch.delenv(name, raising=False)
        for name, value in {"VAR_DIR": str(tmp_path), "SECRET_KEY": "k" * 50, **env}.items():
            monkeypatch.setenv(name, value)
        return runpy.run_path(str(ROOT / "intellicolab" / "settings.py"))

    return run


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_value_that_cannot_be_right_is_one_sentence_that_names_its_variable(run_settings, name, value):
    with pytest.raises(ImproperlyConfigured, match=f"^{name} [^\n]+$"):
        run_settings(**{name: value})


@pytest.mark.parametrize("name", ["REDIS_URL", "DATABASE_URL", "EMAIL_URL"])
def test_a_password_in_a_wrong_value_is_not_shown(run_settings, name):
    with pytest.raises(ImproperlyConfigured) as caught:
        run_settings(**{name: "redis://:s3cret/x@h:1/a"})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(set(DOCUMENTED) - {"HOST", "PORT", "SERVER", "VAR_DIR", "SECRET_KEY"}))
def test_an_empty_variable_is_one_that_is_not_set(run_settings, name):
    constants = [{k: v for k, v in run_settings(**env).items() if k.isupper()} for env in ({}, {name: ""})]
    assert constants[0] == constants[1]


@pytest.mark.parametrize(
    ("env", "name", "value"),
    [
        ({"DEBUG": "True"}, "DEBUG", True),
        ({"DEBUG": "off"}, "DEBUG", False),
        ({"RATELIMIT": " off "}, "RATELIMIT_ENABLED", False),
        ({"MESSAGE_MAX_LENGTH": " 7 "}, "MESSAGE_MAX_LENGTH", 7),
        ({"LOG_LEVEL": "warning"}, "LOG_LEVEL", "WARNING"),
        ({"TIME_ZONE": "Europe/Berlin"}, "TIME_ZONE", "Europe/Berlin"),
        ({"PUBLIC_URL": "https://a.example:8443/"}, "CSRF_TRUSTED_ORIGINS", ["https://a.example:8443"]),
        ({"TRUSTED_PROXIES": "10.0.0.0/8, unix,"}, "TRUSTED_PROXIES", ["10.0.0.0/8", "unix"]),
        ({"EMAIL_URL": "smtp+tls://u:p@h:587"}, "EMAIL_HOST", "h"),
        ({"EMAIL_URL": "consolemail://"}, "EMAIL_BACKEND", "django.core.mail.backends.console.EmailBackend"),
    ],
)
def test_what_is_set_is_taken(run_settings, env, name, value):
    assert run_settings(**env)[name] == value


def test_a_database_may_have_any_password(run_settings):
    database = run_settings(DATABASE_URL="postgresql://u:p%40%23@h:5433/x")["DATABASES"]["default"]
    assert (database["PASSWORD"], database["HOST"], database["PORT"]) == ("p@#", "h", 5433)


def test_security_headers(client, db, alice):
    answer = client.get("/accounts/login/")
    policy = answer.headers["Content-Security-Policy"]
    assert "unsafe-inline" not in policy
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"


def test_production_settings_pass_the_deployment_check(tmp_path):
    result = check_deployment(tmp_path, TRUSTED_PROXIES="10.0.0.5")
    assert result.returncode == 0, result.stderr


def test_https_without_a_trusted_proxy_is_warned_of(tmp_path):
    result = check_deployment(tmp_path)
    assert result.returncode == 1
    assert "intellicolab.W003" in result.stderr
    assert "Set TRUSTED_PROXIES" in result.stderr


def check_deployment(var, **env):
    env |= {"VAR_DIR": str(var), "SECRET_KEY": os.urandom(40).hex(), "PUBLIC_URL": "https://chat.example.org"}
    return subprocess.run(
        [sys.executable, "-W", "error", "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT, env={**without_ours(), **env}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
