"""Django settings of the tests, and of the workers that the tests start.

DATABASE_URL names the database. Without it each process makes an SQLite file of its
own: a file, not memory, so that real worker processes can open it too.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import django
import environ


def _own_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="dw-"))
    owner = os.getpid()

    def remove() -> None:
        # A forked child runs this too when it ends in the ordinary way.
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder


def _database() -> dict[str, Any]:
    url = (
        os.environ.get("DATABASE_URL") or f"sqlite:///{_own_folder() / 'main.sqlite3'}"
    )
    database: dict[str, Any] = environ.Env.db_url_config(url)
    options: dict[str, Any] = {**database.get("OPTIONS", {})}
    if database["ENGINE"] == "django.db.backends.sqlite3":
        # As a production SQLite is set up: readers beside the one writer, the write
        # lock taken at the start of a transaction, and patience.
        options["init_command"] = (
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL"
        )
        options["transaction_mode"] = "IMMEDIATE"
        options["timeout"] = 20
        database["TEST"] = {"NAME": f"{database['NAME']}.test"}
    if "host" in options:
        # The folder of a Unix socket, which a URL can only name in its query.
        database["HOST"] = options.pop("host")
    database["OPTIONS"] = options
    return database


SECRET_KEY = "only-for-tests"
DEBUG = False
ALLOWED_HOSTS = ["*"]
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"

DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_workers",
    "tests",
]

TASKS = {
    "default": {"BACKEND": "django_workers.backend.DatabaseBackend", "QUEUES": []},
}

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
if django.VERSION >= (6, 0):
    # Pages of ours must work where nothing inline is allowed.
    MIDDLEWARE += ["django.middleware.csp.ContentSecurityPolicyMiddleware"]
    SECURE_CSP = {"default-src": ["'self'"]}

ROOT_URLCONF = "tests.urls"
STATIC_URL = "static/"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# A slow hash protects nobody here and costs every log-in of the tests.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
