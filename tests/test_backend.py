"""The backends: what they support, refuse, store and read back."""

import asyncio
import json
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import IntegrityError, transaction
from django.utils import translation
from django.utils.module_loading import import_string

from django_workers import compat, context, enqueue, signals, task
from django_workers.backend import (
    DatabaseBackend,
    DummyBackend,
    ImmediateBackend,
    find_task,
)
from django_workers.brokers import broker_for
from django_workers.compat import (
    InvalidTask,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_backends,
    task_enqueued,
    task_finished,
    task_started,
)
from django_workers.context import JobContext
from django_workers.exceptions import (
    Cancel,
    ConfigurationError,
    Retry,
    Snooze,
    UnencodableValue,
)
from django_workers.models import Attempt, Job
from django_workers.results import JobResult
from django_workers.signals import job_created
from django_workers.task import Task, get_task, registry

OURS = "django_workers.backend.DatabaseBackend"
MOMENT = datetime(2040, 1, 31, 12, tzinfo=UTC)
UUID4 = uuid.UUID("9c2a5d0e-1111-4222-8333-444455556666")
RAN: list[Any] = []
# Known by name: pytest would write these values out to name its cases.
RESULTS: dict[str, Any] = {
    "NaN": float("nan"),
    "NUL": ["a\0b"],
    "half a pair": {"a": "\ud800"},
    "bytes": b"abc",
    "a set": {1},
    "a number as a key": {1: 2},
    "a large number": 2**63,
    "a large text": "x" * 1_000_000,
}
CALLS: dict[str, tuple[Any, Any]] = {
    **{kind: ((value,), {}) for kind, value in RESULTS.items()},
    "by keyword": ((1,), {"twice": [{1}]}),
    "too much together": (("x" * 600_000,), {"twice": "y" * 600_000}),
}


@pytest.fixture(autouse=True)
def nothing_has_run() -> Iterator[None]:
    RAN.clear()
    yield
    RAN.clear()


@task
def note(value: Any, *, twice: bool = False) -> list[Any]:
    """Note a value."""
    RAN.append(value)
    return [value, value] if twice else [value]


@task
def plain(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
    """Return the arguments."""
    return args, kwargs


@task
async def note_async(value: Any) -> Any:
    await asyncio.sleep(0)
    RAN.append(value)
    return value


@task
def fail() -> None:
    raise ValueError("no")


@task
def give(kind: str) -> Any:
    """Return what is known by that name."""
    return RESULTS[kind]


@task
def end(how: str) -> None:
    """Say what happens to the job next."""
    if how == "retry because of an error":
        raise Retry(5) from ValueError("no such host")
    raise {
        "cancel": Cancel("the order is gone"),
        "cancel without words": Cancel(),
        "snooze": Snooze(60),
        "retry": Retry(5),
    }[how]


@task(
    name="backend:loaded",
    priority=3,
    queue_name="mail",
    max_attempts=4,
    timeout=30,
    on_crash="fail",
    expires=60,
    retry_until=timedelta(hours=1),
    tags=["a", "b"],
    metadata={"user": 5},
)
def loaded() -> None:
    pass


@task(takes_context=True)
def look(context: JobContext, value: int) -> dict[str, Any]:
    return {
        "job": context.job_id,
        "attempt": context.attempt,
        "status": context.task_result.status.name,
        "cancelled": context.cancelled,
        "remaining": context.remaining,
        "stopping": context.is_shutting_down(),
        "called": called(),
        "value": value,
    }


def called() -> str:
    return context().job_id


@pytest.fixture
def backend() -> DatabaseBackend:
    found = task_backends["default"]
    assert isinstance(found, DatabaseBackend)
    return found


def with_backend(settings: Any, name: str, **params: Any) -> Any:
    settings.TASKS = {
        "default": {
            "BACKEND": f"django_workers.backend.{name}",
            "QUEUES": [],
            **params,
        }
    }
    return task_backends["default"]


# What they support


@pytest.mark.parametrize(
    ("kind", "defer", "get_result"),
    [
        (DatabaseBackend, True, True),
        (ImmediateBackend, True, False),
        (DummyBackend, True, False),
    ],
)
def test_what_a_backend_supports(kind: Any, defer: bool, get_result: bool):
    assert kind.supports_defer is defer
    assert kind.supports_get_result is get_result
    assert kind.supports_async_task is True
    assert kind.supports_priority is True
    assert kind.task_class is Task


def test_the_names_of_the_package_are_what_they_were():
    assert find_task is get_task
    for kind in (DatabaseBackend, ImmediateBackend, DummyBackend):
        assert import_string(f"django_workers.backend.{kind.__name__}") is kind
    assert import_string("django_workers.task.task") is task


def test_building_a_backend_asks_no_database():
    """Django builds it while the first task is imported."""
    built = DatabaseBackend("default", {"OPTIONS": {"DATABASE": "not there yet"}})

    assert built.queues == {"default"}


# Storing


@pytest.mark.django_db
def test_a_job_is_stored_as_its_task_says(backend: DatabaseBackend):
    before = broker_for("default").now()

    result = loaded.enqueue()

    job = Job.objects.get(id=result.id)
    assert (job.task, job.queue, job.priority) == ("backend:loaded", "mail", 3)
    assert (job.backend, job.status) == ("default", "ready")
    assert (job.max_attempts, job.timeout, job.on_crash) == (4, 30.0, "fail")
    assert (job.tags, job.metadata) == (["a", "b"], {"user": 5})
    near = timedelta(seconds=5)
    assert job.expires_at is not None
    assert job.retry_until is not None
    assert abs(job.expires_at - before - timedelta(seconds=60)) < near
    assert abs(job.retry_until - before - timedelta(hours=1)) < near


@pytest.mark.django_db
def test_what_the_task_leaves_open_the_options_say(settings: Any):
    with_backend(settings, "DatabaseBackend", OPTIONS={"MAX_ATTEMPTS": 7})

    assert Job.objects.get(id=note.enqueue(1).id).max_attempts == 7
    assert Job.objects.get(id=loaded.enqueue().id).max_attempts == 4


@pytest.mark.django_db
def test_the_result_says_what_was_stored():
    result = note.using(run_after=MOMENT, tags=["x"], metadata={"a": 1}).enqueue(
        (1, 2), twice=True
    )

    assert isinstance(result, JobResult)
    assert (result.status, result.job_status) == (TaskResultStatus.READY, "scheduled")
    assert (result.args, result.kwargs) == ([[1, 2]], {"twice": True})
    assert (result.tags, result.metadata) == (("x",), {"a": 1})
    assert (result.backend, result.errors, result.worker_ids) == ("default", [], [])
    assert result.enqueued_at is not None
    assert result.started_at is result.finished_at is None
    assert (result.attempts, result.is_finished) == (0, False)


@pytest.mark.django_db
def test_arguments_are_those_of_the_moment():
    given = [1]

    result = note.enqueue(given)
    given.append(2)

    assert Job.objects.get(id=result.id).args == [[1]]
    assert result.args == [[1]]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({1}, r"args\[0\]"),
        ({"a": [object()]}, r"args\[0\]\['a'\]\[0\]|args\[0\]\.a\[0\]"),
        (float("nan"), r"args\[0\]"),
        (MOMENT, r"args\[0\]"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_json_cannot_hold_is_refused_at_the_call(value: Any, said: str):
    with pytest.raises(UnencodableValue, match=said):
        note.enqueue(value)

    assert not Job.objects.exists()


@pytest.mark.django_db
def test_arguments_have_a_largest_size(settings: Any):
    with_backend(settings, "DatabaseBackend", OPTIONS={"MAX_ARGS_BYTES": 20})

    note.enqueue("x" * 16)
    with pytest.raises(UnencodableValue) as refused:
        note.enqueue("x" * 17)

    assert str(refused.value).startswith("args: larger than 20 bytes")
    assert Job.objects.count() == 1


@pytest.mark.django_db
def test_positional_and_keyword_arguments_share_one_limit(settings: Any):
    with_backend(settings, "DatabaseBackend", OPTIONS={"MAX_ARGS_BYTES": 20})

    note.enqueue("xx", twice=True)
    with pytest.raises(UnencodableValue) as refused:
        note.enqueue_many([((1,), {"twice": True}), (("xxx",), {"twice": True})])

    assert refused.value.path == "calls[1].kwargs"
    assert "together with args larger than 20 bytes" in str(refused.value)
    assert Job.objects.count() == 1


@pytest.mark.django_db
def test_metadata_that_json_cannot_hold_is_refused_at_the_call():
    with pytest.raises(UnencodableValue, match="metadata"):
        note.using(metadata={"a": object()}).enqueue(1)


@pytest.mark.django_db
def test_a_rolled_back_transaction_leaves_no_job():
    with transaction.atomic():
        note.enqueue(1)
        transaction.set_rollback(True)

    assert not Job.objects.exists()


@pytest.mark.django_db
def test_two_signals_tell_of_a_new_job():
    told: list[Any] = []

    def enqueued(sender: Any, task_result: Any, **kwargs: Any) -> None:
        told.append(("task_enqueued", sender, task_result.id))

    def created(sender: Any, job: Any, **kwargs: Any) -> None:
        told.append(("job_created", sender, job.id))

    task_enqueued.connect(enqueued)
    job_created.connect(created)
    try:
        result = note.enqueue(1)
    finally:
        task_enqueued.disconnect(enqueued)
        job_created.disconnect(created)

    assert told == [
        ("task_enqueued", DatabaseBackend, result.id),
        ("job_created", DatabaseBackend, result.id),
    ]


@pytest.mark.django_db
def test_a_receiver_that_raises_costs_no_job():
    def broken(**kwargs: Any) -> None:
        raise RuntimeError("no")

    task_enqueued.connect(broken)
    try:
        result = note.enqueue(1)
    finally:
        task_enqueued.disconnect(broken)

    assert Job.objects.get().id == uuid.UUID(result.id)


@pytest.mark.django_db
def test_a_task_of_another_backends_class_is_taken(backend: DatabaseBackend):
    theirs: Any = compat.Task(
        func=note.func,
        priority=4,
        backend="default",
        queue_name="theirs",
        run_after=None,
        takes_context=False,
    )

    result = backend.enqueue(theirs, [1], {})

    assert Job.objects.get(id=result.id).queue == "theirs"


# Many at once


@pytest.mark.django_db
def test_many_calls_are_stored_in_their_order(django_assert_max_num_queries: Any):
    with django_assert_max_num_queries(4):
        results = note.enqueue_many(
            ((number,), {"twice": True}) for number in range(20)
        )

    assert [result.args for result in results] == [[number] for number in range(20)]
    rows = Job.objects.in_bulk([uuid.UUID(result.id) for result in results])
    assert len(rows) == 20
    positions: list[Any] = [rows[uuid.UUID(result.id)].position for result in results]
    assert positions == sorted(positions)


@pytest.mark.django_db
def test_no_call_at_all_stores_nothing():
    assert note.enqueue_many([]) == []
    assert not Job.objects.exists()


@pytest.mark.django_db
def test_one_bad_call_stores_none_and_is_named():
    with pytest.raises(UnencodableValue, match=r"calls\[2\]\.args\[0\]"):
        note.enqueue_many([((1,), {}), ((2,), {}), (({3},), {})])

    assert not Job.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["DatabaseBackend", "ImmediateBackend"])
@pytest.mark.parametrize(
    ("call", "said"),
    [
        ((1,), r"calls\[1\] must be a pair \(args, kwargs\), not \(1,\)"),
        (5, r"calls\[1\] must be a pair"),
        ("ab", r"calls\[1\] must be a pair"),
        (("ab", {}), r"calls\[1\]\.args must be a list or tuple, not str"),
        ((1, {}), r"calls\[1\]\.args must be a list or tuple, not int"),
        (((1,), None), r"calls\[1\]\.kwargs must be a dict, not NoneType"),
        (((1,), [1]), r"calls\[1\]\.kwargs must be a dict, not list"),
    ],
    ids=str,
)
def test_a_call_that_is_no_pair_is_named(
    settings: Any, name: str, call: Any, said: str
):
    with_backend(settings, name)

    with pytest.raises(TypeError, match=said):
        note.enqueue_many([((1,), {}), call])

    assert (RAN, Job.objects.count()) == ([], 0)


@pytest.mark.django_db
def test_a_coroutine_enqueues_too():
    async def both() -> list[Any]:
        one = await note.aenqueue(1)
        return [one, *await note.aenqueue_many([((2,), {}), ((3,), {})])]

    results = async_to_sync(both)()

    assert [result.args for result in results] == [[1], [2], [3]]
    assert Job.objects.count() == 3


# After the commit


@pytest.mark.django_db
def test_enqueueing_waits_for_the_commit(django_capture_on_commit_callbacks: Any):
    value = [1]
    with django_capture_on_commit_callbacks(execute=True):
        note.enqueue_on_commit(value)
        value.append(2)
        assert not Job.objects.exists()

    assert Job.objects.get().args == [[1]]


@pytest.mark.django_db
def test_a_bad_call_is_refused_before_the_commit():
    with pytest.raises(UnencodableValue):
        note.enqueue_on_commit({1})


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_is_not_enqueued():
    with transaction.atomic():
        note.enqueue_on_commit(1)
        transaction.set_rollback(True)
    with transaction.atomic():
        note.enqueue_on_commit(2)

    assert Job.objects.get().args == [2]


# Reading back


@pytest.mark.django_db
@pytest.mark.parametrize(
    "result_id", ["", "nonsense", "5", str(UUID4), UUID4, None, 5], ids=repr
)
def test_an_id_that_no_job_has(backend: DatabaseBackend, result_id: Any):
    with pytest.raises(TaskResultDoesNotExist):
        backend.get_result(result_id)
    with pytest.raises(TaskResultDoesNotExist):
        async_to_sync(backend.aget_result)(result_id)


@pytest.mark.django_db
def test_a_result_is_read_back_as_it_was_stored(backend: DatabaseBackend):
    stored = loaded.using(priority=9, queue_name="slow").enqueue()

    reads: list[Any] = [
        backend.get_result(stored.id),
        async_to_sync(backend.aget_result)(stored.id),
        loaded.get_result(stored.id),
        backend.get_result(uuid.UUID(stored.id)),  # type: ignore[arg-type]
    ]
    for read in reads:
        assert read.id == stored.id
        assert (read.args, read.kwargs) == ([], {})
        assert (read.tags, read.metadata) == (("a", "b"), {"user": 5})
        assert read.task.key == "backend:loaded"
        assert (read.task.priority, read.task.queue_name) == (9, "slow")
        assert read.enqueued_at == stored.enqueued_at


@pytest.mark.django_db
def test_the_job_of_another_backend_is_not_ours(settings: Any):
    settings.TASKS = {
        alias: {"BACKEND": OURS, "QUEUES": []} for alias in ("default", "second")
    }
    stored = note.using(backend="second").enqueue(1)

    with pytest.raises(TaskResultDoesNotExist):
        task_backends["default"].get_result(stored.id)
    assert task_backends["second"].get_result(stored.id).backend == "second"


@pytest.mark.django_db
def test_the_result_of_a_task_whose_code_is_gone_can_be_read(backend: DatabaseBackend):
    stored = note.enqueue(1)
    Job.objects.update(task="gone.for.good")

    read: Any = backend.get_result(stored.id)

    assert read.task.key == "gone.for.good"
    assert read.args == [1]
    with pytest.raises(LookupError, match="gone"):
        read.task.call(1)
    with pytest.raises(LookupError):
        registry.get("gone.for.good")


@pytest.mark.django_db
def test_a_cancelled_job_reads_as_failed_with_the_reason(backend: DatabaseBackend):
    stored = note.enqueue(1)
    broker_for("default").cancel([uuid.UUID(stored.id)], reason="no longer wanted")

    read = backend.get_result(stored.id)

    assert (read.status, read.job_status) == (TaskResultStatus.FAILED, "cancelled")
    assert read.is_cancelled
    (error,) = read.errors
    assert "no longer wanted" in error.traceback
    assert error.exception_class.__name__ == "JobCancelled"


@pytest.mark.django_db
def test_the_errors_of_all_attempts_are_read(backend: DatabaseBackend):
    stored = note.enqueue(1)
    for number in (1, 2):
        Attempt.objects.create(
            job_id=uuid.UUID(stored.id),
            number=number,
            epoch=number,
            outcome="failed",
            worker=f"w{number}",
            exception="builtins.ValueError",
            traceback=f"no {number}",
            finished_at=broker_for("default").now(),
        )
    Job.objects.update(attempts=2)

    read = backend.get_result(stored.id)

    assert [error.traceback for error in read.errors] == ["no 1", "no 2"]
    assert [error.exception_class for error in read.errors] == [ValueError] * 2
    assert read.worker_ids == ["w1", "w2"]
    assert read.attempts == 2


@pytest.mark.django_db
def test_a_row_made_by_hand_must_make_sense():
    with pytest.raises(IntegrityError), transaction.atomic():
        Job.objects.create(id=uuid.uuid4(), task="x", status="running")


# The twins: for tests of users' code

TWINS = ["ImmediateBackend", "DummyBackend"]


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize(
    "changes",
    [
        {"priority": "low"},
        {"queue_name": "slow"},
        {"run_after": MOMENT},
        {"run_after": timedelta(hours=1)},
        {"run_after": "2040-01-01T00:00Z"},
        {"max_attempts": 3},
        {"timeout": 5},
        {"expires": 5},
        {"retry_until": MOMENT},
        {"tags": ["a"]},
        {"metadata": {"a": 1}},
    ],
    ids=str,
)
def test_a_twin_takes_every_policy(settings: Any, name: str, changes: dict[str, Any]):
    with_backend(settings, name)

    result = note.using(**changes).enqueue(1, twice=True)

    assert isinstance(result, JobResult)
    assert (result.args, result.kwargs) == ([1], {"twice": True})
    assert result.tags == tuple(changes.get("tags", ()))
    assert result.metadata == changes.get("metadata", {})
    assert loaded.enqueue().metadata == {"user": 5}


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize(
    "changes",
    [
        {"run_after": datetime(2040, 1, 1)},  # noqa: DTZ001
        {"run_after": timedelta.max},
        {"priority": 101},
        {"queue_name": "no queue"},
    ],
    ids=str,
)
def test_a_twin_refuses_what_the_real_one_refuses(
    settings: Any, name: str, changes: dict[str, Any]
):
    with_backend(settings, name)

    with pytest.raises(InvalidTask):
        note.using(**changes)


def real() -> DatabaseBackend:
    """Return a backend that is asked what it makes of a call, and stores nothing."""
    return DatabaseBackend("default", {"QUEUES": []})


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("kind", CALLS)
def test_a_twin_refuses_the_arguments_that_the_real_one_refuses(
    settings: Any, name: str, kind: str
):
    backend = with_backend(settings, name)
    args, kwargs = CALLS[kind]
    with pytest.raises(UnencodableValue) as expected:
        real().prepare(note, args, kwargs)

    with pytest.raises(UnencodableValue) as refused:
        note.enqueue(*args, **kwargs)
    with pytest.raises(UnencodableValue) as one_of_many:
        note.enqueue_many([((1,), {}), (args, kwargs)])

    assert str(refused.value) == str(expected.value)
    assert refused.value.path == expected.value.path
    assert one_of_many.value.path == f"calls[1].{expected.value.path}"
    assert (RAN, getattr(backend, "results", [])) == ([], [])


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_refuses_what_else_cannot_be_stored(settings: Any, name: str):
    with_backend(settings, name, OPTIONS={"MAX_ARGS_BYTES": 20})

    with pytest.raises(UnencodableValue, match="metadata"):
        note.using(metadata={"a": object()}).enqueue(1)
    with pytest.raises(UnencodableValue, match="tags"):
        note.using(tags=["a\0b"]).enqueue(1)
    with pytest.raises(UnencodableValue, match="larger than 20 bytes"):
        note.enqueue("x" * 17)

    with_backend(settings, name, OPTIONS={"MAX_ARGS": 20})
    with pytest.raises(ConfigurationError, match="'MAX_ARGS_BYTES'"):
        note.enqueue(1)


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_hands_out_what_the_real_one_stores(settings: Any, name: str):
    with_backend(settings, name)
    args = ((1, 2), range(2), 1e16, TaskResultStatus.READY, {"a": None})

    with translation.override("de"):
        prepared = real().prepare(plain, args, {"more": (3,)}).job
        result = plain.using(metadata={"user": 5}).enqueue(*args, more=(3,))

    assert (result.args, result.kwargs) == (
        json.loads(prepared.args),
        json.loads(prepared.kwargs),
    )
    assert [type(value) for value in result.args] == [list, list, float, str, dict]
    assert result.metadata == {"user": 5, "context": {"language": "de"}}


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_knows_its_queues(settings: Any, name: str):
    with_backend(settings, name, QUEUES=["default"])

    with pytest.raises(InvalidTask):
        note.using(queue_name="elsewhere")


def test_the_immediate_twin_runs_in_enqueue(settings: Any):
    with_backend(settings, "ImmediateBackend")

    result = note.using(run_after=MOMENT).enqueue(1, twice=True)

    assert RAN == [1]
    assert (result.status, result.job_status) == (
        TaskResultStatus.SUCCESSFUL,
        "successful",
    )
    assert result.return_value == [1, 1]
    assert result.attempts == 1
    assert result.wait(timeout=0) is result
    assert async_to_sync(result.await_result)() is result


def test_the_immediate_twin_runs_coroutines(settings: Any):
    with_backend(settings, "ImmediateBackend")

    assert note_async.enqueue(5).return_value == 5
    assert async_to_sync(note_async.aenqueue)(6).return_value == 6
    assert enqueue(note_async, [7]).return_value == 7
    assert RAN == [5, 6, 7]


def test_the_immediate_twin_tries_once(settings: Any):
    with_backend(settings, "ImmediateBackend")

    result = fail.using(max_attempts=5).enqueue()

    assert (result.status, result.job_status) == (TaskResultStatus.FAILED, "failed")
    assert [error.exception_class for error in result.errors] == [ValueError]
    assert not result.is_cancelled
    with pytest.raises(ValueError, match="failed"):
        result.return_value  # noqa: B018


@pytest.mark.parametrize("kind", RESULTS)
def test_the_immediate_twin_fails_for_a_result_that_cannot_be_stored(
    settings: Any, kind: str
):
    with_backend(settings, "ImmediateBackend")

    result = give.enqueue(kind)

    assert result.job_status == "failed"
    assert [error.exception_class for error in result.errors] == [UnencodableValue]
    assert result.reason.startswith("result")
    assert result.finished_at is not None


def test_the_immediate_twin_gives_the_result_that_a_row_would_hold(settings: Any):
    with_backend(settings, "ImmediateBackend", OPTIONS={"MAX_RESULT_BYTES": 30})

    returned: Any = plain.enqueue((1,)).return_value

    assert returned == [[[1]], {}]
    assert plain.enqueue("x" * 30).job_status == "failed"


ENDINGS = {
    "cancel": ("cancelled", "the order is gone"),
    "cancel without words": ("cancelled", ""),
    "retry": ("failed", "asked for another attempt, and none is left"),
    "retry because of an error": ("failed", "ValueError: no such host"),
}


@pytest.mark.parametrize("how", ENDINGS)
def test_the_immediate_twin_ends_a_job_as_its_task_says(settings: Any, how: str):
    with_backend(settings, "ImmediateBackend")
    status, reason = ENDINGS[how]

    result = end.using(max_attempts=5).enqueue(how)

    assert (result.job_status, result.reason) == (status, reason)
    assert result.status == TaskResultStatus.FAILED
    assert result.is_cancelled is (status == "cancelled")
    assert result.attempts == (0 if status == "cancelled" else 1)
    (error,) = result.errors
    assert issubclass(error.exception_class, (Cancel, Retry))
    assert result.wait() is result


def test_the_immediate_twin_leaves_what_snoozes_waiting(settings: Any):
    with_backend(settings, "ImmediateBackend")

    result = end.enqueue("snooze")

    assert (result.status, result.job_status) == (TaskResultStatus.READY, "scheduled")
    assert (result.errors, result.attempts, result.finished_at) == ([], 0, None)
    for wait in (result.wait, async_to_sync(result.await_result)):
        with pytest.raises(TimeoutError, match="has not ended in enqueue"):
            wait(timeout=60)


@contextmanager
def heard_signals() -> Iterator[list[tuple[str, Any]]]:
    """Note the signals about jobs: each one's name, and the job's status then."""
    heard: list[tuple[str, Any]] = []
    kinds = {
        name: signal for name, signal in vars(signals).items() if name[:4] == "job_"
    } | {
        "task_enqueued": task_enqueued,
        "task_started": task_started,
        "task_finished": task_finished,
    }
    receivers = []
    for name, signal in kinds.items():

        def note_it(sender: Any, name: str = name, **given: Any) -> None:
            assert sender is type(task_backends["default"])
            job = given.get("task_result") or given["job"]
            heard.append((name, job.job_status))

        signal.connect(note_it, weak=False)
        receivers.append((signal, note_it))
    try:
        yield heard
    finally:
        for signal, note_it in receivers:
            signal.disconnect(note_it)


BEGUN = [
    ("task_enqueued", "ready"),
    ("job_created", "ready"),
    ("task_started", "running"),
    ("job_started", "running"),
]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: note.enqueue(1), [("successful", "job_completed")]),
        (lambda: fail.enqueue(), [("failed", "job_failed")]),
        (lambda: end.enqueue("retry"), [("failed", "job_failed")]),
        (lambda: end.enqueue("cancel"), [("cancelled", "job_cancelled")]),
        (lambda: end.enqueue("snooze"), []),
    ],
    ids=["returns", "raises", "retries", "cancels", "snoozes"],
)
def test_the_immediate_twin_sends_the_signals_of_a_job(
    settings: Any, call: Any, told: list[Any]
):
    with_backend(settings, "ImmediateBackend")

    with heard_signals() as heard:
        call()

    assert heard[:4] == BEGUN
    assert heard[4:] == [
        (name, status) for status, last in told for name in ("task_finished", last)
    ]


def test_the_signals_of_the_immediate_twin_say_what_the_workers_say(settings: Any):
    with_backend(settings, "ImmediateBackend")
    given: dict[str, Any] = {}
    handled: list[Any] = []

    def failed(sender: Any, signal: Any, **values: Any) -> None:
        given.update(values)
        handled.append(sys.exc_info()[1])

    signals.job_failed.connect(failed)
    try:
        result = fail.enqueue()
    finally:
        signals.job_failed.disconnect(failed)

    assert isinstance(given["error"], ValueError)
    assert handled == [given["error"]]
    assert given == {
        "job": result,
        "error": given["error"],
        "attempt": 1,
        "will_retry": False,
        "retry_at": None,
    }


def test_the_dummy_twin_sends_the_signals_of_a_new_job(settings: Any):
    with_backend(settings, "DummyBackend")

    with heard_signals() as heard:
        note.enqueue(1)

    assert heard == BEGUN[:2]


def test_the_immediate_twin_gives_our_context(settings: Any):
    with_backend(settings, "ImmediateBackend")

    result = look.enqueue(5)

    assert result.return_value == {
        "job": result.id,
        "attempt": 1,
        "status": "RUNNING",
        "cancelled": False,
        "remaining": None,
        "stopping": False,
        "called": result.id,
        "value": 5,
    }
    with pytest.raises(LookupError):
        context()


def test_the_dummy_twin_runs_nothing_and_keeps_the_calls(settings: Any):
    backend = with_backend(settings, "DummyBackend")

    results = [note.enqueue(1), *note.enqueue_many([((2,), {}), ((3,), {})])]

    assert RAN == []
    assert [result.args for result in backend.results] == [[1], [2], [3]]
    assert [result.status for result in results] == [TaskResultStatus.READY] * 3
    assert backend.get_result(results[0].id).args == [1]
    assert results[0].enqueued_at is not None
    results[0].args.append(5)
    assert backend.results[0].args == [1], "each has its own copy"
    for wait in (results[0].wait, async_to_sync(results[0].await_result)):
        with pytest.raises(TimeoutError, match="runs nothing"):
            wait(timeout=60)
    with pytest.raises(TaskResultDoesNotExist):
        backend.get_result("nope")
    backend.clear()
    assert backend.results == []


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_acts_on_many_calls_or_on_none(settings: Any, name: str):
    backend = with_backend(settings, name)

    with pytest.raises(TypeError):
        note.enqueue_many([((1,), {}), (({2},), {})])

    assert RAN == []
    assert getattr(backend, "results", []) == []


@pytest.mark.django_db
@pytest.mark.parametrize("name", TWINS)
def test_a_twin_waits_for_the_commit(
    settings: Any, name: str, django_capture_on_commit_callbacks: Any
):
    backend = with_backend(settings, name)
    value = [1]

    with django_capture_on_commit_callbacks(execute=True):
        note.enqueue_on_commit(value)
        value.append(2)
        assert (RAN, getattr(backend, "results", [])) == ([], [])
        with pytest.raises(TypeError):
            note.enqueue_on_commit({1})

    ran = RAN or [result.args[0] for result in backend.results]
    assert ran == [[1]]


def test_a_backend_that_is_not_ours_serves_our_tasks(
    settings: Any, django_capture_on_commit_callbacks: Any, db: None
):
    settings.TASKS = {
        "default": {
            "BACKEND": f"{compat.TASKS_APP}.backends.dummy.DummyBackend",
            "QUEUES": [],
        }
    }

    results = note.enqueue_many([((1,), {}), ((2,), {})])
    with django_capture_on_commit_callbacks(execute=True):
        note.enqueue_on_commit(3)

    assert [result.args for result in results] == [[1], [2]]
    assert len(task_backends["default"].results) == 3  # type: ignore[attr-defined]
