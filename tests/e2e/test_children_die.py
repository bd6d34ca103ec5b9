"""Children that die: what had started pays, once, and nothing that merely waited."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests import tasks
from tests.e2e.jobs import (
    all_ended,
    attempts_of,
    children_of,
    ended,
    lines,
    outcomes_of,
    runs_of,
    seconds_until,
    told,
    wait_for_lines,
)
from tests.support import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


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


def test_a_job_that_must_not_run_twice_fails_with_its_process(run_worker):
    with run_worker():
        job = ended(tasks.die_once.enqueue())

    assert (job.status, job.crashes) == ("failed", 1)
    assert "must not run twice" in job.reason
    assert outcomes_of(job) == ["crashed"]
