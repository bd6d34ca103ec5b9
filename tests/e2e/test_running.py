"""A job's ordinary way: enqueued here, run by a worker, its outcome read here."""

import os
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone

from django_workers.compat import TaskResultStatus
from tests import tasks
from tests.e2e.jobs import attempts_of, ended, job_of, lines, outcomes_of
from tests.support import wait_until

pytestmark = pytest.mark.usefixtures("worker")
WORKER = ("--worker-id", "e2e-running")


def test_a_sync_task_runs_and_its_result_is_kept():
    result = tasks.add.enqueue(1, b=2)

    job = ended(result)

    assert (job.status, job.result) == ("successful", 3)
    result.refresh()
    assert result.status == TaskResultStatus.SUCCESSFUL
    assert result.return_value == 3
    assert result.errors == []
    assert result.worker_ids == ["e2e-running"]
    assert result.attempts == 1
    assert (result.args, result.kwargs) == ([1], {"b": 2})


def test_a_coroutine_task_runs():
    result = tasks.add_async.enqueue(1, 2)

    assert ended(result).result == 3


def test_a_result_may_be_anything_json_holds():
    value = {"a": [1, 2.5, None, True, "ä\n\U0001f600"], "": {}}

    assert ended(tasks.echo.enqueue(value)).result == value
    assert ended(tasks.echo.enqueue(None)).result is None


def test_a_first_success_needs_no_attempt_row():
    job = ended(tasks.noop.enqueue())

    assert attempts_of(job) == []
    assert (job.attempts, job.crashes, job.interruptions) == (1, 0, 0)
    assert (job.epoch, job.session, job.worker) == (1, None, "e2e-running")


def test_instants_follow_each_other_and_the_duration_is_the_bodys():
    job = ended(tasks.sleep.enqueue(0.2))

    assert job.started_at == job.last_attempted_at
    assert job.enqueued_at <= job.started_at <= job.finished_at
    assert job.finished_at - job.started_at >= timedelta(seconds=0.2)
    assert 0.2 <= job.duration < 2


def test_a_task_learns_its_context():
    result = tasks.look_around.using(
        tags=["eu"], metadata={"tenant": 7}, timeout=60, priority=5
    ).enqueue("a", key="b")

    seen = ended(result).result

    assert 0 < seen.pop("remaining") <= 60
    assert seen == {
        "id": result.id,
        "attempt": 1,
        "args": ["a"],
        "kwargs": {"key": "b"},
        "status": "RUNNING",
        "worker_ids": ["e2e-running"],
        "tags": ["eu"],
        "tenant": 7,
        "priority": 5,
        "cancelled": False,
        "shutting_down": False,
        "same": True,
    }


def test_a_coroutine_task_learns_its_context():
    result = tasks.attempt_of_async.enqueue()

    assert ended(result).result == [1, result.id]


def test_a_failure_keeps_its_exception():
    result = tasks.fail.enqueue("why not")

    job = ended(result)

    assert (job.status, job.reason, job.attempts) == ("failed", "why not", 1)
    assert outcomes_of(job) == ["failed"]
    result.refresh()
    assert result.status == TaskResultStatus.FAILED
    (error,) = result.errors
    assert error.exception_class is ValueError
    assert "raise ValueError(message)" in error.traceback
    assert "django_workers" not in error.traceback


def test_an_attempt_row_says_who_ran_it():
    job = ended(tasks.fail.enqueue())

    (attempt,) = attempts_of(job)

    assert (attempt.number, attempt.epoch, attempt.worker) == (1, 1, "e2e-running")
    assert attempt.host == os.uname().nodename
    assert attempt.pid
    assert attempt.message == "no"
    assert abs(attempt.started_at - job.started_at) < timedelta(milliseconds=1)
    assert attempt.finished_at >= attempt.started_at
    assert attempt.duration == job.duration


def test_a_job_waits_until_it_is_due():
    due = timezone.now() + timedelta(seconds=0.5)

    result = tasks.noop.using(run_after=due).enqueue()

    assert job_of(result).status == "scheduled"
    assert ended(result).started_at >= due


def test_a_job_enqueued_by_a_job_runs():
    result = tasks.enqueue_another.enqueue()

    inner = ended(result).result

    assert ended(inner).status == "successful"


def test_jobs_may_be_enqueued_from_a_coroutine():
    async def enqueue() -> Any:
        return [await tasks.add_async.aenqueue(n, n) for n in range(3)]

    results = async_to_sync(enqueue)()

    assert [ended(result).result for result in results] == [0, 2, 4]


def test_a_burst_of_jobs_all_run_once(tmp_path):
    path = tmp_path / "burst"

    results = tasks.write.enqueue_many([((str(path), str(n)), {}) for n in range(2000)])

    for result in results[:: len(results) // 10]:
        ended(result, deadline=30)
    wait_until(lambda: len(lines(path)) >= 2000, deadline=30)
    assert sorted(lines(path)) == sorted(map(str, range(2000)))
