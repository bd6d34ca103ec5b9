"""The last words about attempts: sent whatever one receiver does."""

import queue

import pytest

from django_workers.backend import DatabaseBackend
from django_workers.compat import task_enqueued, task_finished, task_started
from django_workers.conf import build_settings
from django_workers.ids import uuid7
from django_workers.runtime import attempt
from django_workers.runtime.aftermath import STALE, Aftermath, announce_made
from django_workers.runtime.attempt import Report
from django_workers.runtime.execution import Execution
from django_workers.runtime.executors.aio import LoopThread
from django_workers.runtime.executors.base import Slot
from django_workers.signals import job_completed, job_stale
from tests.runtime.test_dispatcher import job

ENOUGH_SECONDS = 10


@pytest.fixture
def execution():
    return Execution(
        worker_id="worker-1",
        settings=build_settings({}),
        loop=LoopThread(1),
        stopping=lambda: False,
    )


@pytest.fixture
def receive():
    """Connect a function to a signal for the length of a test."""
    connected = []

    def connect(signal, function):
        signal.connect(function, weak=False)
        connected.append((signal, function))

    yield connect
    for signal, function in connected:
        signal.disconnect(function)


def run(execution, number):
    work = (number, tuple(job(number)), None)
    return Report._make(execution.run(Slot(0, number=number), work))


def leave(**kwargs):
    raise SystemExit(3)


def test_a_receiver_that_exits_at_the_start_fails_no_job(execution, receive):
    receive(task_started, leave)

    assert run(execution, 1).kind == attempt.SUCCEED


def test_a_receiver_that_exits_silences_nobody_else(execution, receive):
    heard = queue.SimpleQueue()

    def exit_once(job, **kwargs):
        heard.put(job.id)
        if job.id == "job-1":
            raise SystemExit(3)

    receive(job_completed, exit_once)
    for number in (1, 2, 3):
        run(execution, number)
    aftermath = Aftermath(execution)

    # Two in one frame, and one later.
    aftermath.acknowledge([(1, "successful"), (2, "successful")])
    aftermath.acknowledge([(3, "successful")])

    assert [heard.get(timeout=ENOUGH_SECONDS) for _ in range(3)] == [
        "job-1",
        "job-2",
        "job-3",
    ]
    aftermath.finish(ENOUGH_SECONDS)


def test_a_dropped_result_is_announced_as_such_and_as_nothing_else(execution, receive):
    heard = queue.SimpleQueue()

    def hear(name):
        return lambda sender, **given: heard.put((name, sender, given))

    receive(job_stale, hear("job_stale"))
    receive(job_completed, hear("job_completed"))
    receive(task_finished, hear("task_finished"))
    for number in (1, 2):
        run(execution, number)
    aftermath = Aftermath(execution)

    aftermath.acknowledge([(1, STALE), (2, "successful")])
    aftermath.finish(ENOUGH_SECONDS)

    names = []
    while not heard.empty():
        name, sender, given = heard.get()
        names.append(name)
        job = given.get("job") or given["task_result"]
        assert sender is DatabaseBackend
        assert job.id == ("job-1" if name == "job_stale" else "job-2")
    assert names == ["job_stale", "task_finished", "job_completed"]


@pytest.mark.django_db
@pytest.mark.parametrize("backend", ["default", "gone"])
def test_of_a_schedules_job_that_is_gone_nothing_is_told(receive, backend):
    heard = []
    receive(task_enqueued, lambda **kwargs: heard.append(kwargs))

    announce_made(str(uuid7()), backend)

    assert heard == []
