"""Settings: every key refuses what cannot work, at the door and with a hint."""

import dataclasses
import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from django_workers.checks import check_settings, check_tasks
from django_workers.compat import task_backends
from django_workers.conf import (
    LEVELS,
    Options,
    RuntimeSettings,
    build_settings,
    level_of,
    priority_of,
    problems,
    runtime_settings,
)
from django_workers.exceptions import ConfigurationError
from tests import tasks

NAN, INF = float("nan"), float("inf")
OURS = "django_workers.backend.DatabaseBackend"

NO_COUNTS: list[Any] = [None, True, -1, 1.5, 5.0, "5", NAN, INF, [], {}, 2**31]
NO_SPANS: list[Any] = [True, False, -1, -0.1, NAN, INF, -INF, "5", [5], {}, Decimal(5)]
NO_SPANS += [timedelta(seconds=5), 1e12]
NO_FLAGS: list[Any] = [None, 0, 1, "yes", "False", [], NAN]
NO_LISTS: list[Any] = [None, 5, True, "emails", b"emails", {"emails"}, {"emails": 1}]
NO_LISTS += [["emails", 5], [None], [["emails"]], [""], [" emails"], ["a", "a"]]
NO_LISTS += [(name for name in "ab")]

BAD: dict[str, list[Any]] = {
    "WORKER_ID": [None, 5, True, b"w", ["w"], "w" * 65, "w\n", "\0", " w", "\ud800"],
    "PROCESSES": [*NO_COUNTS, 1_001],
    "CONCURRENCY": [*NO_COUNTS, 100_001],
    "BATCH_SIZE": [0, *NO_COUNTS],
    "PREFETCH": NO_FLAGS,
    "POLL_INTERVAL": [None, 0, *NO_SPANS, 604_801],
    "TIMEOUT": [0, 0.0, *NO_SPANS],
    "MAX_JOB_DURATION": [0, 0.0, *NO_SPANS],
    "LOCK_DURATION": [None, 0, *NO_SPANS, 604_801],
    "HEARTBEAT_INTERVAL": [None, 0, *NO_SPANS, 604_801],
    "STALE_CHECK_INTERVAL": [None, 0, *NO_SPANS, 604_801],
    "SHUTDOWN_TIMEOUT": [None, *NO_SPANS, 604_801],
    "CANCEL_GRACE": [None, *NO_SPANS, 604_801],
    "MAX_FAILURES": NO_COUNTS,
    "MAX_CRASHES": [0, *NO_COUNTS],
    "QUEUES": [*NO_LISTS, ["my queue"], ["q" * 129], ["*"]],
    "TASKS": [*NO_LISTS, ["a\n"]],
    "AUTODISCOVER": [*NO_LISTS, [".tasks"], ["shop..tasks"], ["shop/tasks"], ["a-b"]],
    "SCHEDULES": [None, 5, True, "daily", [], [{}], {5: {}}],
    "CARRIERS": [*NO_LISTS, [".Carrier"], ["tests/carriers.Carrier"]],
    "LISTENER": [None, 0, 1, "", " ", 5.0, b"host=db", ["host=db"], {}],
    "DURABLE_CLAIMS": NO_FLAGS,
    "RETENTION": [
        *(None, 7, "7d", [], True, {"done": 7}, {None: 7}, {"ready": 7}),
        *({"failed": value} for value in (0, -1, NAN, INF, True, "7", 36_501)),
    ],
    "METRICS_RETENTION": [None, 0, *NO_SPANS, 36_501],
    "METRICS_ENABLED": NO_FLAGS,
}
GOOD: dict[str, list[Any]] = {
    "WORKER_ID": ["", "web-1", "Wörker 1", "w" * 64],
    "PROCESSES": [0, 1, 1_000],
    "CONCURRENCY": [0, 1, 100_000],
    "BATCH_SIZE": [1, 500],
    "PREFETCH": [True, False],
    "POLL_INTERVAL": [0.01, 1, 604_800],
    "TIMEOUT": [None, 0.1, 300, 315_360_000],
    "MAX_JOB_DURATION": [None, 0.1, 300],
    "LOCK_DURATION": [6, 6.5, 604_800],
    "HEARTBEAT_INTERVAL": [0.1, 3],
    "STALE_CHECK_INTERVAL": [0.1, 3],
    "SHUTDOWN_TIMEOUT": [0, 0.0, 25, 86_400],
    "CANCEL_GRACE": [0, 5.5],
    "MAX_FAILURES": [0, 10],
    "MAX_CRASHES": [1, 3],
    "QUEUES": [[], (), ["b", "a"], ("a.b:c-d_e",)],
    "TASKS": [[], ["email:*", "report:*"], ("*",)],
    "AUTODISCOVER": [[], ["tasks"], ("tasks", "tests.tasks")],
    "SCHEDULES": [{}, {"nightly": {}}],
    "CARRIERS": [[], ["django_workers.carriers.LanguageCarrier"]],
    "LISTENER": [True, False, "host=db user=me"],
    "DURABLE_CLAIMS": [True, False],
    "RETENTION": [{}, {"failed": None}, {"successful": 0.5, "cancelled": 36_500}],
    "METRICS_RETENTION": [1, 0.5],
    "METRICS_ENABLED": [True, False],
}
NO_BYTES: list[Any] = [0, *NO_COUNTS]
BAD_OPTIONS: dict[str, list[Any]] = {
    "DATABASE": [None, 5, "", "nope", ["default"], {}, True],
    "MAX_ATTEMPTS": [0, *NO_COUNTS],
    "BACKOFF": [5, "fixed", True, [], lambda error: 5, len],
    "TIMEOUT": [0, *NO_SPANS],
    "MAX_ARGS_BYTES": NO_BYTES,
    "MAX_RESULT_BYTES": NO_BYTES,
}


def pairs(table: dict[str, list[Any]]) -> list[Any]:
    return [
        pytest.param(key, value, id=f"{number}-{key}={named(value)}")
        for key, values in table.items()
        for number, value in enumerate(values)
    ]


def named(value: Any) -> str:
    """Return a short name of *value*, the same in every session: no address in it."""
    return re.sub(r" at 0x\w+", "", ascii(value))[:40]


def fields_of(described: Any) -> set[str]:
    return {field.name.upper() for field in dataclasses.fields(described)}


# DJANGO_WORKERS


def test_the_tables_here_name_every_setting():
    assert BAD.keys() == GOOD.keys() == fields_of(RuntimeSettings)
    assert BAD_OPTIONS.keys() == fields_of(Options)


@pytest.mark.parametrize(("key", "value"), pairs(BAD))
def test_a_bad_value_is_an_error_of_the_check_and_of_whoever_reads_it(
    settings: Any, key: str, value: Any
):
    settings.DJANGO_WORKERS = {key: value}

    (message,) = check_settings()

    assert message.id == "django_workers.E001"
    assert message.is_serious()
    assert f"DJANGO_WORKERS['{key}']" in message.msg
    assert message.msg.partition(": ")[2], "it says what is wrong"
    assert message.hint
    with pytest.raises(ConfigurationError) as raised:
        runtime_settings()
    assert str(raised.value) == f"{message.msg} {message.hint}"
    assert check_tasks() == [], "what needs the settings keeps still"


@pytest.mark.parametrize(("key", "value"), pairs(GOOD))
def test_a_good_value_is_taken(settings: Any, key: str, value: Any):
    settings.DJANGO_WORKERS = {key: value}

    assert check_settings() == []
    taken = getattr(runtime_settings(), key.lower())
    if key == "RETENTION":
        assert taken == {**RuntimeSettings().retention, **value}
    else:
        assert taken == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize("values", [None, 5, "x", [], [("TIMEOUT", 5)], True], ids=repr)
def test_the_whole_must_be_a_dict(settings: Any, values: Any):
    settings.DJANGO_WORKERS = values

    (message,) = check_settings()

    assert "must be a dict" in message.msg
    assert message.hint
    with pytest.raises(ConfigurationError, match="must be a dict"):
        runtime_settings()


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("CONCURENCY", "'CONCURRENCY'"),
        ("concurrency", "'CONCURRENCY'"),
        ("colour", "Known: WORKER_ID"),
        (5, "Known: WORKER_ID"),
        (None, "Known: WORKER_ID"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(key: Any, hint: str):
    ((message, said),) = problems({key: 5})

    assert "is not a setting" in message
    assert hint in said


def test_every_mistake_is_said_at_once():
    found = problems({"TIMEOUT": 0, "QUEUES": "emails", "COLOUR": 1})

    assert len(found) == 3


def test_a_lease_shorter_than_three_heartbeats_is_refused():
    assert problems({"HEARTBEAT_INTERVAL": 2, "LOCK_DURATION": 6}) == []
    with pytest.raises(ConfigurationError, match="three HEARTBEAT_INTERVALs"):
        build_settings({"HEARTBEAT_INTERVAL": 2, "LOCK_DURATION": 5.9})


def test_a_connection_string_of_another_type_is_not_shown():
    ((message, _),) = problems({"LISTENER": b"host=db password=secret"})

    assert "secret" not in message
    assert "bytes" in message


def test_counts_that_are_left_out_follow_the_cpus():
    alone = build_settings({"PROCESSES": 3})

    assert (alone.process_count, alone.slot_count) == (3, 15)
    assert build_settings({"PROCESSES": 3, "CONCURRENCY": 4}).slot_count == 4
    assert build_settings({}).process_count >= 1


def test_retention_is_a_duration_by_status():
    kept = build_settings({"RETENTION": {"failed": None, "successful": 0.5}})

    assert kept.retention_by_status == {
        "successful": timedelta(hours=12),
        "failed": None,
        "cancelled": timedelta(days=7),
    }


def test_a_changed_setting_is_read_anew(settings: Any):
    assert runtime_settings().batch_size == 500

    settings.DJANGO_WORKERS = {"BATCH_SIZE": 7}

    assert runtime_settings().batch_size == 7


# OPTIONS and QUEUES of a backend


def backend_with(settings: Any, **params: Any) -> Any:
    settings.TASKS = {"default": {"BACKEND": OURS, "QUEUES": [], **params}}
    return task_backends["default"]


@pytest.mark.parametrize(("key", "value"), pairs(BAD_OPTIONS))
def test_a_bad_option_is_an_error_of_the_check_and_of_the_call(
    settings: Any, key: str, value: Any
):
    backend = backend_with(settings, OPTIONS={key: value})

    (message,) = backend.check()

    assert message.is_serious()
    assert key in message.msg
    assert message.hint
    with pytest.raises(ConfigurationError) as raised:
        tasks.noop.enqueue()
    assert str(raised.value) == f"{message.msg} {message.hint}"


@pytest.mark.parametrize("options", [None, 5, "x", [("TIMEOUT", 5)]], ids=repr)
def test_options_that_are_no_dict(settings: Any, options: Any):
    backend = backend_with(settings, OPTIONS=options)

    assert [message.id for message in backend.check()] == ["django_workers.E003"]
    with pytest.raises(ConfigurationError, match="must be a dict"):
        tasks.noop.enqueue()


@pytest.mark.parametrize(
    "queues", [None, 5, "emails", b"x", [5], ["a b"], ["a", "a"], {"a": 1}], ids=repr
)
@pytest.mark.parametrize("name", ["DatabaseBackend", "DummyBackend"])
def test_queues_that_are_no_list_of_names(settings: Any, queues: Any, name: str):
    backend = backend_with(
        settings, QUEUES=queues, BACKEND=f"django_workers.backend.{name}"
    )

    (message,) = backend.check()

    assert message.id == "django_workers.E003"
    assert "['QUEUES']" in message.msg
    assert message.hint
    if name == "DatabaseBackend":
        with pytest.raises(ConfigurationError, match="'QUEUES'"):
            tasks.noop.enqueue()


@pytest.mark.parametrize("queues", [[], ["a"], ("a", "b"), {"a"}, frozenset("a")])
def test_queues_that_are_right(settings: Any, queues: Any):
    backend = backend_with(settings, QUEUES=queues)

    assert backend.check() == []
    assert backend.queues == set(queues)


# Priorities


@pytest.mark.parametrize(
    ("value", "number"), [*LEVELS.items(), (0, 0), (-100, -100), (100, 100), (5.0, 5)]
)
def test_a_priority_is_a_number_or_a_level(value: Any, number: int):
    assert priority_of(value) == number
    assert type(priority_of(value)) is int


@pytest.mark.parametrize(
    "value", ["urgent", "", "5", 101, -101, 0.5, True, NAN, INF, None, []]
)
def test_a_priority_that_cannot_be(value: Any):
    with pytest.raises(ValueError, match=r"priority"):
        priority_of(value)


@pytest.mark.parametrize(
    ("priority", "level"),
    [
        *((100, "critical"), (75, "critical"), (74, "high"), (25, "high")),
        *((24, "normal"), (0, "normal"), (-1, "low"), (-100, "low")),
    ],
)
def test_a_level_reaches_up_to_the_next(priority: int, level: str):
    assert level_of(priority) == level
