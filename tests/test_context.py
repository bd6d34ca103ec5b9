"""The context of a run: what a task can ask, and what code outside one is told."""

import time
from typing import Any

import pytest

from django_workers import context, task
from django_workers.compat import TaskContext, TaskResultStatus
from django_workers.context import CURRENT, JobContext, RunState
from django_workers.results import JobResult


@task
def noop() -> None:
    pass


@task(takes_context=True)
def handed(context: Any) -> Any:
    return context


def result_of(**changes: Any) -> JobResult[..., Any]:
    values: dict[str, Any] = {
        "task": noop,
        "id": "some-id",
        "status": TaskResultStatus.RUNNING,
        "enqueued_at": None,
        "started_at": None,
        "finished_at": None,
        "last_attempted_at": None,
        "args": [],
        "kwargs": {},
        "backend": "default",
        "errors": [],
        "worker_ids": ["w", "w"],
    }
    return JobResult(**(values | changes))


def context_with(**state: Any) -> JobContext:
    return JobContext(task_result=result_of(), run=RunState(**state))


def test_outside_a_job_there_is_no_context():
    with pytest.raises(LookupError, match="outside a running job"):
        context()


def test_a_run_knows_its_job():
    here = context_with()

    assert isinstance(here, TaskContext)
    assert (here.job_id, here.attempt) == ("some-id", 2)
    assert here.task_result.job_status == "ready"


def test_without_a_timeout_there_is_no_time_to_remain():
    assert context_with().remaining is None


def test_what_remains_runs_out_and_stays_at_zero():
    assert 9 < (context_with(deadline=time.monotonic() + 10).remaining or 0) <= 10
    assert context_with(deadline=time.monotonic() - 10).remaining == 0.0


def test_a_run_is_told_of_a_cancel_and_of_a_drain():
    here = context_with()
    assert (here.cancelled, here.is_shutting_down()) == (False, False)

    here.run.cancelled = True

    assert here.cancelled
    assert context_with(stopping=lambda: True).is_shutting_down()


def test_anything_a_task_calls_gets_the_same_context():
    here = context_with()
    token = CURRENT.set(here)
    try:
        assert context() is here
    finally:
        CURRENT.reset(token)


def test_a_test_may_hand_its_own_context_over():
    theirs = TaskContext(task_result=result_of())

    assert handed.call(theirs) is theirs
