"""Stopping jobs before they end by themselves, and waiting until they do."""

import time
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.utils import timezone

from django_workers import control
from tests import tasks
from tests.e2e.jobs import (
    all_ended,
    attempts_of,
    ended,
    job_of,
    lines,
    outcomes_of,
    seconds_until,
    settings_of,
    wait_for_lines,
)
from tests.support import RunningWorker, wait_until

GRACE = 1.5
WORKER = ("--worker-id", "e2e-stopping", "--processes", "2", "--concurrency", "6")
WORKER_ENV = settings_of(CANCEL_GRACE=GRACE)


# Timeouts


def test_a_sync_task_that_takes_too_long_is_interrupted(worker):
    result = tasks.sleep_in_steps.enqueue(30)

    job = ended(result)

    assert (job.status, job.attempts) == ("failed", 1)
    assert job.reason == "ran longer than its timeout of 0.3 s"
    assert 0.3 <= job.duration < 0.3 + GRACE
    (attempt,) = attempts_of(job)
    assert attempt.outcome == "timed_out"
    assert attempt.exception == "django_workers.exceptions.TaskTimeout"
    assert "time.sleep(0.01)" in attempt.traceback


def test_a_coroutine_that_takes_too_long_is_cancelled(worker):
    job = ended(tasks.sleep_async.enqueue(30))

    assert (job.status, outcomes_of(job)) == ("failed", ["timed_out"])
    assert 0.3 <= job.duration < 0.3 + GRACE


def test_what_ends_in_time_is_left_alone(worker):
    results = [
        tasks.sleep_in_steps.enqueue(0.15),
        tasks.sleep_async.enqueue(0.15),
        tasks.sleep_in_steps.using(timeout=30).enqueue(0.5),
    ]

    assert [ended(result).result for result in results] == ["slept"] * 3


def test_a_timeout_is_tried_again_where_attempts_are_left(worker):
    job = ended(tasks.sleep_in_steps.using(max_attempts=2).enqueue(30), deadline=20)

    assert (job.status, job.attempts) == ("failed", 2)
    assert outcomes_of(job) == ["timed_out"] * 2


def test_a_task_may_return_when_its_time_is_up(worker, tmp_path):
    job = ended(tasks.finish_when_told.enqueue(str(tmp_path / "told")))

    assert (job.status, job.result) == ("successful", "in time")


def test_the_next_job_of_a_slot_is_not_hit_by_an_old_timeout(worker):
    together = [
        task.enqueue(seconds)
        for seconds in (0.29, 0.295, 0.3, 0.305)
        for task in (tasks.sleep_in_steps, tasks.sleep_async)
    ]
    after = tasks.add.enqueue_many([((n, n), {}) for n in range(100)])

    assert {job.status for job in all_ended(together)} <= {"successful", "failed"}
    assert {job.status for job in all_ended(after)} == {"successful"}


def _children(worker: RunningWorker) -> set[int]:
    """Return the processes that run tasks: all but the launcher and the supervisor."""
    return {process.pid for process in worker.tree()} - {worker.pid}


@pytest.mark.parametrize(
    "task", [tasks.sleep_deaf, tasks.block_the_loop.using(timeout=0.3)]
)
def test_a_task_that_cannot_be_stopped_costs_nothing_but_its_process(
    worker, tmp_path, task
):
    before = _children(worker)
    neighbours = tasks.sleep.enqueue_many([((2,), {})] * 3)
    path = tmp_path / "deaf"
    result = task.enqueue(str(path), 60)
    wait_for_lines(path, 1)

    job = ended(result)

    assert (job.status, outcomes_of(job)) == ("failed", ["timed_out"])
    assert job.reason.startswith("ran longer than its timeout of 0.")
    assert job.reason.endswith("s and ignored it")
    assert {job.status for job in all_ended(neighbours)} == {"successful"}
    assert not any(attempts_of(neighbour) for neighbour in neighbours)
    # It is killed, another one has taken its place, and the job is not run again.
    wait_until(lambda: len(before - _children(worker)) == 1)
    wait_until(lambda: len(_children(worker)) == len(before))
    assert ended(tasks.add_async.enqueue(1, 1)).result == 2
    assert lines(path) == ["began"]


def test_a_task_that_swallows_everything_is_given_up_too(worker, tmp_path):
    path = tmp_path / "swallows"
    job = ended(tasks.swallow_every_exception.enqueue(str(path)))

    assert (job.status, outcomes_of(job)) == ("failed", ["timed_out"])
    assert lines(path) == ["began", "TaskTimeout"]


# Cancelling


def test_a_running_task_that_looks_may_end_by_itself(worker, tmp_path):
    path = tmp_path / "began"
    result = tasks.until_cancelled.enqueue(str(path))
    wait_for_lines(path, 1)

    assert control.cancel(result.id, reason="changed my mind") == {
        result.id: "requested"
    }

    job = ended(result)
    assert job.status == "cancelled"
    assert job.reason == "tidied up; asked to stop: changed my mind"
    assert (job.attempts, outcomes_of(job)) == (0, ["cancelled"])


def test_a_running_task_that_does_not_look_gets_an_exception(worker, tmp_path):
    path = tmp_path / "began"
    result = tasks.until_injected.enqueue(str(path))
    wait_for_lines(path, 1)

    control.cancel(result.id, reason="changed my mind")

    job = ended(result, deadline=5)
    assert (job.status, job.reason) == ("cancelled", "changed my mind")
    (attempt,) = attempts_of(job)
    assert attempt.exception == "django_workers.exceptions.JobCancelled"
    assert "time.sleep(0.01)" in attempt.traceback


def test_a_coroutine_is_cancelled_and_may_clean_up(worker, tmp_path):
    path = tmp_path / "began"
    result = tasks.until_cancelled_async.enqueue(str(path))
    wait_for_lines(path, 1)

    control.cancel(result.id)

    assert ended(result).status == "cancelled"
    assert lines(path) == ["began", "cleaned up"]


@pytest.mark.parametrize(
    "task", [tasks.clean_up_when_told, tasks.clean_up_when_told_async]
)
@pytest.mark.parametrize("by", ["cancel", "timeout"])
def test_nothing_disturbs_a_clean_up_within_the_grace(worker, tmp_path, task, by):
    path = tmp_path / "began"
    timeout = 0.3 if by == "timeout" else 60
    result = task.using(timeout=timeout).enqueue(str(path), 1.2)
    wait_for_lines(path, 1)

    if by == "cancel":
        control.cancel(result.id)

    assert ended(result).reason in (
        "cancelled on request",
        "ran longer than its timeout of 0.3 s",
    )
    assert lines(path) == ["began", "cleaned up"]


def test_a_task_that_cannot_be_stopped_is_cancelled_without_it(worker, tmp_path):
    path = tmp_path / "deaf"
    result = tasks.sleep_deaf.using(timeout=60).enqueue(str(path), 60)
    wait_for_lines(path, 1)

    control.cancel(result.id)

    job = ended(result)
    assert (job.status, outcomes_of(job)) == ("cancelled", ["cancelled"])
    assert job.reason == "cancelled; the task ignored it and goes on"


def test_a_job_asked_to_cancel_is_not_tried_again(worker, tmp_path):
    path = tmp_path / "began"
    result = tasks.fail_once_cancelled.enqueue(str(path))
    wait_for_lines(path, 1)

    control.cancel(result.id)

    assert ended(result).status == "cancelled"
    assert lines(path) == ["began"]


@pytest.mark.parametrize(
    ("task", "args", "reason"),
    [
        (tasks.until_cancelled, [], "tidied up; asked to stop: {asked}"),
        (tasks.clean_up_when_told, [0], "{asked}"),
    ],
    ids=["own words", "no words"],
)
def test_who_asked_a_job_to_stop_finds_their_reason(
    worker, tmp_path, task, args, reason
):
    path = tmp_path / "began"
    result = task.enqueue(str(path), *args)
    wait_for_lines(path, 1)

    control.cancel(result.id, reason="ordered twice " * 20, by="ada")

    asked = "ordered twice " * 20 + " (by ada)"
    assert ended(result).reason == reason.format(asked=asked)


def test_a_waiting_job_is_cancelled_at_once_and_never_runs(worker, tmp_path):
    path = tmp_path / "ran"
    result = tasks.write.using(run_after=timedelta(seconds=0.5)).enqueue(str(path), "x")

    assert control.cancel(result.id, reason="not needed") == {result.id: "cancelled"}

    assert job_of(result).status == "cancelled"
    after = tasks.noop.using(run_after=timedelta(seconds=0.7)).enqueue()
    ended(after)
    assert not path.exists()
    result.refresh()
    assert result.is_cancelled


def test_a_job_that_has_ended_cannot_be_cancelled(worker):
    result = tasks.noop.enqueue()
    ended(result)

    assert control.cancel(result.id) == {result.id: "finished first"}
    assert job_of(result).status == "successful"


@pytest.mark.postgresql
def test_a_request_to_cancel_arrives_at_once(worker, tmp_path):
    path = tmp_path / "began"
    result = tasks.until_cancelled.enqueue(str(path))
    wait_for_lines(path, 1)

    control.cancel(result.id)

    assert seconds_until(lambda: job_of(result).is_finished) < 0.5


# Waiting


def _late(result: Any) -> float:
    """Return how many seconds after its job's end a wait() returned."""
    return (timezone.now() - result.finished_at).total_seconds()


def test_whoever_waits_is_woken(worker):
    late = []
    for _ in range(5):
        result = tasks.sleep.enqueue(0.2)
        assert result.wait(timeout=10) is result
        late.append(_late(result))
        assert result.return_value == 0.2

    assert min(late) < 0.1
    # Where nothing can be heard they look again and again, half a second apart at most.
    assert sorted(late)[2] < (0.6 if connection.vendor == "mysql" else 0.2)


def test_a_coroutine_may_wait_too(worker):
    async def enqueue_and_wait() -> Any:
        result = await tasks.add_async.aenqueue(1, 2)
        await result.await_result(timeout=10)
        return result.return_value

    assert async_to_sync(enqueue_and_wait)() == 3


def test_waiting_for_a_job_that_failed_returns(worker):
    result = tasks.fail.enqueue().wait(timeout=10)

    assert result.status.name == "FAILED"


def test_waiting_has_an_end(worker):
    result = tasks.noop.using(run_after=timedelta(hours=1)).enqueue()
    began = time.monotonic()

    with pytest.raises(TimeoutError, match=r"has not ended within 0\.2 s"):
        result.wait(timeout=0.2)

    assert 0.2 <= time.monotonic() - began < 2
