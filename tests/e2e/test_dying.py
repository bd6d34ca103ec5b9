"""Processes, hosts and servers that die in the middle of the work."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from django_workers.models import Job, WorkerSession
from tests import tasks
from tests.e2e.jobs import (
    all_ended,
    attempts_of,
    ended,
    job_of,
    lines,
    outcomes_of,
    seconds_until,
    wait_for_lines,
)
from tests.support import ROOT, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

ONE_CHILD = ("--processes", "1", "--concurrency", "2")


def supervisor_of(worker: Any) -> int:
    """Return the id of a worker's supervisor: the first process its launcher forked."""
    children = [p for p in worker.tree() if p.ppid() == worker.process.pid]
    return int(min(children, key=lambda process: process.create_time()).pid)


# Children


def test_the_jobs_of_a_killed_child_run_again_within_a_second(run_worker, tmp_path):
    path = tmp_path / "pids"
    with run_worker(*ONE_CHILD):
        running = [tasks.write_pid_then_sleep.enqueue(str(path), 2) for _ in range(2)]
        first = wait_for_lines(path, 2)
        waiting = tasks.noop.enqueue_many([((), {})] * 20)

        os.kill(int(first[0]), signal.SIGKILL)

        assert seconds_until(lambda: len(lines(path)) >= 4) < 1
        all_ended([*running, *waiting])

    for result in running:
        job = job_of(result)
        assert (job.status, job.attempts, job.crashes) == ("successful", 1, 1)
        assert outcomes_of(job) == ["crashed"]
        assert "SIGKILL" in attempts_of(job)[0].message
    for result in waiting:
        job = job_of(result)
        assert (job.crashes, job.interruptions) == (0, 0)
        assert outcomes_of(job) == []
    # Not one body more than the attempts' rows explain.
    assert len(lines(path)) == 4


def test_a_job_that_kills_its_process_is_quarantined_and_its_neighbours_succeed(
    run_worker,
):
    with run_worker(*ONE_CHILD) as worker:
        poison = tasks.die.enqueue()
        neighbours = tasks.add.enqueue_many([((n, n), {}) for n in range(40)])

        job = ended(poison, deadline=30)
        others = all_ended(neighbours)

        assert worker.stop() == 0
    assert (job.status, job.crashes, job.attempts) == ("failed", 3, 0)
    assert "it has killed 3 processes" in job.reason
    assert outcomes_of(job) == ["crashed"] * 3
    assert attempts_of(job)[-1].exception == "django_workers.exceptions.Quarantined"
    assert {other.status for other in others} == {"successful"}


def test_a_job_that_must_not_run_twice_fails_with_its_process(run_worker):
    with run_worker(*ONE_CHILD):
        job = ended(tasks.die_once.enqueue())

    assert (job.status, job.crashes) == ("failed", 1)
    assert "must not run twice" in job.reason
    assert outcomes_of(job) == ["crashed"]


# Supervisors and hosts


def test_a_killed_supervisor_is_replaced_and_its_jobs_return_at_once(
    run_worker, tmp_path
):
    path = tmp_path / "pids"
    with run_worker(*ONE_CHILD) as worker:
        result = tasks.write_pid_then_sleep.enqueue(str(path), 1)
        (child,) = wait_for_lines(path, 1)

        os.kill(supervisor_of(worker), signal.SIGKILL)

        # Far sooner than the lease of ten seconds: its launcher saw it die.
        assert seconds_until(lambda: len(lines(path)) == 2) < 6
        job = ended(result)
        assert not Path(f"/proc/{child}/task").exists()
        assert worker.stop() == 0
    assert (job.status, job.attempts, job.interruptions) == ("successful", 1, 1)
    assert outcomes_of(job) == ["lost"]
    states = WorkerSession.objects.order_by("id").values_list("state", flat=True)
    assert list(states) == ["lost", "stopped"]


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


def test_a_frozen_worker_that_was_given_up_drops_its_results(run_worker, tmp_path):
    path = tmp_path / "pids"
    quick = (
        *ONE_CHILD,
        *("--lock-duration", "2", "--heartbeat-interval", "0.5"),
        *("--stale-check-interval", "0.5"),
    )
    with run_worker(*quick, "--worker-id", "frozen") as frozen:
        result = tasks.write_pid_then_sleep.enqueue(str(path), 3)
        wait_for_lines(path, 1)
        tree = frozen.tree()
        for process in tree:
            process.suspend()
        with run_worker(*quick, "--worker-id", "other"):
            job = ended(result, deadline=20)
            for process in tree:
                process.resume()
            # It notices by itself, and starts afresh with another session.
            wait_until(
                lambda: WorkerSession.objects.filter(worker_id="frozen").count() == 2,
                deadline=15,
            )
            again = job_of(result)

    assert (job.status, job.worker, job.interruptions) == ("successful", "other", 1)
    assert again.result == job.result
    assert (again.attempts, again.epoch) == (job.attempts, job.epoch)


# The database


SCRIPT = """
import json, sys
import django
django.setup()
from django.core.management import call_command
from tests import tasks
from django_workers.models import Attempt, Job
if sys.argv[1] == "enqueue":
    call_command("migrate", verbosity=0)
    calls = [((sys.argv[2], str(n)), {}) for n in range(int(sys.argv[3]))]
    tasks.write_slowly.enqueue_many(calls)
else:
    print(json.dumps({
        "statuses": list(Job.objects.values_list("status", flat=True)),
        "attempts": [
            (str(job_id), args[1], outcome) for job_id, args, outcome in
            Attempt.objects.values_list("job_id", "job__args", "outcome")
        ],
    }))
"""


def beside(url: str, *words: str) -> str:
    """Run the script above on another database; what it prints."""
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *words],
        cwd=ROOT,
        env={
            **os.environ,
            "DATABASE_URL": url,
            "DJANGO_SETTINGS_MODULE": "tests.e2e.settings",
        },
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.postgresql
def test_a_database_that_crashes_under_load_costs_no_job(
    run_worker, tmp_path, postgres_server
):
    path, jobs = tmp_path / "done", 600
    beside(postgres_server.url, "enqueue", str(path), str(jobs))
    with run_worker(
        "--processes", "2", "--concurrency", "8", database_url=postgres_server.url
    ) as worker:
        for share in (0.1, 0.3, 0.6):
            wait_for_lines(path, int(jobs * share), deadline=30)
            postgres_server.restart("immediate")

        def everything_ended() -> dict[str, Any] | None:
            figures: dict[str, Any] = json.loads(beside(postgres_server.url, "look"))
            return figures if set(figures["statuses"]) == {"successful"} else None

        figures = wait_until(everything_ended, deadline=40, pause=0.5)
        assert worker.stop() == 0

    ran = Counter(lines(path))
    explained = Counter(text for _id, text, _outcome in figures["attempts"])
    assert set(ran) == {str(n) for n in range(jobs)}
    for text, times in ran.items():
        assert times <= 1 + explained[text], text


@pytest.mark.postgresql
def test_a_worker_waits_for_a_database_that_is_away_at_its_start(
    run_worker, tmp_path, postgres_server
):
    path = tmp_path / "done"
    beside(postgres_server.url, "enqueue", str(path), "5")
    postgres_server.stop("fast")
    with run_worker(
        *ONE_CHILD, database_url=postgres_server.url, wait_until_ready=False
    ) as worker:
        worker.wait_for_output("waiting for it", deadline=20)

        postgres_server.start()

        wait_for_lines(path, 5, deadline=20)
        assert worker.stop() == 0


@pytest.mark.postgresql
def test_a_worker_that_must_stop_while_the_database_is_away_says_so(
    run_worker, tmp_path, postgres_server
):
    path = tmp_path / "done"
    beside(postgres_server.url, "enqueue", str(path), "50")
    with run_worker(
        *ONE_CHILD, "--shutdown-timeout", "2", database_url=postgres_server.url
    ) as worker:
        wait_for_lines(path, 5, deadline=20)
        postgres_server.stop("immediate")
        began = time.monotonic()

        code = worker.stop(deadline=60)

        assert code == 5
        assert time.monotonic() - began < 8
        assert "did not answer" in worker.output()


def test_nothing_is_left_behind_by_a_killed_launcher(run_worker, tmp_path):
    path = tmp_path / "pids"
    with run_worker(*ONE_CHILD) as worker:
        tasks.write_pid_then_sleep.enqueue(str(path), 30)
        wait_for_lines(path, 1)

        worker.process.kill()

        wait_until(lambda: not worker.tree(), deadline=5)
    assert Job.objects.running().count() == 1
