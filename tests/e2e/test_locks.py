"""Rows that somebody else holds: a forgotten transaction stops nobody."""

from contextlib import contextmanager

import pytest
from django.db import connections, transaction

from django_workers.models import Job, WorkerSession
from tests import tasks
from tests.e2e.jobs import all_ended, ended, job_of, lines, wait_for_lines
from tests.support import wait_until

SHORT_LEASE = (
    *("--lock-duration", "3", "--heartbeat-interval", "0.4"),
    *("--stale-check-interval", "0.3"),
)

pytestmark = [
    pytest.mark.mariadb,
    pytest.mark.postgresql,
    pytest.mark.django_db(transaction=True),
]


@contextmanager
def held(*jobs):
    """Hold the rows of jobs in an open transaction on a connection of its own."""
    other = connections["default"].copy()
    connections["held"] = other
    try:
        with transaction.atomic(using="held"):
            rows = Job.objects.using("held").filter(id__in=[job.id for job in jobs])
            assert len(rows.select_for_update()) == len(jobs)
            yield
    finally:
        other.close()
        del connections["held"]


def beats_of(worker_id):
    return WorkerSession.objects.get(worker_id=worker_id).heartbeat_at


def test_a_running_job_that_somebody_holds_keeps_no_other_from_ending(
    run_worker, tmp_path
):
    path = tmp_path / "began"
    with run_worker("--worker-id", "one", *SHORT_LEASE):
        locked = tasks.write_then_sleep.enqueue(str(path), "x", 0.5)
        wait_for_lines(path, 1)
        with held(locked):
            others = tasks.add.enqueue_many([((n, 1), {}) for n in range(200)])
            jobs = all_ended(others)
            assert {job.status for job in jobs} == {"successful"}

            before = beats_of("one")
            wait_until(lambda: beats_of("one") > before)
            assert job_of(locked).status == "running"

        assert ended(locked).status == "successful"
    assert len(lines(path)) == 1


def test_a_dead_workers_job_that_somebody_holds_stops_no_other_worker(
    run_worker, tmp_path
):
    path = tmp_path / "began"
    with run_worker("--worker-id", "dies", *SHORT_LEASE) as dies:
        locked, other = (
            tasks.write_then_sleep.enqueue(str(path), str(n), 1) for n in range(2)
        )
        wait_for_lines(path, 2)
        dies.kill_tree()
    with held(locked), run_worker("--worker-id", "lives", *SHORT_LEASE):
        # The other one is rescued, and whatever is new runs.
        assert ended(other, deadline=20).status == "successful"
        assert ended(tasks.add.enqueue(1, 2)).result == 3
        assert WorkerSession.objects.get(worker_id="lives").state == "running"
        assert job_of(locked).status == "running"

    with run_worker(*SHORT_LEASE):
        assert ended(locked, deadline=20).status == "successful"
