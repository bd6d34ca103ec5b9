"""System checks: each mistake has its id and a hint that says the fix."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from django.core import checks as django_checks
from django.db import connection, connections

import django_workers.checks
from django_workers import exponential, fixed, linear, task
from django_workers.checks import (
    check_backend,
    check_database_servers,
    check_databases,
    check_jitter,
    check_settings,
    check_tasks,
    check_timeouts,
)
from django_workers.checks import databases as database_checks
from django_workers.checks import tasks as task_checks
from django_workers.checks.backends import check_backoff
from django_workers.checks.databases import (
    SQLITE_OPTIONS,
    server_version,
    sqlite_problems,
)
from django_workers.compat import task_backends
from tests.support import ROOT

OURS = "django_workers.backend.DatabaseBackend"
GOOD_SQLITE = {
    "init_command": "PRAGMA journal_mode=WAL",
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
}


@task(name="checks:sound")
def sound() -> None:
    pass


@task(name="checks:eager", max_attempts=3, backoff=fixed(5))
def eager() -> None:
    pass


@task(name="checks:gentle", max_attempts=3, backoff=exponential(initial=2))
def gentle() -> None:
    pass


@task(name="checks:at_once", max_attempts=3, backoff=fixed(0))
def at_once() -> None:
    pass


@task(name="checks:once", backoff=linear(5))
def once() -> None:
    pass


def ids(messages: Any) -> list[str]:
    """Say which messages there are, having seen that each has a hint."""
    for message in messages:
        assert message.hint, message
    return [message.id.removeprefix("django_workers.") for message in messages]


def with_options(settings: Any, **options: Any) -> list[Any]:
    settings.TASKS = {"default": {"BACKEND": OURS, "QUEUES": [], "OPTIONS": options}}
    return check_backend(task_backends["default"])


def as_database(
    monkeypatch: pytest.MonkeyPatch, *, vendor: str = "sqlite", **settings_dict: Any
) -> None:
    """Let the queue's database look like another one."""
    fake = SimpleNamespace(
        vendor=vendor,
        alias="default",
        display_name=vendor.title(),
        settings_dict={"NAME": "/nowhere/db.sqlite3", "OPTIONS": GOOD_SQLITE}
        | settings_dict,
    )
    monkeypatch.setattr(database_checks, "connections", {"default": fake})


# The table in the docstring


def test_every_id_is_in_the_table_and_used():
    documented = set(re.findall(r"(?m)^([EWI]\d{3}) ", django_workers.checks.__doc__))
    folder = Path(django_workers.checks.__file__).parent
    code = "".join(path.read_text() for path in folder.glob("*.py"))
    used = set(re.findall(r"[}.]([EWI]\d{3})\"", code))

    assert documented == used


def test_the_projects_own_settings_are_sound():
    assert [*check_settings(), *check_databases(), *check_tasks()] == []
    assert check_backend(task_backends["default"]) == []


def test_django_runs_them_under_one_tag():
    found = {
        check.__name__
        for check in django_checks.registry.registry.get_checks(
            include_deployment_checks=True
        )
        if "tasks" in check.tags
    }

    assert found >= {
        "check_settings",
        "check_databases",
        "check_database_servers",
        "check_tasks",
        "check_jitter",
        "check_timeouts",
    }


def test_djangos_own_check_of_tasks_asks_the_backend(settings: Any):
    settings.TASKS = {"default": {"BACKEND": OURS, "OPTIONS": {"DATABSE": "x"}}}

    assert "django_workers.E002" in [m.id for m in task_backends["default"].check()]


# DJANGO_WORKERS


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"CONCURENCY": 5}, "CONCURENCY"),
        ({"CONCURRENCY": "5"}, "whole number"),
        ({"RETENTION": {"done": 5}}, "'done'"),
        ({"HEARTBEAT_INTERVAL": 9.0}, "LOCK_DURATION"),
        ({"QUEUES": 5}, "QUEUES|cannot be read"),
        (["a list"], "must be a dict"),
    ],
    ids=str,
)
def test_e001_a_mistake_in_the_settings(settings: Any, values: Any, said: str):
    settings.DJANGO_WORKERS = values

    messages = check_settings()

    assert ids(messages) == ["E001"]
    assert re.search(said, messages[0].msg)
    assert check_tasks() == [], "what needs the settings keeps still"


def test_e001_names_the_key_that_was_meant(settings: Any):
    settings.DJANGO_WORKERS = {"CONCURENCY": 5}

    assert "'CONCURRENCY'" in str(check_settings()[0].hint)


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("django_workers.carriers.LangaugeCarrier", "LanguageCarrier"),
        ("elsewhere", "dotted path"),
    ],
)
def test_e013_a_carrier_that_cannot_be_imported(settings: Any, path: str, hint: str):
    settings.DJANGO_WORKERS = {"CARRIERS": [path]}

    messages = check_settings()

    assert ids(messages) == ["E013"]
    assert hint in str(messages[0].hint)


# OPTIONS


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"MAX_ATEMPTS": 3}, "'MAX_ATTEMPTS'"),
        ({"max_attempts": 3}, "'MAX_ATTEMPTS'"),
        ({"COLOUR": 1}, "The options are DATABASE"),
    ],
    ids=str,
)
def test_e002_an_unknown_option(settings: Any, options: dict[str, Any], hint: str):
    messages = with_options(settings, **options)

    assert ids(messages) == ["E002"]
    assert hint in str(messages[0].hint)


@pytest.mark.parametrize(
    "options",
    [
        {"MAX_ATTEMPTS": 0},
        {"MAX_ATTEMPTS": True},
        {"MAX_ATTEMPTS": "3"},
        {"TIMEOUT": 0},
        {"TIMEOUT": float("inf")},
        {"TIMEOUT": "60"},
        {"TIMEOUT": True},
        {"MAX_ARGS_BYTES": None},
        {"MAX_RESULT_BYTES": -1},
    ],
    ids=str,
)
def test_e003_an_impossible_value(settings: Any, options: dict[str, Any]):
    assert ids(with_options(settings, **options)) == ["E003"]


@pytest.mark.parametrize(
    ("alias", "hint"), [("defualt", "'default'"), (5, "DATABASES has: default")]
)
def test_e004_a_database_that_is_not_there(settings: Any, alias: Any, hint: str):
    messages = with_options(settings, DATABASE=alias)

    assert ids(messages) == ["E004"]
    assert hint in str(messages[0].hint)
    assert check_databases() == [], "there is nothing to look at"


@pytest.mark.parametrize(
    "backoff",
    [5, "fixed", lambda error: 5, len],
    ids=["number", "name", "one argument", "built-in of one"],
)
def test_e005_a_backoff_that_cannot_be_called(settings: Any, backoff: Any):
    assert ids(with_options(settings, BACKOFF=backoff)) == ["E005"]


@pytest.mark.parametrize(
    "backoff",
    [None, fixed(5), lambda error, result: None, lambda *a: 1, max],
    ids=["none", "helper", "two arguments", "any arguments", "built-in of any"],
)
def test_a_backoff_that_can_be_called_is_fine(settings: Any, backoff: Any):
    assert with_options(settings, BACKOFF=backoff) == []


def test_e005_of_a_task(monkeypatch: pytest.MonkeyPatch):
    wrong = SimpleNamespace(
        key="checks:wrong", backoff=lambda: 5, schedule=None, func=sound.func
    )
    monkeypatch.setattr(task_checks, "list_tasks", lambda: [wrong])

    messages = check_tasks()

    assert ids(messages) == ["E005"]
    assert "checks:wrong" in messages[0].msg
    assert ids(list(check_backoff("here", 5))) == ["E005"]


def test_options_that_are_right(settings: Any):
    assert (
        with_options(
            settings,
            DATABASE="default",
            MAX_ATTEMPTS=3,
            TIMEOUT=1.5,
            MAX_ARGS_BYTES=10,
            MAX_RESULT_BYTES=10,
        )
        == []
    )


# The app


def test_e006_the_app_is_not_installed(settings: Any):
    settings.INSTALLED_APPS = [
        name for name in settings.INSTALLED_APPS if name != "django_workers"
    ]

    messages = with_options(settings)

    assert ids(messages) == ["E006"]
    assert "INSTALLED_APPS" in str(messages[0].hint)


# Databases


def test_e007_local_times(settings: Any):
    settings.USE_TZ = False

    assert ids(check_databases()) == ["E007"]


def test_e008_a_database_with_a_zone_of_its_own(monkeypatch: pytest.MonkeyPatch):
    as_database(monkeypatch, TIME_ZONE="Europe/Berlin")
    assert ids(check_databases()) == ["E008"]

    as_database(monkeypatch, vendor="postgresql", TIME_ZONE="Europe/Berlin")
    monkeypatch.setattr(database_checks, "_check_driver", lambda alias: [])
    assert check_databases() == []


@pytest.mark.parametrize(
    ("server", "fine"),
    [
        (("SQLite", (3, 34, 9)), False),
        (("SQLite", (3, 35, 0)), True),
        (("MariaDB", (10, 5, 99)), False),
        (("MariaDB", (10, 6, 0)), True),
        (("MySQL", (5, 7, 44)), False),
        (("MySQL", (8, 0, 11)), True),
        (("PostgreSQL", (12,)), False),
        (("PostgreSQL", (13,)), True),
        (("Other", ()), True),
    ],
    ids=str,
)
def test_e011_a_server_that_is_too_old(
    monkeypatch: pytest.MonkeyPatch, server: Any, fine: bool
):
    monkeypatch.setattr(database_checks, "server_version", lambda connection: server)

    messages = check_database_servers(databases=["default"])

    assert ids(messages) == ([] if fine else ["E011"])


def test_a_server_is_asked_only_if_it_is_named():
    assert check_database_servers() == []
    assert check_database_servers(databases=["elsewhere"]) == []


@pytest.mark.django_db
def test_the_servers_version_is_known():
    name, version = server_version(connection)

    expected = {"postgresql": "PostgreSQL", "sqlite": "SQLite", "mysql": "MariaDB"}
    assert name == expected[connection.vendor]
    assert version >= database_checks.OLDEST[name]
    assert check_database_servers(databases=["default"]) == []


def test_another_vendors_version_is_not_known():
    other = SimpleNamespace(vendor="oracle", display_name="Oracle")
    mysql = SimpleNamespace(
        vendor="mysql", mysql_is_mariadb=False, mysql_version=(8, 4, 1)
    )

    assert server_version(other) == ("Oracle", ())
    assert server_version(mysql) == ("MySQL", (8, 4, 1))


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({}, ["WAL", "IMMEDIATE transactions", "a timeout of 20 s"]),
        (GOOD_SQLITE, []),
        ({**GOOD_SQLITE, "timeout": 5}, ["a timeout of 20 s"]),
        ({**GOOD_SQLITE, "transaction_mode": "DEFERRED"}, ["IMMEDIATE transactions"]),
        ({**GOOD_SQLITE, "transaction_mode": "exclusive"}, []),
        ({**GOOD_SQLITE, "init_command": "PRAGMA synchronous=OFF"}, ["WAL"]),
        ({**GOOD_SQLITE, "init_command": "pragma JOURNAL_MODE = 'wal';"}, []),
        ({**GOOD_SQLITE, "init_command": None}, ["WAL"]),
    ],
    ids=str,
)
def test_what_sqlite_needs(options: dict[str, Any], missing: list[str]):
    assert sqlite_problems("/nowhere/db.sqlite3", options) == missing


def test_w001_sqlite_that_is_not_set_up(monkeypatch: pytest.MonkeyPatch):
    as_database(monkeypatch, OPTIONS={})

    messages = check_databases()

    assert ids(messages) == ["W001"]
    assert "without WAL, IMMEDIATE transactions and a timeout" in messages[0].msg
    assert SQLITE_OPTIONS in str(messages[0].hint)


def test_the_options_to_paste_are_right():
    options = eval(f"{{{SQLITE_OPTIONS}}}")["OPTIONS"]

    assert sqlite_problems("/nowhere/db.sqlite3", options) == []


def test_a_file_that_is_in_wal_mode_already_needs_no_command(tmp_path: Path):
    import sqlite3

    path = str(tmp_path / "db.sqlite3")
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("CREATE TABLE t (x)")
    database.close()

    options = {name: GOOD_SQLITE[name] for name in ("transaction_mode", "timeout")}
    assert sqlite_problems(path, options) == []
    assert sqlite_problems("/nowhere/db.sqlite3", options) == ["WAL"]


def test_w002_psycopg2(monkeypatch: pytest.MonkeyPatch):
    as_database(monkeypatch, vendor="postgresql")
    name = "django.db.backends.postgresql.psycopg_any"
    module = ModuleType(name)
    module.is_psycopg3 = False  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, module)

    messages = check_databases()

    assert ids(messages) == ["W002"]
    assert "psycopg[binary]" in str(messages[0].hint)


@pytest.mark.parametrize(
    ("listener", "fine"),
    [
        (True, True),
        (False, True),
        ("postgresql://me:secret@db.example:5432/queue", True),
        ("host=db.example dbname=queue", True),
        ("postgres//me:secret@db.example/queue", False),
        ("secret", False),
        ("hots=db.example password=secret", False),
    ],
)
def test_e014_a_listener_that_is_no_connection_string(
    monkeypatch: pytest.MonkeyPatch, settings: Any, listener: Any, fine: bool
):
    as_database(monkeypatch, vendor="postgresql")
    settings.DJANGO_WORKERS = {"LISTENER": listener}

    messages = check_databases()

    assert ids(messages) == ([] if fine else ["E014"])
    assert "secret" not in "".join(message.msg for message in messages)


@pytest.mark.parametrize("name", [":memory:", "file:x?mode=memory&cache=shared", ""])
def test_w004_sqlite_in_memory(monkeypatch: pytest.MonkeyPatch, name: str):
    as_database(monkeypatch, NAME=name, OPTIONS={})

    assert ids(check_databases()) == ["W004"]


def test_w005_a_database_nobody_has_tried(monkeypatch: pytest.MonkeyPatch):
    as_database(monkeypatch, vendor="oracle")

    assert ids(check_databases()) == ["W005"]


def test_nothing_of_ours_is_in_use(settings: Any):
    settings.USE_TZ = False
    settings.TASKS = {"default": {"BACKEND": "django_workers.backend.DummyBackend"}}

    assert [*check_databases(), *check_tasks()] == []
    assert check_database_servers(databases=list(connections)) == []


def test_a_backend_that_cannot_be_imported_is_left_to_djangos_check(settings: Any):
    settings.TASKS = {"default": {"BACKEND": "no.such.Backend"}}

    assert [*check_databases(), *check_tasks()] == []


@pytest.mark.parametrize(
    ("queues", "found"),
    [
        ([["default", "emails"]], ["W006"]),
        ([["default"], ["email", "images"]], []),
        ([["default"], []], []),
    ],
    ids=["restricted", "another's", "any"],
)
def test_w006_a_queue_that_no_backend_takes(
    settings: Any, queues: list[list[str]], found: list[str]
):
    settings.DJANGO_WORKERS = {"QUEUES": ["default", "email"]}
    names = ("default", "second")
    settings.TASKS = {
        name: {"BACKEND": OURS, "QUEUES": taken}
        for name, taken in zip(names, queues, strict=False)
    }

    messages = check_settings()

    assert ids(messages) == found
    assert all("'email'" in message.msg for message in messages)


def test_w006_leaves_a_backend_that_cannot_be_imported_to_djangos_check(settings: Any):
    settings.DJANGO_WORKERS = {"QUEUES": ["email"]}
    settings.TASKS = {"default": {"BACKEND": "no.such.Backend"}}

    assert check_settings() == []


# Tasks and schedules


def schedules(settings: Any, **entries: Any) -> list[Any]:
    settings.DJANGO_WORKERS = {"SCHEDULES": entries}
    return check_tasks()


@pytest.mark.parametrize(
    "entry",
    [
        {"task": "checks:sound"},
        {"task": "checks:sound", "cron": "61 * * * *"},
        {"task": "checks:sound", "cron": "@daily", "timezone": "Mars/Olympus"},
        {"task": "checks:sound", "interval": -1},
        {"task": "checks:sound", "cron": "@daily", "zone": "UTC"},
        "daily",
    ],
    ids=str,
)
def test_e009_a_schedule_that_cannot_work(settings: Any, entry: Any):
    messages = schedules(settings, nightly=entry)

    assert ids(messages) == ["E009"]
    assert "nightly" in messages[0].msg


def test_e009_a_queue_that_the_backend_does_not_take(settings: Any):
    settings.TASKS = {"default": {"BACKEND": OURS, "QUEUES": ["default", "emails"]}}
    entry = {"task": "checks:sound", "cron": "@daily"}

    messages = schedules(
        settings, good={**entry, "queue": "emails"}, bad={**entry, "queue": "email"}
    )

    assert ids(messages) == ["E009"]
    assert "['bad']: 'email' is not among the QUEUES" in messages[0].msg


def test_e009_a_name_that_is_taken(settings: Any, monkeypatch: pytest.MonkeyPatch):
    timed = SimpleNamespace(
        key="nightly", schedule=object(), backoff=None, func=sound.func
    )
    monkeypatch.setattr(task_checks, "list_tasks", lambda: [timed])

    messages = schedules(settings, nightly={"task": "checks:sound", "cron": "@daily"})

    assert ids(messages) == ["E009"]
    assert "declares its own schedule" in messages[0].msg


def test_e010_a_schedule_of_an_unknown_task(settings: Any):
    messages = schedules(settings, nightly={"task": "checks:sond", "cron": "@daily"})

    assert ids(messages) == ["E010"]
    assert "checks:sound" in messages[0].msg


def test_a_schedule_that_works(settings: Any):
    entry = {"task": f"{__name__}.sound", "cron": "@daily", "timezone": "Asia/Tokyo"}

    assert schedules(settings, nightly=entry) == []


def test_e012_a_module_that_cannot_be_imported(settings: Any):
    settings.DJANGO_WORKERS = {"AUTODISCOVER": ["tests.no_such_module"]}

    messages = check_tasks()

    assert ids(messages) == ["E012"]
    assert "no_such_module" in messages[0].msg


def test_i001_retries_that_come_back_together():
    (message,) = check_jitter()

    assert ids([message]) == ["I001"]
    assert "checks:eager" in message.msg
    for name in ("checks:gentle", "checks:at_once", "checks:once", "checks:sound"):
        assert name not in message.msg


def test_i001_is_silent_without_a_cause(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(task_checks, "list_tasks", lambda: [sound, gentle])

    assert check_jitter() == []


def test_i001_names_a_few(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(task_checks, "list_tasks", lambda: [eager] * 7)

    (message,) = check_jitter()

    assert "and 2 more" in message.msg


@task(name="checks:timed", timeout=30)
def timed() -> None:
    pass


@task(name="checks:timed_coroutine", timeout=30)
async def timed_coroutine() -> None:
    pass


def test_i002_timeouts_that_a_thread_cannot_keep_for_sure():
    (message,) = check_timeouts()

    assert ids([message]) == ["I002"]
    assert message.level < django_checks.WARNING
    assert "Only a process of its own could be stopped hard" in str(message.hint)


def test_i002_names_sync_tasks_with_a_timeout_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(task_checks, "list_tasks", lambda: [timed, timed_coroutine])
    (message,) = check_timeouts()
    assert "checks:timed." in message.msg
    assert "coroutine" not in message.msg

    monkeypatch.setattr(task_checks, "list_tasks", lambda: [sound, timed_coroutine])
    assert check_timeouts() == []


@pytest.mark.parametrize(
    "values", [{"QUEUES": 5}, {"AUTODISCOVER": ["tests.no_such_module"]}], ids=str
)
def test_advice_waits_until_the_tasks_can_be_known(settings: Any, values: Any):
    settings.DJANGO_WORKERS = values

    assert [*check_jitter(), *check_timeouts()] == []


def test_advice_is_given_before_a_deployment_only():
    done = subprocess.run(
        [sys.executable, "-m", "django", "check", "--tag", "tasks"],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    deployed = subprocess.run(
        [*done.args, "--deploy"],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == deployed.returncode == 0
    assert "django_workers.I" not in done.stderr
    assert "django_workers.I002" in deployed.stderr


# Modules that workers do not import

SETTINGS = """
SECRET_KEY = "x"
INSTALLED_APPS = ["django_workers", {apps}]
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": {name!r}}}}}
TASKS = {{"default": {{"BACKEND": "django_workers.backend.DatabaseBackend"}}}}
ROOT_URLCONF = "site_urls"
SILENCED_SYSTEM_CHECKS = ["django_workers.W001"]
"""
URLS = """
from django.urls import include, path
urlpatterns = [path("", include(name + ".urls")) for name in ({apps},)]
"""
APP_URLS = """
from django.urls import path
from . import views
urlpatterns = [path("", views.index)]
"""
A_TASK = "from django_workers import task\n@task\ndef {name}(): pass\n"
A_VIEW = "def index(request): pass\n"


def check_project(
    folder: Path, **apps: dict[str, str]
) -> "subprocess.CompletedProcess[str]":
    """Run `check` on a project of these apps, each a dict of its modules' texts."""
    for app, modules in apps.items():
        common = {"__init__": "", "urls": APP_URLS, "views": A_VIEW}
        for name, text in {**common, **modules}.items():
            path = folder / app / f"{name}.py"
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_text(text)
    names = ", ".join(map(repr, apps))
    (folder / "site_settings.py").write_text(
        SETTINGS.format(apps=names, name=str(folder / "db"))
    )
    (folder / "site_urls.py").write_text(URLS.format(apps=names))
    return subprocess.run(
        [sys.executable, "-m", "django", "check", "--settings", "site_settings"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{folder}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_w003_tasks_that_only_the_web_process_meets(tmp_path: Path):
    done = check_project(
        tmp_path,
        shop={
            "tasks": A_TASK.format(name="found"),
            "views": A_TASK.format(name="in_a_view") + A_VIEW,
        },
        news={
            "views": f"from . import pages\n{A_VIEW}",
            "pages": "from .deep import hidden\n",
            "deep": A_TASK.format(name="hidden"),
        },
    )

    said = re.findall(r"\(django_workers\.(\w+)\) .* import (\S+),", done.stderr)
    assert said == [("W003", "news.deep"), ("W003", "shop.views")]
    assert "Import it in a module named tasks" in done.stderr
    assert done.returncode == 0


def test_what_a_worker_meets_on_its_way_is_fine(tmp_path: Path):
    def ready(statement: str) -> str:
        return (
            "from django.apps import AppConfig\n"
            "class Config(AppConfig):\n"
            "    name = __package__\n"
            f"    def ready(self): {statement}\n"
        )

    ways = {
        "name": {"tasks": "from name.jobs import job\n"},
        "module": {"tasks": "from module import jobs\n"},
        "whole": {"tasks": "import whole.jobs\n"},
        "detour": {
            "tasks": "from detour.services import Service\n",
            "services": "from detour.jobs import job\nclass Service: pass\n",
        },
        "rows": {"models": "from rows.jobs import job\n"},
        "ready_module": {"apps": ready("from . import jobs")},
        "ready_name": {"apps": ready("from .jobs import job")},
        "ready_whole": {"apps": ready("import ready_whole.jobs")},
    }

    done = check_project(
        tmp_path,
        **{
            app: {
                **modules,
                "jobs": A_TASK.format(name="job"),
                "views": f"from .jobs import job\n{A_VIEW}",
            }
            for app, modules in ways.items()
        },
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_a_urlconf_that_cannot_be_imported_is_left_to_djangos_check(settings: Any):
    settings.ROOT_URLCONF = "tests.no_such_urlconf"

    assert check_tasks() == []
