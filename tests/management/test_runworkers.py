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

from django_workers.checks import check_settings
from django_workers.conf import RuntimeSettings, build_settings
from django_workers.management.commands import runworkers
from django_workers.management.flags import settings_from
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
    assert error.returncode == 1


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
    settings.TASKS = {"default": {"BACKEND": "django_workers.backend.DummyBackend"}}

    assert "has no queue to work on" in str(refused())


def test_a_module_that_is_not_there_is_refused_by_name(db: None):
    said = str(refused("--autodiscover", "tests.no_such_module"))

    assert "'tests.no_such_module', which does not exist" in said


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
        (["--timeout", "nan"], "{}", 1),
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


def test_the_settings_of_a_worker_are_built_like_any(settings: Any):
    settings.DJANGO_WORKERS = {"QUEUES": ["a"]}

    assert given() == build_settings({"QUEUES": ["a"]})
