"""Who pays for a crash: what had started, once, and nothing that merely waited.

The plain deaths, one at a time, are in test_dying.py.
"""

import os
import signal
from collections import Counter
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from django.utils import timezone

from django_workers.models import WorkerSession
from tests import tasks
from tests.e2e.jobs import (
    all_ended,
    attempts_of,
    children_of,
    ended,
    job_of,
    lines,
    outcomes_of,
    seconds_until,
    supervisor_of,
    told,
    wait_for_lines,
)
from tests.support import wait_until

LEASE = timedelta(seconds=2)
# A lease as short as it may be: what waits for one takes two seconds, not ten.
SHORT_LEASE = (
    *("--lock-duration", "2", "--heartbeat-interval", "0.4"),
    *("--stale-check-interval", "0.3"),
)

pytestmark = pytest.mark.django_db(transaction=True)


def runs_of(path: Path) -> Counter[str]:
    """Return how often each name has been noted."""
    return Counter(line.split()[0] for line in lines(path))


def noted_by(path: Path, pid: int) -> set[str]:
    """Return the names noted by one process."""
    return {line.split()[0] for line in lines(path) if line.split()[1] == str(pid)}


def test_a_killed_process_costs_only_what_it_had_started(run_worker, tmp_path):
    path = tmp_path / "runs"
    results = tasks.note_process.enqueue_many(
        [((str(path), str(n), 2.0), {}) for n in range(12)]
    )
    with run_worker("--processes", "2", "--concurrency", "8"):
        wait_for_lines(path, 8)
        pid = int(lines(path)[0].split()[1])
        hit = noted_by(path, pid)
        os.kill(pid, signal.SIGKILL)

        took = seconds_until(lambda: all(runs_of(path)[name] == 2 for name in hit))

        print(f"started again after {took:.3f} s")
        assert took < 1
        jobs = all_ended(results)
    assert {job.status for job in jobs} == {"successful"}
    for name, job in enumerate(jobs):
        if str(name) in hit:
            (attempt, *_) = attempts_of(job)
            assert (attempt.outcome, attempt.pid) == ("crashed", pid)
            assert "was killed by SIGKILL" in attempt.message
            assert (job.attempts, job.crashes, job.interruptions) == (1, 1, 0)
        else:
            assert attempts_of(job) == []
            assert (job.attempts, job.crashes, job.interruptions) == (1, 0, 0)
            assert runs_of(path)[str(name)] == 1


def test_work_held_ahead_by_a_killed_process_is_not_charged(run_worker, tmp_path):
    path = tmp_path / "runs"
    results = tasks.note_process.enqueue_many(
        [((str(path), str(n), 0.0), {}) for n in range(6_000)]
    )
    with run_worker("--processes", "2", "--concurrency", "4") as worker:
        for count in (500, 2_000, 3_500):
            wait_until(lambda count=count: len(lines(path)) > count, deadline=20)
            children_of(worker)[0].kill()
        jobs = all_ended(results, deadline=40)

    assert {job.status for job in jobs} == {"successful"}
    assert all(job.interruptions == 0 for job in jobs)
    runs = runs_of(path)
    unnoted = 0
    for name, job in enumerate(jobs):
        assert runs[str(name)] <= 1 + job.crashes, told(job)
        unnoted += 1 + job.crashes - runs[str(name)]
        if job.crashes:
            assert outcomes_of(job) == ["crashed"] * job.crashes
    # What merely waited in the process is not charged. Each of its two slots may have
    # been killed between the start of a job and the job's first word.
    assert unnoted <= 3 * 2


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_job_that_kills_its_process_harms_no_neighbour(
    run_worker, tmp_path, processes
):
    path = tmp_path / "runs"
    poison = tasks.die_in_company.enqueue(str(path), 1)
    neighbours = tasks.note_process.enqueue_many(
        [((str(path), str(n), 0.7), {}) for n in range(6)]
    )
    with run_worker("--processes", processes, "--concurrency", "4"):
        job = ended(poison, deadline=30)
        jobs = all_ended(neighbours)

    assert (job.status, job.attempts, job.crashes) == ("failed", 0, 3)
    assert job.reason.endswith("it has killed 3 processes")
    assert outcomes_of(job) == ["crashed"] * 3
    assert attempts_of(job)[-1].exception == "django_workers.exceptions.Quarantined"
    assert {row.status for row in jobs} == {"successful"}, list(map(told, jobs))
    # Who may have been the culprit runs once more, alone; nobody is hit twice for it.
    assert max(row.crashes for row in jobs) <= 2


def test_what_a_task_has_started_dies_with_its_process(run_worker, tmp_path):
    path = tmp_path / "pids"
    result = tasks.start_another_and_sleep.enqueue(str(path), 60)
    with run_worker("--processes", "1") as worker:
        (pid,) = wait_for_lines(path, 1)
        children_of(worker)[0].kill()

        wait_until(lambda: not psutil.pid_exists(int(pid)))

        wait_for_lines(path, 2)
        assert outcomes_of(result) == ["crashed"]


def test_a_killed_supervisor_is_replaced_and_its_jobs_run_again(run_worker, tmp_path):
    path = tmp_path / "runs"
    results = tasks.note_process.enqueue_many(
        [((str(path), str(n), 1.0), {}) for n in range(6)]
    )
    with run_worker("--processes", "2", "--concurrency", "4") as worker:
        wait_for_lines(path, 4)
        children = children_of(worker)
        started = set(runs_of(path))
        supervisor_of(worker).kill()

        gone = seconds_until(lambda: not any(child.is_running() for child in children))
        took = seconds_until(lambda: all(runs_of(path)[name] == 2 for name in started))

        assert gone < 1
        # No lease had to run out: the launcher knows that it is dead.
        assert took < 3
        jobs = all_ended(results)
        assert worker.process.poll() is None
        assert "The supervisor was killed by SIGKILL: starting another" in (
            worker.output()
        )
    assert {job.status for job in jobs} == {"successful"}
    for name, job in enumerate(jobs):
        assert runs_of(path)[str(name)] == 1 + len(outcomes_of(job)), told(job)
        assert set(outcomes_of(job)) <= {"lost"}
        assert (job.attempts, job.crashes) == (1, 0)
    old, new = WorkerSession.objects.order_by("started_at")
    assert (old.state, new.state) == ("lost", "running")
    assert old.stop_reason == "its process died"


def test_a_supervisor_frozen_beyond_its_lease_goes_on_if_nobody_missed_it(
    run_worker, tmp_path
):
    path = tmp_path / "runs"
    with run_worker("--worker-id", "first", *SHORT_LEASE) as first:
        results = tasks.note_process.enqueue_many(
            [((str(path), str(n), 1.5), {}) for n in range(3)]
        )
        wait_for_lines(path, 3)
        supervisor = supervisor_of(first)
        supervisor.suspend()
        lease = WorkerSession.objects.get(worker_id="first").lease_until
        wait_until(lambda: timezone.now() > lease + LEASE)
        supervisor.resume()

        jobs = all_ended(results)

        assert WorkerSession.objects.get(worker_id="first").state == "running"
    assert {(job.status, job.worker) for job in jobs} == {("successful", "first")}
    assert not any(outcomes_of(job) for job in jobs)
    assert len(lines(path)) == 3


def test_a_supervisor_frozen_beyond_its_lease_ends_nothing_that_others_have(
    run_worker, tmp_path
):
    path = tmp_path / "runs"
    with run_worker("--worker-id", "first", *SHORT_LEASE) as first:
        results = tasks.note_process.enqueue_many(
            [((str(path), str(n), 1.5), {}) for n in range(3)]
        )
        wait_for_lines(path, 3)
        supervisor = supervisor_of(first)
        # Its children go on: what they report waits until it wakes up.
        supervisor.suspend()
        with run_worker("--worker-id", "second", *SHORT_LEASE):
            jobs = all_ended(results)
            before = {job.id: (job.finished_at, job.result) for job in jobs}
            supervisor.resume()
            wait_until(lambda: not supervisor.is_running())
            wait_until(
                lambda: WorkerSession.objects.filter(
                    worker_id="first", state="running"
                ).exists()
            )

            assert first.process.poll() is None
            assert "Another worker found this one dead: starting afresh" in (
                first.output()
            )
        for job in map(job_of, jobs):
            assert (job.finished_at, job.result) == before[job.id]
            assert (job.status, job.worker) == ("successful", "second")
            assert outcomes_of(job) == ["lost"]
            assert (job.attempts, job.interruptions) == (1, 1)
        assert ended(tasks.noop.enqueue()).worker == "first"
