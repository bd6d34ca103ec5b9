"""Results: waiting, being woken, and reading again."""

import asyncio
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connections, transaction

from django_workers import task
from django_workers.backend import waiting
from django_workers.brokers import broker_for
from django_workers.compat import (
    TaskResultDoesNotExist,
    TaskResultMismatch,
    TaskResultStatus,
)
from django_workers.exceptions import WaitInTransaction
from django_workers.models import Job
from django_workers.results import JobResult
from tests.support import wait_until

# Longer than any wait that is meant to be woken, shorter than a test may hang.
LONG = 30.0

UNKNOWN = str(uuid.UUID("9c2a5d0e-1111-4222-8333-444455556666"))


@task
def noop(*args: Any) -> None:
    pass


@task
def other() -> None:
    pass


def cancel(*job_ids: str) -> None:
    ids = [uuid.UUID(job_id) for job_id in job_ids]
    broker_for("default").cancel(ids, reason="enough")


@contextmanager
def in_a_thread(act: Callable[[], Any]) -> Iterator[None]:
    """Run something beside the block, on a connection of its own."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except BaseException as error:
            failed.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join(LONG)
    assert not thread.is_alive()
    assert failed == []


def ways_to_wait() -> list[Any]:
    """Return wait() and its twin, each as wait(result, timeout)."""
    return [
        pytest.param(lambda result, timeout: result.wait(timeout), id="wait"),
        pytest.param(
            lambda result, timeout: async_to_sync(result.await_result)(timeout),
            id="await_result",
        ),
    ]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("wait", ways_to_wait())
def test_a_job_that_has_ended_is_not_waited_for(wait: Any):
    result = noop.enqueue()
    cancel(result.id)

    waited = wait(result, 0)

    assert waited is result
    assert result.is_finished
    assert (result.job_status, result.reason) == ("cancelled", "enough")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("wait", ways_to_wait())
def test_time_is_up(wait: Any):
    result = noop.enqueue()
    before = time.monotonic()

    with pytest.raises(TimeoutError, match=rf"{result.id} has not ended within 0.2 s"):
        wait(result, 0.2)

    assert 0.2 <= time.monotonic() - before < LONG
    assert not result.is_finished
    with pytest.raises(TimeoutError):
        wait(result, 0)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("timeout", [LONG, None])
@pytest.mark.parametrize("wait", ways_to_wait())
def test_the_end_of_the_job_ends_the_wait(wait: Any, timeout: float | None):
    result = noop.enqueue()
    before = time.monotonic()

    with in_a_thread(lambda: cancel(result.id)):
        wait(result, timeout)

    assert result.status == TaskResultStatus.FAILED
    assert time.monotonic() - before < LONG / 2


@pytest.mark.django_db(transaction=True)
def test_many_coroutines_wait_at_once():
    results = [noop.enqueue() for _ in range(5)]

    async def wait_for_all() -> list[Any]:
        return await asyncio.gather(
            *(result.await_result(timeout=LONG) for result in results)
        )

    with in_a_thread(lambda: cancel(*(result.id for result in results))):
        waited = async_to_sync(wait_for_all)()

    assert [result.is_cancelled for result in waited] == [True] * 5


@pytest.mark.django_db(transaction=True)
def test_more_coroutines_than_threads_wait_their_own_time():
    results = [noop.enqueue() for _ in range(waiting.MOST_THREADS + 8)]
    patience = 2.0

    async def wait_for_all() -> float:
        before = time.monotonic()
        waits = [
            asyncio.ensure_future(result.await_result(timeout=patience))
            for result in results
        ]
        # What else the program does in threads of asyncio is not held up.
        await asyncio.gather(*(asyncio.to_thread(int) for _ in range(50)))
        between = time.monotonic()
        errors = await asyncio.gather(*waits, return_exceptions=True)
        assert [type(error) for error in errors] == [TimeoutError] * len(results)
        assert "has not ended within 2 s" in str(errors[-1])
        assert between - before < patience
        return time.monotonic() - before

    assert patience <= async_to_sync(wait_for_all)() < patience + 5
    wait_until(no_thread_waits)


@pytest.mark.django_db(transaction=True)
def test_who_finds_no_thread_sees_the_end_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(waiting, "_threads", threading.BoundedSemaphore(1))
    results = [noop.enqueue() for _ in range(3)]

    async def wait_for_all() -> Any:
        return await asyncio.gather(
            *(result.await_result(timeout=LONG) for result in results)
        )

    with in_a_thread(lambda: cancel(*(result.id for result in results))):
        waited = async_to_sync(wait_for_all)()

    assert [result.is_cancelled for result in waited] == [True] * 3


@pytest.mark.django_db(transaction=True)
def test_a_wait_that_is_given_up_leaves_no_thread(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(waiting, "SLICE_SECONDS", 0.1)
    result = noop.enqueue()

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(result.await_result(), timeout=0.3)

    async_to_sync(give_up)()

    wait_until(no_thread_waits)


def no_thread_waits() -> bool:
    return "django_workers-wait" not in [each.name for each in threading.enumerate()]


@pytest.mark.django_db(transaction=True)
def test_a_slice_is_not_the_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(waiting, "SLICE_SECONDS", 0.05)
    result = noop.enqueue()
    before = time.monotonic()

    with pytest.raises(TimeoutError, match=r"within 0\.4 s"):
        async_to_sync(result.await_result)(0.4)

    assert time.monotonic() - before >= 0.4


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("wait", ways_to_wait())
@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan")])
def test_a_wait_that_cannot_be_is_refused(wait: Any, timeout: float):
    with pytest.raises(ValueError, match="timeout must be seconds"):
        wait(noop.enqueue(), timeout)


@pytest.mark.django_db(transaction=True)
def test_waiting_in_a_transaction_is_refused():
    result = noop.enqueue()

    with (
        transaction.atomic(),
        pytest.raises(WaitInTransaction, match="after the block"),
    ):
        result.wait(timeout=LONG)


@pytest.mark.django_db(transaction=True)
def test_what_has_ended_may_be_asked_for_in_a_transaction():
    result = noop.enqueue()
    cancel(result.id)

    with transaction.atomic():
        assert result.wait(timeout=0).is_cancelled


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("wait", ways_to_wait())
def test_a_job_that_is_gone_cannot_be_waited_for(wait: Any):
    result = noop.enqueue()
    Job.objects.all().delete()

    with pytest.raises(TaskResultDoesNotExist):
        wait(result, LONG)
    with pytest.raises(TaskResultDoesNotExist):
        result.refresh()


@pytest.mark.django_db(transaction=True)
def test_a_job_that_goes_away_ends_the_wait():
    result = noop.enqueue()

    with (
        in_a_thread(Job.objects.all().delete),
        pytest.raises(TaskResultDoesNotExist),
    ):
        result.wait(timeout=LONG)


# Reading again


@pytest.mark.django_db
@pytest.mark.parametrize("way", ["refresh", "arefresh"])
def test_a_result_is_as_of_when_it_was_read(way: str):
    result = noop.enqueue()
    cancel(result.id)
    assert (result.job_status, result.status) == ("ready", TaskResultStatus.READY)

    if way == "refresh":
        result.refresh()
    else:
        async_to_sync(result.arefresh)()

    assert (result.job_status, result.status) == ("cancelled", TaskResultStatus.FAILED)
    assert result.reason == "enough"
    assert result.finished_at is not None
    assert len(result.errors) == 1


@pytest.mark.django_db
def test_the_value_of_what_has_not_ended_cannot_be_read():
    result = noop.enqueue()

    with pytest.raises(ValueError, match="not finished"):
        result.return_value  # noqa: B018


@pytest.mark.django_db
def test_a_task_reads_the_results_of_its_own_jobs():
    result = noop.enqueue()

    read = noop.get_result(result.id)

    assert isinstance(read, JobResult)
    assert read == result
    assert async_to_sync(noop.aget_result)(result.id) == result
    with pytest.raises(TaskResultMismatch):
        other.get_result(result.id)
    with pytest.raises(TaskResultDoesNotExist):
        noop.get_result(UNKNOWN)


@pytest.mark.django_db
def test_a_result_cannot_be_changed():
    result = noop.enqueue()

    with pytest.raises(AttributeError):
        result.job_status = "successful"  # type: ignore[misc]
