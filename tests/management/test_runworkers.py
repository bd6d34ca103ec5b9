"""`runworkers` before it runs: flags, settings, and what it refuses."""

import os
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.core.management.base import SystemCheckError
from django.db import connection

from django_workers.checks import check_settings
from django_workers.conf import RuntimeSettings, build_settings
from django_workers.management.commands import runworkers
from django_workers.management.flags import settings_from
from django_workers.models import Schedule, WorkerSession
from django_workers.task import registry
from tests.support import ROOT

OURS = "django_workers.backend.DatabaseBackend"


def given(*arguments: str) -> RuntimeSettings:
    """Return the settings of a worker that is started with these arguments."""
    parser = runworkers.Command().create_parser("manage.py", "runworkers")
    return settings_from(vars(parser.parse_args(arguments)))


def refused(*arguments: str, skip_checks: bool = True) -> CommandError:
    with pytest.raises(CommandError) as raised:
        call_command("runworkers", *arguments, skip_checks=skip_checks)
    return raised.value


# Flags over settings over defaults


@pytest.mark.parametrize(
    ("arguments", "key", "value"),
    [
        (["--worker-id", "mine"], "worker_id", "mine"),
        (["--processes", "3"], "processes", 3),
        (["--concurrency", "7"], "concurrency", 7),
        (["--batch-size", "9"], "batch_size", 9),
        (["--prefetch"], "prefetch", True),
        (["--no-prefetch"], "prefetch", False),
        (["--poll-interval", "0.5"], "poll_interval", 0.5),
        (["--timeout", "60"], "timeout", 60.0),
        (["--max-job-duration", "90"], "max_job_duration", 90.0),
        (["--lock-duration", "30"], "lock_duration", 30.0),
        (["--heartbeat-interval", "1"], "heartbeat_interval", 1.0),
        (["--stale-check-interval", "5"], "stale_check_interval", 5.0),
        (["--shutdown-timeout", "0"], "shutdown_timeout", 0.0),
        (["--max-failures", "2"], "max_failures", 2),
        (["--queues", "b, a"], "queues", ("b", "a")),
        (["--tasks", "email:*,report:*"], "tasks", ("email:*", "report:*")),
        (["--autodiscover", "tasks,shop.jobs"], "autodiscover", ("tasks", "shop.jobs")),
        (["--metrics"], "metrics_enabled", True),
        (["--no-metrics"], "metrics_enabled", False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_flag_wins_over_the_setting(
    settings: Any, arguments: list[str], key: str, value: Any
):
    other = not value if isinstance(value, bool) else getattr(RuntimeSettings(), key)
    settings.DJANGO_WORKERS = {key.upper(): other}

    assert getattr(given(*arguments), key) == value
    assert getattr(given(), key) == other, "without the flag the setting holds"


def test_the_setting_wins_over_the_default(settings: Any):
    settings.DJANGO_WORKERS = {"CONCURRENCY": 3, "CANCEL_GRACE": 1.5}

    found = given("--timeout", "5")

    assert (found.concurrency, found.cancel_grace, found.timeout) == (3, 1.5, 5.0)
    assert found.batch_size == RuntimeSettings().batch_size


def test_the_help_shows_the_defaults():
    said = runworkers.Command().create_parser("manage.py", "runworkers").format_help()

    text = " ".join(said.split())
    for words in (
        "longest pause between two looks (default: 1)",
        "how long an attempt may run by default (default: 3600)",
        "the lease (default: 10)",
        "how long a drain waits for running jobs (default: 25)",
        "most jobs one claim takes (default: 500)",
        "child processes (default: one per CPU)",
        "stop after so many failed jobs in a row (0: never)",
    ):
        assert words in text


# What cannot be


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--timeout", "0"], "--timeout 0.0: must be a number of seconds, above zero"),
        (["--timeout", "nan"], "--timeout nan: must be"),
        (["--timeout", "inf"], "--timeout inf: must be at most"),
        (["--max-job-duration", "-1"], "--max-job-duration -1.0: must be"),
        (["--poll-interval", "0"], "--poll-interval 0.0: must be"),
        (["--shutdown-timeout", "nan"], "--shutdown-timeout nan: must be"),
        (["--batch-size", "0"], "--batch-size 0: must be a whole number, one or more"),
        (["--processes", "9999"], "--processes 9999: must be at most 1,000"),
        (["--worker-id", "w" * 65], "at most 64 characters"),
        (["--queues", "a,a"], "--queues a,a: 'a' is named twice"),
        (["--queues", "my queue"], "--queues my queue: 'my queue' cannot name a queue"),
        (["--autodiscover", "a/b"], "--autodiscover a/b: 'a/b' cannot name a module"),
        (["--heartbeat-interval", "5"], "at least three HEARTBEAT_INTERVALs"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_a_flag_that_cannot_work_is_named(arguments: list[str], said: str):
    error = refused(*arguments)

    assert said in str(error)
    assert error.returncode == 2


@pytest.mark.parametrize(
    ("workers", "arguments", "code"),
    [
        ({}, ["--heartbeat-interval", "5"], 2),
        (
            {"LOCK_DURATION": 3, "HEARTBEAT_INTERVAL": 1},
            ["--heartbeat-interval", "2"],
            2,
        ),
        ({"HEARTBEAT_INTERVAL": 5}, [], 1),
        ({"HEARTBEAT_INTERVAL": 5}, ["--timeout", "9"], 1),
    ],
    ids=["flag", "flag-on-setting", "setting", "setting-beside-flag"],
)
def test_values_that_do_not_go_together_are_wrong_usage_if_only_with_the_flags(
    settings: Any, workers: dict[str, Any], arguments: list[str], code: int
):
    settings.DJANGO_WORKERS = workers

    error = refused(*arguments)

    assert "at least three HEARTBEAT_INTERVALs" in str(error)
    assert error.returncode == code


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--queues", ""], "argument --queues: names nothing"),
        (["--queues", " , "], "argument --queues: names nothing"),
        (["--exclude-queues", ","], "argument --exclude-queues: names nothing"),
        (["--tasks", ""], "argument --tasks: names nothing"),
        (["--max-jobs", "-1"], "argument --max-jobs: must be a whole number"),
        (["--max-jobs", "x"], "argument --max-jobs: invalid"),
        (["--processes", "1.5"], "argument --processes: invalid int value"),
        (["--timeout", "soon"], "argument --timeout: invalid float value"),
        (["--prefetch=no"], "argument --prefetch"),
    ],
    ids=lambda value: "=".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_refused_by_the_parser(arguments: list[str], said: str):
    assert said in str(refused(*arguments))


def test_queues_that_are_all_excluded_are_wrong_usage():
    error = refused("--queues", "a,b", "--exclude-queues", "b,a,c")

    assert "leaves none" in str(error)
    assert error.returncode == 2


@pytest.mark.parametrize(
    "values",
    [
        *(None, 5, [], {"QUEUES": None}, {"QUEUES": 5}, {"QUEUES": "emails"}),
        *({"TIMEOUT": value} for value in (0, -1, True, float("nan"), float("inf"))),
        *({"RETENTION": None}, {"SCHEDULES": 5}, {"CONCURENCY": 5}),
    ],
    ids=str,
)
def test_bad_settings_are_refused_in_the_words_of_the_check(
    settings: Any, db: None, values: Any
):
    settings.DJANGO_WORKERS = values
    (message,) = check_settings()

    checked, unchecked = refused(skip_checks=False), refused(skip_checks=True)

    assert isinstance(checked, SystemCheckError)
    assert message.msg in str(checked)
    assert str(unchecked) == f"{message.msg} {message.hint}"
    assert checked.returncode == unchecked.returncode == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"OPTIONS": {"MAX_ATTEMPTS": "3"}},
        {"OPTIONS": {"TIMEOUT": 0}},
        {"OPTIONS": {"DATABASE": "nope"}},
        {"OPTIONS": {"COLOUR": 1}},
        {"OPTIONS": None},
        {"QUEUES": "emails"},
        {"QUEUES": 5},
    ],
    ids=str,
)
def test_a_bad_backend_is_refused_in_the_words_of_the_check(
    settings: Any, db: None, changes: dict[str, Any]
):
    settings.TASKS = {"default": {"BACKEND": OURS, **changes}}

    checked, unchecked = refused(skip_checks=False), refused(skip_checks=True)

    (key,) = changes
    assert f"TASKS['default']['{key}']" in str(unchecked)
    assert str(unchecked).split(". ")[0] in str(checked)
    assert checked.returncode == unchecked.returncode == 1


def test_a_backend_that_has_no_queue_is_refused(settings: Any):
    dummy = {"BACKEND": "django_workers.backend.DummyBackend"}
    settings.TASKS = {"default": dummy, "other": dummy}

    unnamed, named = refused(), refused("--backend", "other")

    assert "TASKS['default'] is" in str(unnamed)
    assert "TASKS['other'] is" in str(named)
    assert all("has no queue to work on" in str(error) for error in (unnamed, named))
    assert (unnamed.returncode, named.returncode) == (1, 2)


def test_a_module_that_is_not_there_is_refused_by_name(settings: Any, db: None):
    by_flag = refused("--autodiscover", "tests.no_such_module")
    settings.DJANGO_WORKERS = {"AUTODISCOVER": ["tests.no_such_module"]}
    by_setting = refused()

    for error in (by_flag, by_setting):
        assert "'tests.no_such_module', which does not exist" in str(error)
    assert (by_flag.returncode, by_setting.returncode) == (2, 1)


def test_an_unknown_way_to_start_processes_is_refused(
    monkeypatch: pytest.MonkeyPatch, db: None
):
    monkeypatch.setenv("DJANGO_WORKERS_START_METHOD", "thread")

    assert "must be one of auto, fork, spawn, not 'thread'" in str(refused())


def test_a_pattern_that_no_task_matches_is_said(
    monkeypatch: pytest.MonkeyPatch, db: None
):
    # Refused last of all, so that nothing is started.
    monkeypatch.setenv("DJANGO_WORKERS_START_METHOD", "thread")
    said = StringIO()

    with pytest.raises(CommandError, match="must be one of"):
        call_command(
            "runworkers", "--tasks", "emial:*,tests.tasks.noop,tests.*", stderr=said
        )

    assert said.getvalue() == "No task of this project matches 'emial:*'.\n"


def test_a_queue_that_no_backend_takes_is_said(
    settings: Any, monkeypatch: pytest.MonkeyPatch, db: None
):
    # Refused last of all, so that nothing is started.
    monkeypatch.setenv("DJANGO_WORKERS_START_METHOD", "thread")
    settings.TASKS = {"default": {"BACKEND": OURS, "QUEUES": ["default", "emails"]}}
    said = StringIO()

    with pytest.raises(CommandError, match="must be one of"):
        call_command(
            *("runworkers", "--queues", "emails,doesnotexist"),
            *("--exclude-queues", "gone"),
            stderr=said,
            skip_checks=True,
        )

    assert said.getvalue().splitlines() == [
        "No backend in TASKS takes jobs for the queue 'doesnotexist'.",
        "No backend in TASKS takes jobs for the queue 'gone'.",
    ]


@pytest.mark.parametrize(
    ("arguments", "workers", "code"),
    [
        (["--timeout", "nan"], "{}", 2),
        (["--queues", "bad!q"], "{}", 2),
        (["--processes", "-1"], "{}", 2),
        (["--concurrency", "x"], "{}", 2),
        (["--backend", "nope"], "{}", 2),
        (["--queues", ","], "{}", 2),
        ([], "{'TIMEOUT': float('nan')}", 1),
        (["--skip-checks"], "{'QUEUES': 5}", 1),
        (["--skip-checks"], "5", 1),
    ],
    ids=str,
)
def test_the_exit_code_is_the_documented_one(
    tmp_path: Path, arguments: list[str], workers: str, code: int
):
    (tmp_path / "bad_settings.py").write_text(
        f"from tests.settings import *\nDJANGO_WORKERS = {workers}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "django", "runworkers", "--burst", *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": f"{tmp_path}:{ROOT}",
            "DJANGO_SETTINGS_MODULE": "bad_settings",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()


# Looking before a start


def test_check_says_what_a_start_would_use_and_starts_nothing(
    settings: Any, db: None, capfd: Any
):
    settings.DJANGO_WORKERS = {
        "SCHEDULES": {"hourly": {"task": "tests.tasks.noop", "cron": "@hourly"}}
    }
    Schedule.objects.create(name="off", task="t", cron="@daily", enabled=False)

    call_command(
        *("runworkers", "--check", "--worker-id", "shown", "--queues", "b,a"),
        *("--processes", "2", "--concurrency", "3", "--lock-duration", "30"),
        *("--tasks", "tests.tasks.noop,tests.tasks.add"),
        skip_checks=False,
    )

    lines = capfd.readouterr().out.splitlines()
    said = dict(line.strip().split(maxsplit=1) for line in lines if line[:2] == "  ")
    assert said.pop("database").startswith(f"{connection.vendor} (default), woken by ")
    # Tasks of other tests may declare some, too.
    others = len([task for task in registry.all() if task.schedule])
    assert said.pop("start") in ("fork", "spawn")
    assert said == {
        "worker": "shown",
        "queues": "b, a",
        "children": "2, 3 slots",
        "tasks": "2",
        "schedules": str(1 + others),
        "lease": "30 s, renewed every 2 s",
        "connections": f"{3 if connection.vendor == 'mysql' else 4} for the worker, "
        "up to 3 for its slots",
        "migrations": "applied",
    }
    assert lines[-1] == "A worker can start. Nothing was started."
    assert not WorkerSession.objects.exists()
    assert list(Schedule.objects.values_list("name", flat=True)) == ["off"]


def test_check_without_schedules_counts_none(settings: Any, db: None, capfd: Any):
    settings.DJANGO_WORKERS = {
        "SCHEDULES": {"hourly": {"task": "tests.tasks.noop", "cron": "@hourly"}}
    }

    call_command("runworkers", "--check", "--no-schedules")

    assert "\n  schedules    0\n" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("url", "migrations", "said"),
    [
        ("sqlite:///{}/empty.sqlite3", "missing or old", "python manage.py migrate"),
        ("postgres://nobody@127.0.0.1:1/none", "unknown", "'default' is away ("),
    ],
    ids=["no-table", "away"],
)
def test_check_names_what_is_in_the_way(
    tmp_path: Path, url: str, migrations: str, said: str
):
    done = subprocess.run(
        [sys.executable, "-m", "django", "runworkers", "--check"],
        cwd=ROOT,
        env={
            **os.environ,
            "DATABASE_URL": url.format(tmp_path),
            "DJANGO_SETTINGS_MODULE": "tests.settings",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert said in done.stderr
    assert f"  migrations   {migrations}\n" in done.stdout
    assert "Traceback" not in done.stderr
    assert "A worker can start" not in done.stdout


def test_check_refuses_a_database_server_that_is_too_old(
    monkeypatch: pytest.MonkeyPatch, db: None
):
    monkeypatch.setattr(
        "django_workers.checks.databases.server_version",
        lambda connection: ("PostgreSQL", (9,)),
    )

    assert "django_workers.E011" in str(refused("--check", skip_checks=False))


def test_the_settings_of_a_worker_are_built_like_any(settings: Any):
    settings.DJANGO_WORKERS = {"QUEUES": ["a"]}

    assert given() == build_settings({"QUEUES": ["a"]})
