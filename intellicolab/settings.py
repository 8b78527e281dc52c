"""Settings from environment variables; `docs/configuration.md` documents each one, and a test compares.

Production is the default: DEBUG is off, the policy is strict, and what is needed but missing stops the start with a
sentence that says what to do.
"""

import os
import secrets
from pathlib import Path
from urllib.parse import urlsplit

import environ
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

env = environ.Env()

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(env.str("VAR_DIR", default=str(BASE_DIR / "var"))).resolve()


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

DEBUG = env.bool("DEBUG", default=False)
# The address people use, such as https://chat.example.org. Its scheme decides on Secure cookies and HSTS.
PUBLIC_URL = env.str("PUBLIC_URL", default="").rstrip("/")
_public = urlsplit(PUBLIC_URL)
if PUBLIC_URL and (_public.scheme not in ("http", "https") or not _public.hostname):
    raise ImproperlyConfigured(
        f"PUBLIC_URL is {PUBLIC_URL!r}; it must look like https://chat.example.org (scheme and host)."
    )
SECURE = _public.scheme == "https"
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]", *env.list("ALLOWED_HOSTS", default=[])]
if _public.hostname:
    ALLOWED_HOSTS.append(_public.hostname)
CSRF_TRUSTED_ORIGINS = [f"{_public.scheme}://{_public.netloc}"] if PUBLIC_URL else []
# Networks of reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.
TRUSTED_PROXIES = env.list("TRUSTED_PROXIES", default=[])

DATABASE_URL = env.str("DATABASE_URL", default="")
SECRET_KEY = env.str("SECRET_KEY", default="")
if not SECRET_KEY:
    if DATABASE_URL or PUBLIC_URL or len(ALLOWED_HOSTS) > 3:
        raise ImproperlyConfigured(
            "SECRET_KEY is not set, but DATABASE_URL, PUBLIC_URL or ALLOWED_HOSTS is: every process of a public "
            "installation must share one key. Make one with "
            "python -c 'import secrets; print(secrets.token_urlsafe(50))' and set SECRET_KEY."
        )
    SECRET_KEY = generated_secret_key()

# --- Applications ------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "intellicolab",
    "accounts",
    "ratelimit",
    "realtime",
    "intellicolab.dashboard",
    "intellicolab.dashboard.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "csp",
    "allauth",
    "allauth.account",
    "allauth.mfa",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "ratelimit.middleware.RateLimitMiddleware",
    "accounts.middleware.SessionMiddleware",
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

SITE_NAME = env.str("SITE_NAME", default="IntelliColab")

# --- Database ----------------------------------------------------------------------------------------------------

if DATABASE_URL:
    DATABASES = {"default": {**env.db_url_config(DATABASE_URL), "CONN_HEALTH_CHECKS": True}}
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
REDIS_EMBEDDED = not env.str("REDIS_URL", default="")
_state_url = env.str("REDIS_URL", default="") or f"unix://{REDIS_DIR / 'valkey.sock'}?db=0"


def beside(url: str) -> str:
    """The next logical database of the same server: where the cache goes when REDIS_CACHE_URL names no other."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        base, _, query = url.partition("?db=")
        return f"{base}?db={int(query or 0) + 1}"
    db = int(parts.path.strip("/") or 0)
    return parts._replace(path=f"/{db + 1}").geturl()


REDIS_URLS = {
    "state": _state_url,
    "cache": env.str("REDIS_CACHE_URL", default="") or beside(_state_url),
}

_CACHE = {
    "BACKEND": "django_redis.cache.RedisCache",
    "OPTIONS": {
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
SESSION_COOKIE_AGE = 24 * 60 * 60
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
SIGNUP = env.str("SIGNUP", default="invitation")
if SIGNUP not in ("open", "invitation"):
    raise ImproperlyConfigured(f"SIGNUP is {SIGNUP!r}; it must be 'open' or 'invitation'.")

# The set-up page asks for this code when the server is reachable from other machines; `serve` makes and prints it.
SETUP_CODE = env.str("SETUP_CODE", default="")

# --- Email -------------------------------------------------------------------------------------------------------

EMAIL_URL = env.str("EMAIL_URL", default="")
if EMAIL_URL:
    vars().update(env.email_url_config(EMAIL_URL))
else:
    EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    EMAIL_FILE_PATH = VAR_DIR / "mail"
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default=f"{SITE_NAME} <no-reply@{_public.hostname or 'localhost'}>")
SERVER_EMAIL = DEFAULT_FROM_EMAIL

ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_FORMS = {"signup": "accounts.signup.SignupForm"}
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_USER_MODEL_EMAIL_FIELD = "email"
ACCOUNT_UNIQUE_EMAIL = True
# A confirmation that nobody can receive would lock everyone out, so it is asked for only where mail really goes out.
ACCOUNT_EMAIL_VERIFICATION = "mandatory" if EMAIL_URL else "none"
ACCOUNT_EMAIL_SUBJECT_PREFIX = f"[{SITE_NAME}] "
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if SECURE else "http"
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = False
ACCOUNT_SESSION_REMEMBER = True
# allauth's own limits read, sleep and write as separate steps; ours decide in one script (see ratelimit).
ACCOUNT_RATE_LIMITS = False
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_TOTP_ISSUER = SITE_NAME
# One step of 30 seconds either way, for telephones whose clock is a little off (RFC 6238, section 5.2).
MFA_TOTP_TOLERANCE = 1

# --- Limits ------------------------------------------------------------------------------------------------------

# Requests a minute from one client address; static files and health checks are not counted.
RATELIMIT_REQUESTS = env.int("RATELIMIT_REQUESTS", default=100)

# --- Real time ---------------------------------------------------------------------------------------------------

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {
            # The layer's calls hold one lock, so a paused Redis may hold it only this long (seconds).
            "hosts": [{"address": _state_url, "socket_timeout": 1.0, "socket_connect_timeout": 1.0}],
            "prefix": "ic:layer",
        },
    }
}
MESSAGE_MAX_LENGTH = env.int("MESSAGE_MAX_LENGTH", default=8000)
if not 0 < MESSAGE_MAX_LENGTH <= 16_000:  # four bytes a character fit the 64 KiB of a frame
    raise ImproperlyConfigured(f"MESSAGE_MAX_LENGTH is {MESSAGE_MAX_LENGTH}; it must be from 1 to 16000.")

# --- Web security ------------------------------------------------------------------------------------------------

SECURE_SSL_REDIRECT = SECURE
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
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
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "intellicolab.staticfiles.ModuleManifestStorage"},
}

# --- Language and time -------------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
USE_I18N = True
USE_TZ = True
TIME_ZONE = env.str("TIME_ZONE", default="UTC")

# --- Logging -----------------------------------------------------------------------------------------------------

LOG_LEVEL = env.str("LOG_LEVEL", default="INFO").upper()
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
