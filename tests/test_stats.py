"""Figures: right, bounded, and asked for in a fixed number of queries."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_workers import stats
from django_workers.brokers import broker_for
from django_workers.dialect import DatabaseNow
from django_workers.ids import uuid7
from django_workers.models import (
    Job,
    JobStatus,
    Queue,
    Rollup,
    Schedule,
    SessionState,
    WorkerSession,
)

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


def now() -> datetime:
    return broker_for("default").now()


def add_jobs(count: int = 1, **fields: Any) -> list[Job]:
    """Store jobs as they look in that status, bypassing the verbs."""
    status = fields.pop("status", "ready")
    values: dict[str, Any] = {
        "task": "t",
        "status": status,
        "enqueued_at": now(),
        "position": 1,
        **fields,
    }
    if status == "running":
        values.setdefault("session", uuid7())
    if status == "scheduled":
        values.setdefault("run_after", now() + MINUTE)
    if status in ("successful", "failed", "cancelled"):
        values.setdefault("finished_at", now())
    return Job.objects.bulk_create([Job(**values) for _ in range(count)])


def add_worker(**fields: Any) -> WorkerSession:
    moment = now()
    values: dict[str, Any] = {
        "worker_id": "w",
        "host": "h",
        "pid": 1,
        "version": "1",
        "state": SessionState.RUNNING,
        "started_at": moment,
        "heartbeat_at": moment,
        "lease_until": moment + MINUTE,
    }
    return WorkerSession.objects.create(**{**values, **fields})


def test_every_status_is_counted():
    add_jobs(3, status="ready")
    add_jobs(2, status="failed")

    assert stats.counts() == {
        "scheduled": 0,
        "blocked": 0,
        "ready": 3,
        "running": 0,
        "successful": 0,
        "failed": 2,
        "cancelled": 0,
    }


def test_counting_ends_at_the_limit():
    add_jobs(5)

    assert stats.counts(limit=3)["ready"] == 4
    assert stats.count(JobStatus.READY, limit=3) == 4
    assert stats.count(JobStatus.READY) == 5


def test_a_breakdown_goes_by_status_queue_and_task():
    add_jobs(2, queue="a", task="x")
    add_jobs(1, queue="a", task="y", status="failed")

    assert sorted(stats.breakdown()) == [
        ("failed", "a", "y", 1),
        ("ready", "a", "x", 2),
    ]
    assert [row.jobs for row in stats.breakdown(limit=1)] == [1, 1]
    assert sorted(stats.breakdown(limit=None)) == sorted(stats.breakdown())


def test_queues_tell_their_depth_and_how_long_their_slowest_lane_waits():
    moment = now()
    add_jobs(2, queue="mail", enqueued_at=moment - 3 * MINUTE, priority=5)
    add_jobs(1, queue="mail", enqueued_at=moment - 9 * MINUTE, priority=-5)
    add_jobs(1, queue="mail", status="running")
    add_jobs(4, queue="later", status="scheduled")
    add_jobs(1, queue="parked", status="blocked")
    Queue.objects.create(name="idle")

    rows = {row.pop("name"): row for row in stats.queue_rows()}

    assert list(rows) == ["idle", "later", "mail", "parked"]
    assert (rows["mail"]["ready"], rows["mail"]["running"]) == (3, 1)
    assert rows["mail"]["oldest_waiting"] == pytest.approx(540, abs=5)
    assert (rows["later"]["scheduled"], rows["later"]["oldest_waiting"]) == (4, None)
    assert rows["parked"]["blocked"] == 1
    assert rows["idle"] == {
        "ready": 0,
        "scheduled": 0,
        "running": 0,
        "blocked": 0,
        "oldest_waiting": None,
        "paused": False,
        "paused_by": "",
        "pause_reason": "",
        "paused_until": None,
    }


def test_a_wait_counts_from_the_moment_a_job_was_due():
    moment = now()
    add_jobs(1, enqueued_at=moment - 60 * MINUTE, run_after=moment - MINUTE)

    assert stats.queue_rows()[0]["oldest_waiting"] == pytest.approx(60, abs=5)


def test_the_head_of_a_lane_is_the_job_with_the_lowest_position():
    moment = now()
    add_jobs(1, enqueued_at=moment - 2 * MINUTE, position=1)
    add_jobs(1, enqueued_at=moment - 60 * MINUTE, position=2)

    assert stats.queue_rows()[0]["oldest_waiting"] == pytest.approx(120, abs=5)


def test_a_queue_is_paused_until_its_pause_is_over():
    Queue.objects.create(
        name="a", paused_at=now(), paused_by="ann", pause_reason="move"
    )
    Queue.objects.create(name="b", paused_at=now(), paused_until=now() - MINUTE)
    Queue.objects.create(name="c", paused_at=now(), paused_until=now() + MINUTE)

    first, *_ = rows = stats.queue_rows()

    assert [row["paused"] for row in rows] == [True, False, True]
    assert (first["paused_by"], first["pause_reason"]) == ("ann", "move")


def test_ready_jobs_are_counted_up_to_a_cap_per_lane(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("django_workers.stats.queues.LANE_COUNTED", 2)
    add_jobs(5, priority=1)
    add_jobs(1, priority=2)

    assert stats.queue_rows()[0]["ready"] == 4


def test_many_lanes_are_looked_at_in_few_statements(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("django_workers.stats.queues.LANES_PER_STATEMENT", 3)
    for number in range(8):
        add_jobs(1, queue=f"q{number}", priority=number)

    assert [row["ready"] for row in stats.queue_rows()] == [1] * 8


def test_workers_come_with_the_age_of_their_heartbeat():
    moment = now()
    add_worker(worker_id="fresh", running=3, slots=10, queues=["a"])
    add_worker(
        worker_id="silent", heartbeat_at=moment - MINUTE, lease_until=moment - MINUTE
    )
    add_worker(
        worker_id="gone",
        state=SessionState.STOPPED,
        lease_until=moment - MINUTE,
        stopped_at=moment,
        stop_reason="drained",
    )

    silent, fresh, gone = stats.session_rows()

    assert fresh["heartbeat_age"] == pytest.approx(0, abs=5)
    assert (fresh["stale"], fresh["running"], fresh["slots"]) == (False, 3, 10)
    assert (silent["worker_id"], silent["stale"]) == ("silent", True)
    assert silent["heartbeat_age"] == pytest.approx(60, abs=5)
    assert (gone["state"], gone["stale"], gone["stop_reason"]) == (
        "stopped",
        False,
        "drained",
    )


def test_only_the_last_ended_workers_are_listed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("django_workers.stats.workers.ENDED_WORKERS_SHOWN", 2)
    for number in range(4):
        add_worker(worker_id=str(number), state=SessionState.LOST)

    assert [row["worker_id"] for row in stats.session_rows()] == ["3", "2"]


def test_throughput_has_a_row_for_every_minute():
    minute = now().replace(second=0, microsecond=0)
    for ago, outcome, count in (
        (1, "successful", 5),
        (1, "failed", 1),
        (1, "lost", 2),
        (1, "snoozed", 7),
        (3, "successful", 4),
        (99, "successful", 100),
    ):
        Rollup.objects.create(
            minute=minute - ago * MINUTE,
            worker="w",
            queue="q",
            task=f"t{outcome}",
            outcome=outcome,
            count=count,
        )

    rows = stats.throughput(minutes=5)

    assert len(rows) == 5
    assert all(b["minute"] - a["minute"] == MINUTE for a, b in pairwise(rows))
    done = {row["minute"]: (row["successful"], row["failed"]) for row in rows}
    assert done[minute - MINUTE] == (5, 3)
    assert done[minute - 3 * MINUTE] == (4, 0)
    assert sum(map(sum, done.values())) == 12


@pytest.mark.parametrize("minutes", [0, -1, 1_441])
def test_a_chart_shows_between_a_minute_and_a_day(minutes: int):
    with pytest.raises(ValueError, match="between 1 and 1440"):
        stats.throughput(minutes=minutes)


def test_timings_come_from_the_newest_jobs_that_ran():
    moment = now()
    for number in range(1, 101):
        begun = moment - timedelta(seconds=1000 - number)
        add_jobs(
            1,
            status="successful" if number % 2 else "failed",
            attempts=1,
            enqueued_at=begun - timedelta(seconds=number),
            started_at=begun,
            finished_at=moment - timedelta(seconds=500 - number),
            duration=number / 10,
        )

    figures = stats.timings()
    newest = stats.timings(sample=10)

    assert figures["wait_p50"] == pytest.approx(50, abs=0.01)
    assert figures["wait_p95"] == pytest.approx(95, abs=0.01)
    assert (figures["run_p50"], figures["run_p95"]) == (5.0, 9.5)
    assert newest["run_p50"] == 9.5


def test_a_wait_before_a_later_attempt_is_not_one_of_the_queue():
    add_jobs(1, status="successful", attempts=2, started_at=now(), duration=1.0)

    assert stats.timings() == {
        "wait_p50": None,
        "wait_p95": None,
        "run_p50": 1.0,
        "run_p95": 1.0,
    }


@pytest.mark.parametrize(
    ("values", "percent", "answer"),
    [
        ([], 50, None),
        ([3], 0, 3),
        ([3], 95, 3),
        ([1, 2], 50, 1),
        ([1, 2, 3, 4], 75, 3),
        ([4, 3, 2, 1], 76, 4),
        (range(1, 1001), 95, 950),
    ],
)
def test_a_percentile_is_the_value_at_its_rank(
    values: Any, percent: float, answer: Any
):
    assert stats.percentile(values, percent) == answer


def test_the_latest_failures_come_newest_first():
    for ago in (3, 1, 2):
        add_jobs(1, status="failed", task=f"t{ago}", finished_at=now() - ago * MINUTE)
    add_jobs(1, status="successful")

    assert [job.task for job in stats.latest_failures(2)] == ["t1", "t2"]


def test_running_jobs_come_longest_first():
    for ago in (1, 3, 2):
        add_jobs(
            1, status="running", task=f"t{ago}", last_attempted_at=now() - ago * MINUTE
        )

    assert [job.task for job in stats.running_jobs(2)] == ["t3", "t2"]


def test_the_next_fires_leave_out_what_is_off_or_not_planned():
    moment = datetime(2040, 1, 1, tzinfo=UTC)
    for name, due, enabled in (
        ("b", moment + MINUTE, True),
        ("a", moment, True),
        ("off", moment, False),
        ("new", None, True),
    ):
        Schedule.objects.create(
            name=name, task="t", cron="@daily", next_fire_at=due, enabled=enabled
        )

    assert [row.name for row in stats.next_fires()] == ["a", "b"]


# What it costs

QUESTIONS: dict[str, tuple[Callable[[], Any], int]] = {
    "counts": (stats.counts, 1),
    "breakdown": (stats.breakdown, 1),
    "queue_rows": (stats.queue_rows, 6),
    "session_rows": (stats.session_rows, 3),
    "throughput": (stats.throughput, 2),
    "timings": (stats.timings, 2),
    "latest_failures": (lambda: list(stats.latest_failures()), 1),
    "running_jobs": (lambda: list(stats.running_jobs()), 1),
    "next_fires": (lambda: list(stats.next_fires()), 1),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_number_of_queries_does_not_grow(name: str, django_assert_num_queries: Any):
    ask, most = QUESTIONS[name]
    for number in range(30):
        add_jobs(2, queue=f"q{number}", task=f"t{number}")
        add_jobs(1, queue=f"q{number}", status="failed")
        add_jobs(1, queue=f"q{number}", status="running")
        add_jobs(1, queue=f"q{number}", status="scheduled")
        Queue.objects.create(name=f"q{number}", paused_at=DatabaseNow())
        add_worker(worker_id=f"w{number}")

    with django_assert_num_queries(most):
        ask()


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_question_is_answered_through_an_index(name: str):
    ask, _ = QUESTIONS[name]
    for status in JobStatus:
        add_jobs(50, status=status.value)
    _analyze()

    with CaptureQueriesContext(connection) as asked:
        ask()

    for query in asked.captured_queries:
        if Job._meta.db_table in query["sql"]:
            assert not _reads_whole_table(query["sql"]), query["sql"]


def _analyze() -> None:
    if connection.vendor == "mysql":
        return  # it would commit this test's jobs; InnoDB looks into its indexes
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE django_workers_job")
        if connection.vendor == "postgresql":
            # It prefers to read a small table whole; can it do without?
            cursor.execute("SET LOCAL enable_seqscan = off")


def _reads_whole_table(statement: str) -> bool:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}")
            return any(
                row[3].startswith("SCAN django_workers_job") and "dw_job" not in row[3]
                for row in cursor.fetchall()
            )
        if connection.vendor == "postgresql":
            cursor.execute(f"EXPLAIN {statement}")
            plan = "\n".join(row[0] for row in cursor.fetchall())
            return "Seq Scan on django_workers_job" in plan
        cursor.execute(f"EXPLAIN FORMAT=JSON {statement}")
        return _has_full_scan(json.loads(cursor.fetchone()[0]))


def _has_full_scan(plan: Any) -> bool:
    if isinstance(plan, list):
        return any(map(_has_full_scan, plan))
    if not isinstance(plan, dict):
        return False
    if plan.get("table_name") == "django_workers_job":
        return plan["access_type"] == "ALL"
    return any(map(_has_full_scan, plan.values()))
