"""A database that goes away and comes back, under workers at work."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models import F

from django_workers.models import Attempt, Job, WorkerSession
from tests import tasks
from tests.databases import PostgresServer
from tests.e2e.jobs import (
    all_ended,
    ended,
    job_of,
    lines,
    outcomes_of,
    runs_of,
    seconds_until,
    told,
    wait_for_lines,
)
from tests.support import READY, running_worker, wait_until

pytestmark = [pytest.mark.postgresql, pytest.mark.thorough]

SHORT_LEASE = (
    *("--lock-duration", "2", "--heartbeat-interval", "0.4"),
    *("--stale-check-interval", "0.3"),
)


@pytest.fixture(scope="module")
def server(django_db_setup: None, django_db_blocker: Any) -> Iterator[PostgresServer]:
    """A server of this module's own, to which Django's connection leads meanwhile."""
    with PostgresServer() as server, django_db_blocker.unblock():
        before = dict(connection.settings_dict)
        connection.close()
        connection.settings_dict.update(
            HOST=str(server.data),
            PORT="",
            USER="postgres",
            PASSWORD="",
            NAME="postgres",
        )
        call_command("migrate", verbosity=0)
        yield server
        connection.close()
        connection.settings_dict.update(before)


@pytest.fixture(autouse=True)
def emptied(server: PostgresServer) -> Iterator[None]:
    """Leave no job to the next test."""
    yield
    connection.close()
    if not (server.data / "postmaster.pid").exists():
        server.start()
    call_command("flush", interactive=False, verbosity=0)


@pytest.fixture
def run(server: PostgresServer, tmp_path: Path) -> Any:
    """Return what runs a worker on the module's server."""
    logs = iter(range(99))

    def run(*arguments: str, **options: Any) -> Any:
        log = tmp_path / f"worker-{next(logs)}.log"
        return running_worker(*arguments, database_url=server.url, log=log, **options)

    return run


def backends_of_workers() -> list[int]:
    """Return the server processes that serve workers' own connections."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'django_workers'"
        )
        return [pid for (pid,) in cursor.fetchall()]


def terminate(pid: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])


def pause(seconds: float) -> None:
    """Let an outage last."""
    until = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > until, deadline=seconds + 1)


def assert_each_run_is_explained(path: Path, results: list[Any]) -> None:
    """Compare what ran with what the rows say: each job ended, each extra run told."""
    runs = runs_of(path)
    rows = Job.objects.in_bulk()
    told_of = Counter(Attempt.objects.values_list("job_id", flat=True))
    for name, result in enumerate(results):
        job = rows[UUID(result.id)]
        assert job.status == "successful", told(job)
        assert 1 <= runs[str(name)] <= 1 + told_of[job.id], (name, told(job))


def test_a_server_that_crashes_again_and_again_costs_nothing(server, run, tmp_path):
    path = tmp_path / "runs"
    results = tasks.note_process.enqueue_many(
        [((str(path), str(n), 0.004), {}) for n in range(4_000)]
    )
    connection.close()
    back = []
    with run("--processes", "2", "--concurrency", "4") as worker:
        for share in (0.1, 0.3, 0.5, 0.7):
            wait_for_lines(path, int(4_000 * share), deadline=30)
            server.restart("immediate")
            seen = len(lines(path))
            # Some of the work at hand was finished while it was away.
            back.append(seconds_until(lambda seen=seen: len(lines(path)) > seen + 50))

        all_ended(results, deadline=60)

        assert worker.process.poll() is None
        assert WorkerSession.objects.get().state == "running"
    print(f"at work again after {[f'{seconds:.2f}' for seconds in back]} s")
    assert max(back) < 3
    assert_each_run_is_explained(path, results)


def test_connections_that_are_cut_again_and_again_cost_nothing(run, tmp_path):
    path = tmp_path / "runs"
    results = tasks.note_process.enqueue_many(
        [((str(path), str(n), 0.002), {}) for n in range(5_000)]
    )
    chance = random.Random(1)
    with run("--processes", "2", "--concurrency", "4") as worker:
        for count in range(100, 4_500, 150):
            wait_for_lines(path, count, deadline=30)
            pids = backends_of_workers()
            if pids:
                terminate(chance.choice(pids))
        all_ended(results, deadline=60)

        assert worker.process.poll() is None
        # The listener, too, is there again.
        assert tasks.noop.enqueue().wait(timeout=5).status.name == "SUCCESSFUL"
    assert_each_run_is_explained(path, results)


def test_a_claim_whose_answer_was_lost_is_taken_over(run):
    result = tasks.noop.using(
        queue_name="paused", run_after=timedelta(hours=1)
    ).enqueue()
    with run("--worker-id", "claims"):
        session = WorkerSession.objects.get()
        # As the row stands when the commit succeeded and the connection then broke.
        Job.objects.filter(id=result.id).update(
            status="running",
            session=session.id,
            worker="claims",
            epoch=F("epoch") + 1,
            started_at=session.started_at,
            last_attempted_at=session.started_at,
            position=1,
        )
        for pid in backends_of_workers():
            terminate(pid)
        tasks.noop.enqueue()

        job = ended(result)

        assert (job.status, job.epoch, outcomes_of(job)) == ("successful", 1, [])


def test_what_ends_during_an_outage_is_kept_until_it_is_over(server, run, tmp_path):
    path = tmp_path / "runs"
    results = tasks.note_process.enqueue_many(
        [((str(path), str(n), 1.0), {}) for n in range(4)]
    )
    with run("--concurrency", "4"):
        wait_for_lines(path, 4)
        connection.close()
        server.stop("immediate")
        pause(1.5)
        server.start()

        jobs = all_ended(results)

    assert [job.epoch for job in jobs] == [1] * 4
    assert not any(outcomes_of(job) for job in jobs)
    assert_each_run_is_explained(path, results)


def test_nobody_is_found_dead_for_an_outage_of_all(server, run, tmp_path):
    path = tmp_path / "runs"
    with (
        run("--worker-id", "one", *SHORT_LEASE),
        run("--worker-id", "two", *SHORT_LEASE),
    ):
        results = tasks.note_process.enqueue_many(
            [((str(path), str(n), 7.0), {}) for n in range(4)]
        )
        wait_for_lines(path, 4)
        connection.close()
        server.stop("immediate")
        pause(4)  # two leases
        server.start()

        jobs = all_ended(results)

        assert {session.state for session in WorkerSession.objects.all()} == {"running"}
    assert [job.epoch for job in jobs] == [1] * 4
    assert_each_run_is_explained(path, results)


def test_a_worker_told_to_stop_during_an_outage_does_so_in_time(server, run, tmp_path):
    path = tmp_path / "runs"
    results = tasks.note_process.enqueue_many(
        [((str(path), str(n), 0.5), {}) for n in range(6)]
    )
    with run("--concurrency", "4", "--shutdown-timeout", "3", *SHORT_LEASE) as worker:
        wait_for_lines(path, 4)
        connection.close()
        server.stop("immediate")
        began = time.monotonic()

        code = worker.stop()

        took = time.monotonic() - began
        assert code == 5
        assert 2.5 < took < 5
        assert "The database did not answer" in worker.output()

    server.start()
    with run(*SHORT_LEASE):
        jobs = all_ended(results)

    for job in jobs:
        assert set(outcomes_of(job)) <= {"lost"}, told(job)
    assert_each_run_is_explained(path, results)


def test_an_idle_worker_told_to_stop_during_an_outage_stops_sooner(server, run):
    with run() as worker:
        wait_until(backends_of_workers)
        connection.close()
        server.stop("immediate")
        began = time.monotonic()

        assert worker.stop() == 5

        assert time.monotonic() - began < 8


def test_an_outage_that_ends_in_time_does_not_show_in_the_exit_code(
    server, run, tmp_path
):
    path = tmp_path / "runs"
    results = tasks.note_process.enqueue_many(
        [((str(path), str(n), 0.5), {}) for n in range(4)]
    )
    with run("--concurrency", "4") as worker:
        wait_for_lines(path, 4)
        connection.close()
        server.stop("immediate")
        worker.send()
        pause(1)
        server.start()

        assert worker.wait() == 0

    assert [job_of(result).status for result in results] == ["successful"] * 4
    assert WorkerSession.objects.get().state == "stopped"


def test_a_worker_waits_for_a_database_that_is_away_at_its_start(server, run, tmp_path):
    path = tmp_path / "runs"
    results = tasks.note_process.enqueue_many(
        [((str(path), str(n), 0.0), {}) for n in range(5)]
    )
    connection.close()
    server.stop("fast")
    with run(wait_until_ready=False) as worker:
        worker.wait_for_output("waiting for it", deadline=20)

        server.start()

        worker.wait_for_output(READY, deadline=20)
        all_ended(results)
        assert worker.stop() == 0
    assert_each_run_is_explained(path, results)
