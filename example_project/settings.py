"""Settings of the example site.

What differs from place to place comes from the environment, or from a file `.env`
beside `manage.py`; `.env.example` says what each name means. Without any of it DEBUG is
off, and the site refuses to start without a SECRET_KEY of its own.
"""

from pathlib import Path
from typing import Any

import django
import environ

BASE_DIR = Path(__file__).resolve().parent.parent
# What the running site writes: pictures and, while developing, e-mail.
VAR_DIR = BASE_DIR / "example_project" / "var"

env = environ.Env()
environ.Env.read_env(BASE_DIR / ".env")

DEBUG = env.bool("DEBUG", default=False)
if DEBUG:
    SECRET_KEY = env.str("SECRET_KEY", default="only-for-development")
else:
    SECRET_KEY = env.str("SECRET_KEY")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[])

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_workers",
    "example_project.atlas",
]

# Databases


def database(name: str, **defaults: Any) -> dict[str, Any]:
    """Read a DATABASE_URL; make an SQLite fit for a site and its workers."""
    config: dict[str, Any] = env.db_url(name, **defaults)
    if config["ENGINE"] == "django.db.backends.sqlite3":
        config["OPTIONS"] = {
            # Readers beside the one writer.
            "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL",
            # The write lock is taken when a transaction begins, where waiting for it
            # works, and not in its middle, where it fails at once.
            "transaction_mode": "IMMEDIATE",
            # Seconds to wait for it.
            "timeout": 20,
            **config.get("OPTIONS", {}),
        }
    return config


DATABASES = {
    "default": database("DATABASE_URL", default=f"sqlite:///{BASE_DIR / 'db.sqlite3'}")
}
# A view's changes and the jobs it enqueues are stored together, or not at all.
DATABASES["default"]["ATOMIC_REQUESTS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Background tasks

TASKS: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "django_workers.backend.DatabaseBackend",
        # A call that names another queue is refused: that is how typing errors show.
        "QUEUES": ["default", "imports", "pictures", "mail"],
    },
}
DJANGO_WORKERS = {
    # Jobs at a time in one `runworkers`, over all its processes.
    "CONCURRENCY": env.int("JOB_CONCURRENCY", default=5),
    # Seconds one attempt may take unless its task says otherwise.
    "TIMEOUT": env.int("JOB_TIMEOUT", default=300_000) / 1000,
}

if env.str("QUEUE_DATABASE_URL", default=""):
    # The queue in a database of its own: these settings, and `enqueue_on_commit()`
    # for what must not run before the data it works on is there.
    DATABASES["queue"] = database("QUEUE_DATABASE_URL")
    DATABASE_ROUTERS = ["example_project.routers.QueueRouter"]
    TASKS["default"]["OPTIONS"] = {"DATABASE": "queue"}

# Web

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
if django.VERSION >= (6, 0):
    # Nothing inline and nothing from elsewhere, on this site or in its admin.
    MIDDLEWARE += ["django.middleware.csp.ContentSecurityPolicyMiddleware"]
    SECURE_CSP = {"default-src": ["'self'"]}

ROOT_URLCONF = "example_project.urls"
WSGI_APPLICATION = "example_project.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.debug",
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
if DEBUG:
    # Lets demo/demo in, which `make demo` prints. See the module.
    AUTHENTICATION_BACKENDS += ["example_project.atlas.demo_login.DemoLogin"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LANGUAGE_CODE = "en"
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
MEDIA_URL = "media/"
MEDIA_ROOT = VAR_DIR / "media"
STORAGES = {
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        # A picture drawn again, or by a job that ran twice, takes the old one's place.
        "OPTIONS": {"allow_overwrite": True},
    },
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage",
    },
}

if DEBUG:
    # Whom templates may tell about it.
    INTERNAL_IPS = ["127.0.0.1"]
else:
    # Everything over HTTPS, also behind a proxy that ends it and says so.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = 3600
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

# E-mail: into files while developing, to the machine's own mail server otherwise.

DEFAULT_FROM_EMAIL = "Atlas <atlas@example.com>"
SERVER_EMAIL = DEFAULT_FROM_EMAIL
EMAIL_SUBJECT_PREFIX = "[Atlas] "
ADMINS: list[Any] = ["admin@example.com"]
if django.VERSION < (6, 0):
    ADMINS = [("Admin", "admin@example.com")]

OUTBOX_DIR = VAR_DIR / "outbox"
_BACKENDS = "django.core.mail.backends"
if django.VERSION < (6, 1):
    EMAIL_BACKEND = f"{_BACKENDS}.{'filebased' if DEBUG else 'smtp'}.EmailBackend"
    EMAIL_FILE_PATH = OUTBOX_DIR
elif DEBUG:
    MAILERS = {
        "default": {
            "BACKEND": f"{_BACKENDS}.filebased.EmailBackend",
            "OPTIONS": {"file_path": OUTBOX_DIR},
        },
    }
else:
    MAILERS = {"default": {"BACKEND": f"{_BACKENDS}.smtp.EmailBackend"}}

# Logs: to the terminal, one line each.

QUIETER = {"handlers": ["terminal"], "level": "WARNING", "propagate": False}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{levelname} {message}", "style": "{"}},
    "handlers": {"terminal": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {
        "example_project": {"handlers": ["terminal"], "level": "INFO"},
        # What Django says of tasks that fail. Not handed on, or it would write to the
        # admins besides our listener, and at its level INFO of each start and end.
        "django.tasks": QUIETER,
        "django_tasks": QUIETER,
    },
}
