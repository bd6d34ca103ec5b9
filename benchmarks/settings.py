"""A stock Django project, as a benchmark's workers and enqueuers load it.

DATABASE_URL names the database. Logging is Django's default unless DW_QUIET is set:
then the logger of Django's tasks stands at WARNING, and the figures say so.
"""

import os
from pathlib import Path
from typing import Any

import environ

SECRET_KEY = "only-for-benchmarks"
USE_TZ = True
DEBUG = False
ROOT_URLCONF = "benchmarks.urls"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django_workers",
    "benchmarks",
]


def _database() -> dict[str, Any]:
    database: dict[str, Any] = environ.Env.db_url_config(os.environ["DATABASE_URL"])
    options: dict[str, Any] = {**database.get("OPTIONS", {})}
    if "host" in options:
        database["HOST"] = options.pop("host")
    if database["ENGINE"] == "django.db.backends.sqlite3":
        options["init_command"] = (
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL"
        )
        options["transaction_mode"] = "IMMEDIATE"
        options["timeout"] = 20
        Path(database["NAME"]).parent.mkdir(parents=True, exist_ok=True)
    database["OPTIONS"] = options
    return database


DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TASKS = {
    "default": {"BACKEND": "django_workers.backend.DatabaseBackend", "QUEUES": []},
}
if os.environ.get("DW_QUIET"):
    LOGGING = {
        "version": 1,
        "disable_existing_loggers": False,
        "loggers": {
            name: {"level": "WARNING"} for name in ("django.tasks", "django_tasks")
        },
    }
