"""Settings from environment variables; `docs/configuration.md` documents each one, and a test compares.

Production is the default: DEBUG is off, the policy is strict, and what is needed but missing stops the start with a
sentence that says what to do.
"""

import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from environ import Env

from intellicolab.redis import addresses, keys
from ratelimit.address import TrustedProxies

BASE_DIR = Path(__file__).resolve().parent.parent

# --- Reading the environment -------------------------------------------------------------------------------------


def env_str(name: str, default: str = "") -> str:
    """The variable without space around it. An empty one counts as not set: Compose passes on what it has not."""
    return os.environ.get(name, "").strip() or default


def wrong(name: str, must: str) -> ImproperlyConfigured:
    """The sentence that stops the start; it shows the value, so it is not for those that may hold a password."""
    return ImproperlyConfigured(f"{name} is {env_str(name)!r}; it must be {must}.")


def unreadable(name: str, example: str) -> ImproperlyConfigured:
    """The same for a value that may hold a password and is not shown."""
    return ImproperlyConfigured(f"{name} cannot be understood; it must look like {example}.")


def env_bool(name: str, default: str = "false") -> bool:
    value = env_str(name, default).lower()
    if value not in ("true", "yes", "on", "1", "false", "no", "off", "0"):
        raise wrong(name, "true or false")
    return value in ("true", "yes", "on", "1")


def env_int(name: str, default: int, lowest: int, highest: int) -> int:
    value = env_str(name, str(default))
    if not re.fullmatch(r"[0-9]{1,10}", value) or not lowest <= int(value) <= highest:
        raise wrong(name, f"a number from {lowest} to {highest}")
    return int(value)


def env_choice(name: str, default: str, choices: Sequence[str]) -> str:
    value = env_str(name, default).lower()
    for choice in choices:
        if choice.lower() == value:
            return choice
    raise wrong(name, " or ".join(map(repr, choices)))


def env_list(name: str) -> list[str]:
    return [word.strip() for word in env_str(name).split(",") if word.strip()]


def env_origin(name: str) -> str:
    """Scheme, host and port, without a slash at the end: nothing here can be served below a path."""
    try:
        parts = urlsplit(env_str(name).rstrip("/"))
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:  # a port or an IPv6 address that is none
        good = False
    if env_str(name) and not (good and not parts.path and not parts.query and "@" not in parts.netloc):
        raise ImproperlyConfigured(
            f"{name} is {env_str(name)!r}; it must look like https://chat.example.org (scheme and host)."
        )
    return f"{parts.scheme}://{parts.netloc}" if good else ""


def env_zone(name: str) -> str:
    value = env_str(name, "UTC")
    system = Path("/usr/share/zoneinfo")  # where there is one, Django takes only its zones
    if value != "UTC" and (value not in available_timezones() or (system.exists() and not (system / value).exists())):
        raise wrong(name, "a time zone such as Europe/Berlin")
    return value


def env_database(name: str) -> dict[str, Any]:
    """Django's settings of a PostgreSQL database; empty when the variable is."""
    try:
        config = Env.db_url_config(env_str(name)) if re.match("postgres(ql)?://", env_str(name)) else {}
    except ValueError:
        config = {}
    if env_str(name) and not config.get("NAME"):
        raise unreadable(name, "postgres://user:password@host:5432/name")
    return config


# In the place of Django's, ways to send of which an email's sender learns what may be repeated.
OWN_MAIL = {
    "django.core.mail.backends.smtp.EmailBackend": "intellicolab.mail.smtp.EmailBackend",
    "django.core.mail.backends.filebased.EmailBackend": "intellicolab.mail.files.EmailBackend",
}


def env_email(name: str) -> dict[str, Any]:
    """Django's settings of a way to send mail; empty when the variable is."""
    try:
        config = Env.email_url_config(env_str(name)) if env_str(name) else {}
    except (ValueError, ImproperlyConfigured):
        config = {}
    smtp = "smtp" in config.get("EMAIL_BACKEND", "smtp")
    if env_str(name) and smtp and not config.get("EMAIL_HOST"):
        raise unreadable(name, "smtp+tls://user:password@host:587")
    if config:
        config["EMAIL_BACKEND"] = OWN_MAIL.get(config["EMAIL_BACKEND"], config["EMAIL_BACKEND"])
    return config


def env_redis(name: str) -> str:
    """An address that clients can be built from, as it was given."""
    try:
        if env_str(name):
            addresses.parse(env_str(name))
    except addresses.AddressError as error:  # shows neither user nor password
        raise ImproperlyConfigured(f"{name} cannot be understood: {error}") from None
    return env_str(name)


def beside(url: str) -> str:
    """Where the cache goes when REDIS_CACHE_URL names no other place: the next logical database of the same server."""
    try:
        return addresses.beside(url)
    except addresses.AddressError:
        raise ImproperlyConfigured(
            "REDIS_URL names a Cluster, so REDIS_CACHE_URL must be set, to another Cluster or server: a Cluster has "
            "only one database, and clearing the cache would delete every session in it."
        ) from None


VAR_DIR = Path(env_str("VAR_DIR", str(BASE_DIR / "var"))).resolve()


def generated_secret_key() -> str:
    """The key kept in `var/secret_key`, made at the first start; O_EXCL settles two first starts at once."""
    path = VAR_DIR / "secret_key"
    try:
        VAR_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(50))
    except FileExistsError:
        pass
    except OSError as error:
        raise ImproperlyConfigured(
            f"{VAR_DIR} cannot be written ({error.strerror}). Make it writable, or set VAR_DIR to another folder."
        ) from error
    return path.read_text()


# --- Where it runs -----------------------------------------------------------------------------------------------

DEBUG = env_bool("DEBUG")
# The address people use, such as https://chat.example.org. Its scheme decides on Secure cookies and HSTS.
PUBLIC_URL = env_origin("PUBLIC_URL")
_public = urlsplit(PUBLIC_URL)
SECURE = _public.scheme == "https"
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]", *env_list("ALLOWED_HOSTS")]
if _public.hostname:
    ALLOWED_HOSTS.append(_public.hostname)
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL] if PUBLIC_URL else []
# Networks of reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.
TRUSTED_PROXIES = env_list("TRUSTED_PROXIES")
TrustedProxies.parse(TRUSTED_PROXIES)  # raises ImproperlyConfigured, here and not in each web process

_database = env_database("DATABASE_URL")
SECRET_KEY = env_str("SECRET_KEY")
if not SECRET_KEY:
    if _database or PUBLIC_URL or len(ALLOWED_HOSTS) > 3:
        raise ImproperlyConfigured(
            "SECRET_KEY is not set, but DATABASE_URL, PUBLIC_URL or ALLOWED_HOSTS is: every process of a public "
            "installation must share one key. Make one with "
            "python -c 'import secrets; print(secrets.token_urlsafe(50))' and set SECRET_KEY."
        )
    SECRET_KEY = generated_secret_key()

# --- Applications ------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "intellicolab",
    "intellicolab.cache",
    "intellicolab.events",
    "intellicolab.jobs",
    "accounts",
    "ratelimit",
    "realtime",
    "intellicolab.audit",
    "intellicolab.dashboard",
    "intellicolab.dashboard.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "csp",
    "django_tasks",
    "allauth",
    "allauth.account",
    "allauth.mfa",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "accounts.middleware.SessionMiddleware",
    "ratelimit.middleware.RateLimitMiddleware",
    "accounts.middleware.ZoneMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "accounts.middleware.SetupMiddleware",
]

ROOT_URLCONF = "intellicolab.urls"
ASGI_APPLICATION = "intellicolab.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "accounts.context.site",
            ],
        },
    },
]

SITE_NAME = env_str("SITE_NAME", "IntelliColab")

# Monitors ask these of an installation in any state, over whatever scheme, and as often as they like.
HEALTH_PATHS = frozenset({"/healthz", "/readyz"})

# --- Database ----------------------------------------------------------------------------------------------------

DATABASES: dict[str, dict[str, Any]]
if _database:
    DATABASES = {"default": {**_database, "CONN_HEALTH_CHECKS": True}}
else:
    DATABASES = {
        "default": {
            "ENGINE": "intellicolab.sqlite",
            "NAME": VAR_DIR / "db.sqlite3",
            "TEST": {"NAME": VAR_DIR / "test.sqlite3"},  # a file: the tests' threads meet real locks, not memory
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                # WAL lets readers go on while one writes; FULL makes an acknowledged message survive a power cut.
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;",
            },
        }
    }
# The thread pool of the one-hop handler keeps its connections; they are checked and renewed between requests.
DATABASES["default"]["CONN_MAX_AGE"] = 600
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Redis -------------------------------------------------------------------------------------------------------

# Without REDIS_URL, `serve` starts an embedded Valkey in VAR_DIR/redis, and every command finds it there.
REDIS_DIR = VAR_DIR / "redis"
_redis = env_redis("REDIS_URL")
REDIS_EMBEDDED = not _redis
_state_url = _redis or f"unix://{REDIS_DIR / 'valkey.sock'}?db=0"
REDIS_URLS = {
    "state": _state_url,
    "cache": env_redis("REDIS_CACHE_URL") or beside(_state_url),
}

_CACHE = {
    "BACKEND": "intellicolab.redis.django_cache.Cache",
    "OPTIONS": {
        "CLIENT_CLASS": "intellicolab.redis.django_client.CacheClient",
        "CONNECTION_FACTORY": "intellicolab.redis.factory.RoleConnectionFactory",
        "SERIALIZER": "intellicolab.redis.codec.JSONSerializer",
    },
}
CACHES = {
    "default": {**_CACHE, "LOCATION": "role://cache", "KEY_PREFIX": "ic"},
    "sessions": {**_CACHE, "LOCATION": "role://state", "KEY_PREFIX": "ic:session"},
}

# --- Sessions and sign-in ----------------------------------------------------------------------------------------

SESSION_ENGINE = "accounts.sessions"
SESSION_CACHE_ALIAS = "sessions"
SESSION_COOKIE_AGE = keys.SESSION_TTL
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = SECURE
CSRF_COOKIE_SECURE = SECURE
CSRF_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "intellicolab.errors.csrf_failure"
# In a cookie of their own as long as they fit: a message costs no write to Redis and needs none.
MESSAGE_STORAGE = "django.contrib.messages.storage.fallback.FallbackStorage"

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator",
        "OPTIONS": {"user_attributes": ("email", "display_name")},
    },
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "account_login"

# Who may make an account after the set-up: anyone ("open"), or who holds an invitation link ("invitation").
SIGNUP = env_choice("SIGNUP", "invitation", ("open", "invitation"))

# The set-up page asks for this code; where other machines reach the installation, `serve` makes and prints one.
SETUP_CODE = env_str("SETUP_CODE")

# --- Email -------------------------------------------------------------------------------------------------------

_email = env_email("EMAIL_URL")
if _email:
    vars().update(_email)
else:
    EMAIL_BACKEND = "intellicolab.mail.files.EmailBackend"
    EMAIL_FILE_PATH = VAR_DIR / "mail"
# Seconds for each answer of a mail server. Django's default is to wait for ever, which would stop a worker's group.
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env_str("DEFAULT_FROM_EMAIL", f"{SITE_NAME} <no-reply@{_public.hostname or 'localhost'}>")
SERVER_EMAIL = DEFAULT_FROM_EMAIL

ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_FORMS = {"signup": "accounts.signup.SignupForm"}
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_USER_MODEL_EMAIL_FIELD = "email"
ACCOUNT_UNIQUE_EMAIL = True
# A confirmation that nobody can receive would lock everyone out, so it is asked for only where mail really goes out.
ACCOUNT_EMAIL_VERIFICATION = "mandatory" if _email else "none"
ACCOUNT_EMAIL_SUBJECT_PREFIX = f"[{SITE_NAME}] "
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if SECURE else "http"
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = False
ACCOUNT_SESSION_REMEMBER = True
# allauth's own limits read, sleep and write as separate steps; ours decide in one script (see ratelimit).
ACCOUNT_RATE_LIMITS = False
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_TOTP_ISSUER = SITE_NAME
MFA_FORMS = {
    "authenticate": "accounts.attempts.AuthenticateForm",
    "reauthenticate": "accounts.attempts.ReauthenticateForm",
}
# One step of 30 seconds either way, for telephones whose clock is a little off (RFC 6238, section 5.2).
MFA_TOTP_TOLERANCE = 1

# --- Limits ------------------------------------------------------------------------------------------------------

# The limits themselves are policies, edited in the admin; this switches all of them off at once.
RATELIMIT_ENABLED = env_bool("RATELIMIT", default="true")
# A monitor must learn the truth however busy its neighbours behind one address are.
RATELIMIT_EXEMPT = HEALTH_PATHS
RATELIMIT_API_KEY_HEADER = "X-API-Key"
# The module with `tier_of` and `atier_of`: what a person counts as, without a query.
RATELIMIT_TIERS = "accounts.tiers"
# So many refusals of one identity by one policy within ten minutes send the signal `refused_repeatedly`.
RATELIMIT_REPEATED = 100

# --- Real time ---------------------------------------------------------------------------------------------------

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "intellicolab.layers.ChannelLayer",
        "CONFIG": {
            # The layer's calls hold one lock, so a paused Redis may hold it only this long (seconds).
            "hosts": [
                {
                    "address": _state_url,
                    "socket_timeout": 1.0,
                    "socket_connect_timeout": 1.0,
                    "client_name": "intellicolab-state-layer",
                    # A subscriber only listens, so it would not notice a server that vanished without a word.
                    "health_check_interval": 5,
                }
            ],
            "prefix": "ic:layer",
        },
    }
}
# Characters; four bytes each fit the 64 KiB of a frame.
MESSAGE_MAX_LENGTH = env_int("MESSAGE_MAX_LENGTH", 8000, 1, 16_000)

# --- Audit log ---------------------------------------------------------------------------------------------------

# Days that an entry is kept.
AUDIT_DAYS = env_int("AUDIT_DAYS", 365, 1, 36_500)

# --- Web security ------------------------------------------------------------------------------------------------

SECURE_SSL_REDIRECT = SECURE
SECURE_REDIRECT_EXEMPT = [f"^{path[1:]}$" for path in sorted(HEALTH_PATHS)]
SECURE_HSTS_SECONDS = 365 * 24 * 60 * 60 if SECURE else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE
SECURE_HSTS_PRELOAD = SECURE
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# No inline script or style anywhere, the admin included. `data:` images: allauth draws the TOTP QR code as one.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_621_440
AVATAR_MAX_BYTES = 5 * 1024 * 1024

# --- Static files and uploads ------------------------------------------------------------------------------------

STATIC_URL = "/static/"
STATIC_ROOT = VAR_DIR / "static"
MEDIA_ROOT = VAR_DIR / "media"
# Below no address: each file is for one person, and only a view that has asked who it is hands it out.
EXPORTS_DIR = VAR_DIR / "exports"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "intellicolab.staticfiles.ModuleManifestStorage"},
}

# --- Language and time -------------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
USE_I18N = True
USE_TZ = True
TIME_ZONE = env_zone("TIME_ZONE")

# --- Logging -----------------------------------------------------------------------------------------------------

LOG_LEVEL = env_choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"))
# "bulk" is for what may take long: a worker of its own can serve it. By default every worker serves all queues.
TASKS = {
    "default": {
        "BACKEND": "intellicolab.jobs.backend.RedisBackend",
        "QUEUES": ["default", "bulk"],
        "OPTIONS": {"LIMITER": "ratelimit.jobs.wait"},
    }
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"without_outages": {"()": "intellicolab.redis.logs.WithoutOutages"}},
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        "intellicolab": {"level": LOG_LEVEL},
        "accounts": {"level": LOG_LEVEL},
        "ratelimit": {"level": LOG_LEVEL},
        "realtime": {"level": LOG_LEVEL},
        "channels_redis.pubsub": {"filters": ["without_outages"]},
        "django.server": {"level": LOG_LEVEL},
    },
}
