"""What travels from the code that enqueues to the code that runs, and no further."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import override_settings
from django.utils import timezone, translation

from tests import tasks
from tests.e2e import carried
from tests.e2e.carried import LISTED, PLAIN, request, tenant
from tests.e2e.jobs import all_ended, attempts_of, ended, job_of, lines, settings_of

pytestmark = pytest.mark.usefixtures("worker")
# Few slots, so that the next job soon meets what the last one has left.
WORKER = ("--worker-id", "e2e-carriers", "--processes", "1", "--concurrency", "2")
WORKER_ENV = settings_of(
    AUTODISCOVER=["tasks", "tests.e2e.carried"], CARRIERS=list(LISTED)
)
LOOKS = pytest.mark.parametrize(
    "task", [carried.look, carried.look_async], ids=["sync", "coroutine"]
)


@pytest.fixture(autouse=True)
def _carriers_here() -> Iterator[None]:
    """Capture here what the worker restores there."""
    with override_settings(DJANGO_WORKERS={"CARRIERS": list(LISTED)}):
        yield


@contextmanager
def acting_as(name: str) -> Iterator[list[str]]:
    """Have everything active that is carried; yields what a body should see."""
    token = tenant.set(name)
    request.id = f"request of {name}"
    try:
        with translation.override("de"), timezone.override("Asia/Tokyo"):
            yield ["de", "Asia/Tokyo", name, f"request of {name}"]
    finally:
        tenant.reset(token)
        del request.id


@LOOKS
def test_what_is_active_where_a_job_is_enqueued_is_so_where_it_runs(task):
    with acting_as("acme") as active:
        result = task.enqueue()

    assert ended(result).result == active


@LOOKS
def test_jobs_enqueued_together_or_from_a_coroutine_carry_too(task):
    async def enqueue() -> Any:
        return await task.aenqueue()

    with acting_as("acme") as active:
        results = [*task.enqueue_many([((), {})] * 3), async_to_sync(enqueue)()]

    assert [job.result for job in all_ended(results)] == [active] * 4


@LOOKS
def test_what_is_not_active_is_not_stored(task):
    result = task.enqueue()

    assert ended(result).result == PLAIN
    assert job_of(result).metadata == {}


@LOOKS
def test_nothing_is_left_for_the_next_job(task):
    results, expected = [], []
    for n in range(60):
        results.append(task.enqueue())
        expected.append(PLAIN)
        with acting_as(f"tenant {n}") as active:
            results.append(task.enqueue())
            expected.append(active)

    assert [job.result for job in all_ended(results)] == expected


@pytest.mark.parametrize(
    "culprit",
    [
        tasks.change_process_state,
        carried.change_everything,
        carried.change_everything_async,
    ],
)
@LOOKS
def test_what_a_body_changes_is_gone_for_the_next(culprit, task):
    results = []
    for _ in range(20):
        culprit.enqueue()
        results.append(task.enqueue())

    assert [job.result for job in all_ended(results)] == [PLAIN] * 20


def test_coroutines_that_run_at_a_time_each_see_their_own():
    results, expected = [], []
    for n in range(10):
        with acting_as(f"tenant {n}") as active:
            results.append(carried.look_twice_async.enqueue(0.1))
        expected.append([active] * 3)

    assert [job.result for job in all_ended(results)] == expected


@pytest.mark.parametrize("task", [carried.enqueue_look, carried.enqueue_look_async])
def test_a_job_hands_it_on_to_the_jobs_it_enqueues(task):
    with acting_as("acme") as active:
        result = task.enqueue()

    assert ended(ended(result).result).result == active


def test_a_later_attempt_sees_it_again(tmp_path):
    path = tmp_path / "seen"
    with acting_as("acme") as active:
        result = carried.look_and_fail.enqueue(str(path))

    assert ended(result).attempts == 2
    assert lines(path) == [repr(active)] * 2


@LOOKS
def test_a_value_that_the_worker_has_no_carrier_for_is_left_out(task):
    listed = [*LISTED, "tests.e2e.carried.FormerCarrier"]
    with (
        override_settings(DJANGO_WORKERS={"CARRIERS": listed}),
        acting_as("acme") as active,
    ):
        result = task.enqueue()

    assert "former" in job_of(result).metadata["context"]
    assert ended(result).result == active


@LOOKS
def test_a_carrier_that_fails_fails_the_attempt_and_nothing_else(worker, task):
    before = {process.pid for process in worker.tree()}
    with acting_as("broken"):
        job = ended(task.enqueue())

    assert job.status == "failed"
    (attempt,) = attempts_of(job)
    assert attempt.exception == "builtins.LookupError"
    assert attempt.message == "cannot be restored"
    # What had been restored before it is put back.
    assert [ended(task.enqueue()).result for _ in range(4)] == [PLAIN] * 4
    assert {process.pid for process in worker.tree()} == before
