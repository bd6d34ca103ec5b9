"""All of it through a PgBouncer in transaction mode, with fewer servers than users."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test import override_settings
from django.utils import timezone

from django_workers import control
from django_workers.models import Job, Schedule, WorkerSession
from tests import tasks
from tests.e2e import query_tasks
from tests.e2e.bouncer import POOL_SIZE, PgBouncer, connected_through, dsn_of
from tests.e2e.jobs import (
    all_ended,
    attempts_of,
    ended,
    job_of,
    lines,
    outcomes_of,
    seconds_until,
    settings_of,
    wait_for_lines,
)
from tests.support import RunningWorker, running_worker, wait_until

pytestmark = [
    pytest.mark.postgresql,
    pytest.mark.usefixtures("worker"),
    pytest.mark.thorough,
]

# PgBouncer keeps these for each of its clients, whatever server they get.
TRACKED = {
    "application_name",
    "client_encoding",
    "DateStyle",
    "IntervalStyle",
    "standard_conforming_strings",
    "TimeZone",
}


@pytest.fixture(scope="module")
def direct_dsn(open_database: str) -> str:
    """Return the way around the bouncer, as LISTENER has it."""
    return dsn_of(connection.settings_dict)


@pytest.fixture(scope="module")
def bouncer(direct_dsn: str) -> Iterator[PgBouncer]:
    """A bouncer before the session's server, used by this process meanwhile."""
    with PgBouncer(connection.settings_dict) as bouncer, connected_through(bouncer):
        yield bouncer


@pytest.fixture(scope="module", params=["polls", "listens around it"])
def listener(request: pytest.FixtureRequest, direct_dsn: str) -> str | bool:
    """Return each LISTENER that the documentation offers."""
    return direct_dsn if request.param != "polls" else False


@pytest.fixture(scope="module")
def shared_worker(
    bouncer: PgBouncer,
    listener: str | bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningWorker]:
    """A worker that reaches the database through the bouncer only."""
    values: dict[str, Any] = {
        "LISTENER": listener,
        "AUTODISCOVER": ["tasks", "tests.e2e.query_tasks"],
        # Whoever listens is woken; whoever does not looks often, for the tests' sake.
        "POLL_INTERVAL": 5.0 if listener else 0.2,
    }
    with ExitStack() as stack:
        stack.enter_context(override_settings(DJANGO_WORKERS={"LISTENER": listener}))
        yield stack.enter_context(
            running_worker(
                *("--worker-id", "pooled", "--processes", "2", "--concurrency", "6"),
                database_url=bouncer.url,
                log=tmp_path_factory.mktemp("pooled") / "worker.log",
                env=settings_of(**values),
            )
        )


def test_a_worker_starts_and_says_what_wakes_it(worker, listener):
    woken = "LISTEN/NOTIFY" if listener else "polling"

    assert f"woken by {woken}" in worker.output()


def test_every_job_runs_once(tmp_path):
    path = tmp_path / "runs"
    results = tasks.write.enqueue_many([((str(path), str(n)), {}) for n in range(2000)])

    jobs = all_ended(results, deadline=40)

    assert {(job.status, job.epoch) for job in jobs} == {("successful", 1)}
    assert sorted(lines(path)) == sorted(map(str, range(2000)))


def test_jobs_that_ask_the_database_share_the_pool():
    group, _ = Group.objects.get_or_create(name="pooled")
    results = [
        task.enqueue(group.pk, "pooled")
        for task in (query_tasks.select_and_update, query_tasks.select_and_update_async)
        for _ in range(100)
    ]

    jobs = all_ended(results)

    assert {job.result for job in jobs} == {"pooled"}


def test_a_job_wakes_the_worker_that_listens_around_the_bouncer(listener):
    if not listener:
        # Nothing wakes it: found by the next look.
        assert ended(tasks.noop.enqueue()).status == "successful"
        return
    ended(tasks.noop.enqueue())

    took = []
    for _ in range(5):
        result = tasks.noop.enqueue()
        took.append(seconds_until(lambda job=result: job_of(job).is_finished))

    # Not one look in five seconds: told at once.
    assert max(took) < 1, took


def test_a_failing_job_is_retried(tmp_path):
    job = ended(tasks.fail_until.enqueue(str(tmp_path / "attempts"), 3))

    assert (job.status, job.attempts) == ("successful", 3)
    assert outcomes_of(job) == ["failed", "failed", "successful"]


def test_running_and_waiting_jobs_are_cancelled(tmp_path):
    path = tmp_path / "began"
    running = tasks.until_cancelled.enqueue(str(path))
    coroutine = tasks.until_cancelled_async.enqueue(str(path))
    waiting = tasks.noop.using(run_after=timedelta(hours=1)).enqueue()
    wait_for_lines(path, 2)

    asked = control.cancel([running.id, coroutine.id, waiting.id])

    assert sorted(asked.values()) == ["cancelled", "requested", "requested"]
    jobs = [ended(result) for result in (running, coroutine, waiting)]
    assert [job.status for job in jobs] == ["cancelled"] * 3
    assert [len(attempts_of(job)) for job in jobs] == [1, 1, 0]


def test_whoever_waits_is_told():
    result = tasks.sleep.enqueue(0.2)

    assert result.wait(timeout=10).return_value == 0.2
    assert (timezone.now() - result.finished_at).total_seconds() < 2


def test_a_schedule_fires():
    schedule = Schedule.objects.create(
        name=f"through a pool {timezone.now()}", task="tests.tasks.noop", interval=1
    )
    fired = Job.objects.successful().filter(schedule=schedule)

    wait_until(lambda: fired.count() >= 2, deadline=20)

    control.disable_schedule(schedule.pk)
    slots = list(fired.values_list("slot", flat=True))
    assert len(slots) == len(set(slots))


def test_the_heartbeat_goes_on():
    session = WorkerSession.objects.filter(worker_id="pooled").latest("id")

    wait_until(
        lambda: (
            WorkerSession.objects.get(id=session.id).heartbeat_at > session.heartbeat_at
        )
    )


def test_nothing_of_a_session_is_left_behind_in_the_pool(bouncer):
    group, _ = Group.objects.get_or_create(name="left behind")
    results = [
        *tasks.noop.enqueue_many([((), {})] * 200),
        *tasks.sleep.enqueue_many([((0.05,), {})] * 20),
        tasks.fail.enqueue(),
        *(
            task.enqueue(group.pk, "left behind")
            for task in (
                query_tasks.select_and_update,
                query_tasks.select_and_update_async,
            )
            for _ in range(30)
        ),
    ]
    all_ended(results)
    moment = timezone.now()

    for session in _sessions_in_the_pool(bouncer):
        # One that the work has used, not one that was opened to look.
        assert session.pop("since") < moment
        assert set(session.pop("changed")) <= TRACKED
        assert not any(session.values()), session


def _sessions_in_the_pool(bouncer: PgBouncer) -> list[dict[str, Any]]:
    """Return what each server of the pool holds, found by using all at a time."""
    found: dict[int, dict[str, Any]] = {}
    with ExitStack() as stack:
        for _ in range(POOL_SIZE):
            client = stack.enter_context(psycopg.connect(dsn_of(bouncer.settings)))
            client.prepare_threshold = None
            row = client.execute(
                """
                SELECT pg_backend_pid(),
                    (SELECT backend_start FROM pg_stat_activity
                     WHERE pid = pg_backend_pid()),
                    (SELECT count(*) FROM pg_prepared_statements),
                    ARRAY(SELECT pg_listening_channels()),
                    (SELECT count(*) FROM pg_locks
                     WHERE pid = pg_backend_pid() AND locktype = 'advisory'),
                    (SELECT count(*) FROM pg_cursors WHERE is_holdable),
                    pg_my_temp_schema() <> 0,
                    ARRAY(SELECT name FROM pg_settings WHERE source = 'session')
                """
            ).fetchone()
            assert row is not None
            pid, since, prepared, channels, locks, cursors, temporary, changed = row
            found[pid] = {
                "since": since,
                "prepared": prepared,
                "channels": channels,
                "locks": locks,
                "cursors": cursors,
                "temporary": temporary,
                "changed": changed,
            }
    assert len(found) == POOL_SIZE
    return list(found.values())


def test_a_bouncer_that_is_restarted_costs_no_job(worker, bouncer, tmp_path):
    path = tmp_path / "runs"
    results = tasks.note_process.enqueue_many(
        [((str(path), str(n), 0.01), {}) for n in range(600)]
    )
    wait_for_lines(path, 100)

    bouncer.restart()
    connection.close()

    jobs = all_ended(results, deadline=30)
    assert {job.status for job in jobs} == {"successful"}
    assert not any(attempts_of(job) for job in jobs)
    assert len(lines(path)) == 600
    assert worker.process.poll() is None
