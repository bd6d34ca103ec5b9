"""Supervisors, launchers and hosts that die or freeze, and who has their jobs then."""

import signal
import sqlite3
from contextlib import closing, suppress
from datetime import timedelta
from typing import Any

import psutil
import pytest
from django.db import connection
from django.utils import timezone

from django_workers.models import Job, WorkerSession
from tests import tasks
from tests.e2e.jobs import (
    all_ended,
    attempts_of,
    children_of,
    ended,
    job_of,
    lines,
    outcomes_of,
    runs_of,
    seconds_until,
    supervisor_of,
    told,
    wait_for_lines,
)
from tests.support import RunningWorker, wait_until

LEASE = timedelta(seconds=2)
# A lease as short as it may be: what waits for one takes two seconds, not ten.
SHORT_LEASE = (
    *("--lock-duration", "2", "--heartbeat-interval", "0.4"),
    *("--stale-check-interval", "0.3"),
)
ONE_CHILD = ("--processes", "1", "--concurrency", "2")

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.thorough]


# Supervisors


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
        assert job.interruptions == len(outcomes_of(job))
    old, new = WorkerSession.objects.order_by("started_at")
    assert (old.state, new.state) == ("lost", "running")
    assert old.stop_reason == "its process died"


def living_below(worker: RunningWorker) -> list[psutil.Process]:
    """Return the living processes that the launcher has started, oldest first."""
    alive = []
    for process in psutil.Process(worker.pid).children():
        with suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                alive.append((process.create_time(), process.pid, process))
    return [process for _, _, process in sorted(alive)]


def test_a_supervisor_that_dies_again_and_again_ends_the_worker(run_worker, tmp_path):
    path = tmp_path / "runs"
    result = tasks.note_process.enqueue(str(path), "long", 60)
    deaths = 0
    with run_worker(*ONE_CHILD, *SHORT_LEASE) as worker:
        wait_for_lines(path, 1)
        known: set[int] = set()

        def started() -> Any:
            if worker.process.poll() is not None:
                return "ended"
            fresh = [p for p in living_below(worker) if p.pid not in known]
            # The supervisor comes first, its child second.
            return fresh if len(fresh) == 2 else None

        while (fresh := wait_until(started, deadline=30)) != "ended":
            known |= {process.pid for process in fresh}
            fresh[0].kill()
            deaths += 1

        assert worker.wait() == 6
        assert deaths == 6
        assert worker.tree() == []
        assert worker.output().count("killed by SIGKILL: starting another") == 5
        assert "giving up" in worker.output().splitlines()[-1]
    # Nothing is lost: the next worker runs it, at once or when a lease has run out.
    before = len(lines(path))
    with run_worker(*ONE_CHILD, *SHORT_LEASE):
        wait_for_lines(path, before + 1, deadline=20)
        job = job_of(result)
        assert (job.status, job.attempts, job.crashes) == ("running", 0, 0)
        assert outcomes_of(job) == ["lost"] * job.interruptions != []


def test_a_supervisor_that_dies_while_it_drains_ends_the_worker(run_worker, tmp_path):
    path = tmp_path / "runs"
    result = tasks.note_process.enqueue(str(path), "long", 60)
    with run_worker(*ONE_CHILD, *SHORT_LEASE) as worker:
        wait_for_lines(path, 1)
        worker.send(signal.SIGTERM)
        worker.wait_for_output("Draining")
        supervisor_of(worker).kill()

        assert worker.wait() == 6

        assert worker.tree() == []
    assert job_of(result).status == "running"
    with run_worker(*ONE_CHILD, *SHORT_LEASE):
        wait_for_lines(path, 2, deadline=20)
        assert outcomes_of(result) == ["lost"]


def freeze(*processes: psutil.Process) -> None:
    """Suspend processes, but not in the middle of a write.

    A file of SQLite that somebody writes to who is frozen is locked for everybody.
    """

    def frozen() -> bool:
        for process in processes:
            process.suspend()
        if connection.vendor != "sqlite" or is_unlocked():
            return True
        for process in processes:
            process.resume()
        return False

    wait_until(frozen, pause=0.05)


def is_unlocked() -> bool:
    """Whether the session's SQLite file can be read and written now."""
    with closing(sqlite3.connect(connection.settings_dict["NAME"], timeout=0.2)) as own:
        try:
            own.execute("PRAGMA journal_mode = WAL")
            own.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        return True


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
        freeze(supervisor)
        lease = WorkerSession.objects.get(worker_id="first").lease_until
        wait_until(lambda: timezone.now() > lease + LEASE)
        supervisor.resume()

        jobs = all_ended(results)

        assert WorkerSession.objects.get(worker_id="first").state == "running"
    assert {(job.status, job.worker) for job in jobs} == {("successful", "first")}
    assert not any(outcomes_of(job) for job in jobs)
    assert len(lines(path)) == 3


@pytest.mark.parametrize("frozen", ["supervisor", "host"])
def test_what_was_frozen_beyond_its_lease_ends_nothing_that_others_have(
    run_worker, tmp_path, frozen
):
    path = tmp_path / "runs"
    with run_worker("--worker-id", "first", *SHORT_LEASE) as first:
        results = tasks.note_process.enqueue_many(
            [((str(path), str(n), 1.5), {}) for n in range(3)]
        )
        wait_for_lines(path, 3)
        supervisor = supervisor_of(first)
        # The children of a supervisor go on: what they report waits until it wakes up.
        asleep = [supervisor] if frozen == "supervisor" else first.tree()
        freeze(*asleep)
        with run_worker("--worker-id", "second", *SHORT_LEASE):
            jobs = all_ended(results)
            before = {job.id: (job.finished_at, job.result) for job in jobs}
            for process in asleep:
                process.resume()
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


# Launchers and hosts


def test_nothing_is_left_behind_by_a_killed_launcher(run_worker, tmp_path):
    path = tmp_path / "pids"
    with run_worker(*ONE_CHILD) as worker:
        tasks.write_pid_then_sleep.enqueue(str(path), 30)
        wait_for_lines(path, 1)

        worker.process.kill()

        wait_until(lambda: not worker.tree(), deadline=5)
    assert Job.objects.running().count() == 1


def test_another_host_takes_over_within_fifteen_seconds(run_worker, tmp_path):
    path = tmp_path / "pids"
    with run_worker(*ONE_CHILD, "--worker-id", "lost-host") as lost:
        result = tasks.write_pid_then_sleep.enqueue(str(path), 5)
        wait_for_lines(path, 1)
        with run_worker(*ONE_CHILD):
            lost.kill_tree()

            assert seconds_until(lambda: len(lines(path)) == 2) < 15
            job = ended(result)

    assert (job.status, job.attempts, job.interruptions) == ("successful", 1, 1)
    (attempt,) = attempts_of(job)
    assert (attempt.outcome, attempt.worker) == ("lost", "lost-host")
