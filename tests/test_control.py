"""Control: each call says what happened to each job, and asks the verbs to do it."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync
from django.db import DatabaseError, connection
from django.dispatch import Signal

from django_workers import control, every, signals, task
from django_workers.backend import DatabaseBackend
from django_workers.brokers import broker_for
from django_workers.compat import task_finished
from django_workers.control import figures
from django_workers.databases import queue_database, queue_databases
from django_workers.exceptions import (
    InvalidSchedule,
    JobDoesNotExist,
    ScheduleDoesNotExist,
    UnknownTask,
)
from django_workers.ids import uuid7
from django_workers.models import (
    Attempt,
    Job,
    JobStatus,
    Queue,
    Rollup,
    Schedule,
    SessionState,
    WorkerSession,
)
from django_workers.runtime import wakeup

MINUTE = timedelta(minutes=1)
UNKNOWN = UUID("01890000-0000-7000-8000-000000000000")


@task(name="control:greet", queue_name="greetings", priority=3, tags=["polite"])
def greet(name: str = "you") -> str:
    return f"Hello {name}"


@task(name="control:tick", schedule=every(60))
def tick(*args: Any) -> None:
    pass


def now() -> datetime:
    return broker_for("default").now()


def add_job(status: str = "ready", **fields: Any) -> Job:
    values: dict[str, Any] = {
        "task": "control:greet",
        "queue": "greetings",
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
    return Job.objects.create(**values)


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


def add_schedule(**fields: Any) -> Schedule:
    values = {"name": "hourly", "task": "control:tick", "cron": "@hourly"}
    return Schedule.objects.create(**{**values, **fields})


@contextmanager
def heard(signal: Signal) -> Iterator[list[dict[str, Any]]]:
    calls: list[dict[str, Any]] = []

    def hear(sender: Any, **kwargs: Any) -> None:
        kwargs.pop("signal")
        calls.append({"sender": sender, **kwargs})

    signal.connect(hear)
    try:
        yield calls
    finally:
        signal.disconnect(hear)


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect what workers would be told."""
    hints: list[str] = []
    monkeypatch.setattr(wakeup, "announce", lambda _, payloads: hints.extend(payloads))
    monkeypatch.setattr("django_workers.brokers.Broker.can_notify", True)
    return hints


# Whom it concerns


@pytest.mark.django_db
@pytest.mark.parametrize("kind", [copy, str, attrgetter("hex"), "{{{}}}".format])
def test_one_job_is_meant_by_its_id_or_the_ids_text(kind: Callable[[UUID], Any]):
    job = add_job()

    assert control.cancel(kind(UUID(str(job.id)))) == {str(job.id): "cancelled"}


@pytest.mark.django_db
def test_many_jobs_are_meant_by_any_iterable_each_once():
    first, second = add_job(), add_job()

    answers = control.cancel(job_id for job_id in (first.id, str(second.id), first.id))

    assert answers == {str(first.id): "cancelled", str(second.id): "cancelled"}


@pytest.mark.django_db
def test_a_queryset_means_its_jobs_even_while_they_leave_it(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("django_workers.control.targets.CHUNK", 2)
    for _ in range(5):
        add_job()
    other = add_job(queue="other")

    answers = control.cancel(Job.objects.ready().filter(queue="greetings"))

    assert len(answers) == 5
    assert set(answers.values()) == {"cancelled"}
    assert list(Job.objects.ready()) == [other]


@pytest.mark.django_db
def test_a_sliced_queryset_means_what_it_holds():
    jobs = [add_job() for _ in range(3)]

    answers = control.cancel(Job.objects.order_by("id")[:2])

    assert list(answers) == [str(job.id) for job in jobs[:2]]


@pytest.mark.django_db
def test_no_jobs_are_a_normal_target():
    assert control.cancel([]) == {}
    assert control.retry(Job.objects.all()) == {}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "call",
    [
        control.cancel,
        control.retry,
        control.run_now,
        lambda ids: control.reschedule(ids, MINUTE),
    ],
)
@pytest.mark.parametrize("unknown", [UNKNOWN, str(UNKNOWN), "no id at all", None, 5])
def test_an_unknown_id_is_named_before_anything_changes(call: Any, unknown: Any):
    job = add_job("scheduled")
    before = Job.objects.values().get()

    with pytest.raises(JobDoesNotExist, match=str(unknown)):
        call([job.id, unknown])

    assert Job.objects.values().get() == before


@pytest.mark.django_db
def test_many_unknown_ids_are_named_shortly():
    with pytest.raises(JobDoesNotExist, match="and 2 more"):
        control.cancel([uuid7() for _ in range(7)])


@pytest.mark.django_db
def test_a_job_pruned_in_between_is_missing_from_the_answer(
    monkeypatch: pytest.MonkeyPatch,
):
    job, gone = add_job(), add_job()
    cancel = type(broker_for("default")).cancel

    def late(self: Any, ids: Any, **kwargs: Any) -> Any:
        Job.objects.filter(id=gone.id).delete()
        return cancel(self, ids, **kwargs)

    monkeypatch.setattr("django_workers.brokers.Broker.cancel", late)

    assert control.cancel([job.id, gone.id]) == {str(job.id): "cancelled"}


@pytest.mark.django_db
def test_a_querysets_own_database_is_used_unless_another_is_named():
    job = add_job()

    assert control.cancel(Job.objects.using("default").all()) == {
        str(job.id): "cancelled"
    }
    assert control.retry(job.id, using="default") == {str(job.id): "retried"}


# Cancel


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("status", "answer", "becomes"),
    [
        ("scheduled", "cancelled", "cancelled"),
        ("blocked", "cancelled", "cancelled"),
        ("ready", "cancelled", "cancelled"),
        ("running", "requested", "running"),
        ("successful", "finished first", "successful"),
        ("failed", "finished first", "failed"),
        ("cancelled", "finished first", "cancelled"),
    ],
)
def test_cancel_says_what_became_of_a_job(status: str, answer: str, becomes: str):
    job = add_job(status)

    assert control.cancel(job.id) == {str(job.id): answer}

    job.refresh_from_db()
    assert job.status == becomes
    assert (job.cancel_requested_at is not None) == (answer != "finished first")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("reason", "by", "kept"),
    [
        ("", "", ""),
        ("too late", "", "too late"),
        ("", "ann", "by ann"),
        ("too late", "ann", "too late (by ann)"),
    ],
)
def test_cancel_keeps_the_reason_and_who_asked(reason: str, by: str, kept: str):
    job = add_job()

    control.cancel(job.id, reason=reason, by=by)

    job.refresh_from_db()
    assert job.reason == kept


@pytest.mark.django_db
def test_cancel_tells_receivers_after_the_commit_of_jobs_that_ended_at_once(
    django_capture_on_commit_callbacks: Any,
):
    job, running = greet.enqueue("Ann"), add_job("running")

    with (
        heard(signals.job_cancelled) as calls,
        django_capture_on_commit_callbacks(execute=True),
    ):
        control.cancel([job.id, running.id], reason="enough")
        assert calls == []

    (call,) = calls
    assert call["sender"] is DatabaseBackend
    assert (call["job"].id, call["job"].is_cancelled) == (job.id, True)
    assert call["reason"] == "enough"


@pytest.mark.django_db
def test_a_failing_receiver_changes_nothing(django_capture_on_commit_callbacks: Any):
    job = add_job()

    def fail(**kwargs: Any) -> None:
        raise ValueError("receiver")

    signals.job_cancelled.connect(fail)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            control.cancel(job.id)
    finally:
        signals.job_cancelled.disconnect(fail)

    job.refresh_from_db()
    assert job.status == JobStatus.CANCELLED


@pytest.mark.django_db
def test_a_backend_that_is_gone_from_the_settings_is_passed_over(
    django_capture_on_commit_callbacks: Any,
):
    add_job(backend="gone")
    job = add_job()

    with (
        heard(signals.job_cancelled) as calls,
        django_capture_on_commit_callbacks(execute=True),
    ):
        control.cancel(Job.objects.all())

    assert [call["job"].id for call in calls] == [str(job.id)]


@pytest.mark.django_db
def test_the_worker_hears_of_a_request_but_not_of_a_job_that_ended(
    announced: list[str],
):
    control.cancel(add_job().id)
    assert announced == []

    control.cancel(add_job("running").id)
    assert announced == [wakeup.CONTROL]


# Retry


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("status", "answer"),
    [
        ("failed", "retried"),
        ("cancelled", "retried"),
        ("successful", "successful"),
        ("ready", "not finished"),
        ("scheduled", "not finished"),
        ("blocked", "not finished"),
        ("running", "not finished"),
    ],
)
def test_retry_says_what_became_of_a_job(status: str, answer: str):
    job = add_job(status)

    assert control.retry(job.id) == {str(job.id): answer}

    job.refresh_from_db()
    assert job.status == ("ready" if answer == "retried" else status)


@pytest.mark.django_db
def test_retry_gives_one_more_attempt_and_keeps_the_record():
    job = add_job("failed", attempts=3, crashes=1, max_attempts=3)
    Attempt.objects.create(
        job=job, number=3, epoch=1, outcome="failed", finished_at=now()
    )

    control.retry(job.id)

    job.refresh_from_db()
    assert (job.attempts, job.crashes, job.max_attempts) == (3, 1, 4)
    assert job.attempt_set.count() == 1


@pytest.mark.django_db
def test_retry_with_reset_gives_the_full_budget_again():
    job = add_job("failed", attempts=3, crashes=1, interruptions=2, max_attempts=3)

    control.retry(job.id, reset_attempts=True)

    job.refresh_from_db()
    assert (job.attempts, job.crashes, job.interruptions) == (0, 0, 0)
    assert job.max_attempts == 3


@pytest.mark.django_db
def test_a_retried_job_waits_from_its_retry():
    job = add_job("failed", enqueued_at=now() - timedelta(days=7))

    control.retry(job.id)

    job.refresh_from_db()
    assert job.run_after is not None
    assert now() - job.run_after < MINUTE


@pytest.mark.django_db
def test_retried_jobs_wake_the_workers_of_their_lanes(announced: list[str]):
    add_job("failed", priority=3)
    add_job("failed", priority=3)
    add_job("failed", queue="other", priority=-1)
    add_job("successful", queue="not this one")

    control.retry(Job.objects.all())

    assert announced == ["ready -1 other", "ready 3 greetings"]


# Run now, reschedule


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("status", "answer"),
    [
        ("scheduled", "ready"),
        ("ready", "ready"),
        ("blocked", "not waiting"),
        ("running", "not waiting"),
        ("failed", "not waiting"),
    ],
)
def test_run_now_says_what_became_of_a_job(status: str, answer: str):
    job = add_job(status)

    assert control.run_now(job.id) == {str(job.id): answer}

    job.refresh_from_db()
    assert job.status == ("ready" if answer == "ready" else status)


@pytest.mark.django_db
def test_what_is_made_ready_wakes_its_lane(announced: list[str]):
    control.run_now(add_job("scheduled", priority=3).id)

    assert announced == ["ready 3 greetings"]


@pytest.mark.django_db
@pytest.mark.parametrize("status", ["scheduled", "ready"])
def test_reschedule_gives_a_waiting_job_another_time(status: str, announced: list[str]):
    job = add_job(status)
    moment = datetime(2040, 1, 1, tzinfo=UTC)

    assert control.reschedule(job.id, moment) == {str(job.id): "rescheduled"}

    job.refresh_from_db()
    assert (job.status, job.run_after) == ("scheduled", moment)
    assert announced == [wakeup.DUE]


@pytest.mark.django_db
def test_reschedule_takes_a_timedelta_from_now():
    job = add_job("scheduled")

    control.reschedule(job.id, timedelta(hours=1))

    job.refresh_from_db()
    assert job.run_after is not None
    assert (job.run_after - now()).total_seconds() == pytest.approx(3600, abs=5)


@pytest.mark.django_db
def test_reschedule_leaves_a_running_job_alone(announced: list[str]):
    job = add_job("running")

    assert control.reschedule(job.id, MINUTE) == {str(job.id): "not waiting"}
    assert announced == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("when", "said"),
    [
        (datetime(2040, 1, 1), "aware"),  # noqa: DTZ001
        (datetime(9999, 1, 1, tzinfo=UTC), "year 9000"),
        (timedelta.max, "year 9000"),
    ],
)
def test_reschedule_refuses_an_impossible_time(when: Any, said: str):
    job = add_job("scheduled")

    with pytest.raises(ValueError, match=said):
        control.reschedule(job.id, when)


# Queues


@pytest.mark.django_db
def test_a_paused_queue_says_since_when_by_whom_and_why(announced: list[str]):
    assert control.pause("mail", reason="moving", by="ann")

    queue = Queue.objects.get()
    assert queue.paused_at is not None
    assert now() - queue.paused_at < MINUTE
    assert (queue.paused_by, queue.pause_reason) == ("ann", "moving")
    assert queue.paused_until is None
    assert announced == [wakeup.CONTROL]


@pytest.mark.django_db
def test_pausing_again_keeps_the_beginning_and_takes_the_new_words():
    control.pause("mail", reason="moving", until=MINUTE)
    since = Queue.objects.get().paused_at

    assert not control.pause("mail", reason="still moving", by="bob")

    queue = Queue.objects.get()
    assert (queue.paused_at, queue.pause_reason) == (since, "still moving")
    assert (queue.paused_by, queue.paused_until) == ("bob", None)


@pytest.mark.django_db
@pytest.mark.parametrize("until", [MINUTE, datetime(2040, 1, 1, tzinfo=UTC)])
def test_a_pause_may_end_by_itself(until: Any):
    control.pause("mail", until=until)

    ends = Queue.objects.get().paused_until
    assert ends is not None
    assert ends > now()


@pytest.mark.django_db
def test_a_pause_does_not_end_in_the_past():
    with pytest.raises(ValueError, match="past"):
        control.pause("mail", until=-MINUTE)

    assert not Queue.objects.exists()


@pytest.mark.django_db
def test_resume_says_whether_the_queue_was_paused(
    announced: list[str], caplog: pytest.LogCaptureFixture
):
    control.pause("mail", reason="moving", by="ann", until=MINUTE)
    announced.clear()

    with caplog.at_level("INFO", logger="django_workers.control"):
        assert control.resume("mail", by="bob")
        assert not control.resume("mail", by="cid")
        assert not control.resume("never-seen")
    assert caplog.messages == ["queue mail resumed by=bob"]

    queue = Queue.objects.get()
    assert (queue.paused_at, queue.paused_until) == (None, None)
    assert (queue.paused_by, queue.pause_reason) == ("", "")
    assert announced == [wakeup.CONTROL]


@pytest.mark.parametrize("name", ["", "two words", "ä" * 200, None, "x" * 129])
@pytest.mark.parametrize("call", [control.pause, control.resume])
def test_a_name_no_queue_can_have_is_refused(call: Any, name: Any):
    with pytest.raises(ValueError, match="cannot name a queue"):
        call(name)


# Prune


@pytest.mark.django_db
def test_prune_goes_by_the_settings_unless_told_otherwise(settings: Any):
    settings.DJANGO_WORKERS = {"RETENTION": {"successful": 1, "failed": None}}
    old = now() - timedelta(days=8)
    add_job("successful", finished_at=old)
    add_job("cancelled", finished_at=old)
    kept = [
        add_job("failed", finished_at=old),
        add_job("successful"),
        add_job("ready", enqueued_at=old),
        add_job("running", enqueued_at=old),
    ]

    assert control.prune() == 2
    assert set(Job.objects.all()) == set(kept)


@pytest.mark.django_db
def test_prune_by_age_status_and_queue():
    old = now() - timedelta(days=1)
    for status in ("successful", "failed", "cancelled"):
        add_job(status, finished_at=old)
        add_job(status, finished_at=old, queue="other")

    assert control.prune(older_than=MINUTE, statuses="failed", queue="other") == 1
    assert control.prune(older_than=MINUTE, statuses=["failed", "cancelled"]) == 3
    assert control.prune(older_than=timedelta(days=2)) == 0
    assert control.prune(older_than=MINUTE) == 2


@pytest.mark.django_db
def test_prune_takes_the_attempts_along_batch_by_batch(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("django_workers.control.upkeep.BATCH", 2)
    for _ in range(5):
        job = add_job("failed", finished_at=now() - MINUTE)
        Attempt.objects.create(
            job=job, number=1, epoch=1, outcome="failed", finished_at=now()
        )

    assert control.prune(older_than=timedelta(seconds=1)) == 5
    assert not Attempt.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("status", ["ready", "running", "scheduled", "blocked", "x"])
def test_nothing_unfinished_is_ever_pruned(status: str):
    with pytest.raises(ValueError, match="only finished jobs"):
        control.prune(older_than=MINUTE, statuses=[status])


def test_a_negative_age_is_refused():
    with pytest.raises(ValueError, match="negative"):
        control.prune(older_than=-MINUTE)


# Rescue


@pytest.mark.django_db
def test_rescue_takes_jobs_back_from_a_silent_worker(
    django_capture_on_commit_callbacks: Any, announced: list[str]
):
    silent = add_worker(lease_until=now() - MINUTE)
    alive = add_worker()
    job = add_job("running", session=silent.id, worker="w")
    fragile = add_job("running", session=silent.id, on_crash="fail")
    held = add_job("running", session=alive.id)

    with (
        heard(signals.job_rescued) as calls,
        django_capture_on_commit_callbacks(execute=True),
    ):
        rescued = control.rescue()

    silent.refresh_from_db()
    alive.refresh_from_db()
    held.refresh_from_db()
    assert (silent.state, alive.state) == (SessionState.LOST, SessionState.RUNNING)
    assert held.status == "running"
    assert {row["job_id"]: row["status"] for row in rescued} == {
        str(job.id): "ready",
        str(fragile.id): "failed",
    }
    assert {row["session"] for row in rescued} == {str(silent.id)}
    assert announced == ["ready 0 greetings"]
    assert {call["job_id"] for call in calls} == {str(job.id), str(fragile.id)}
    assert {call["sender"] for call in calls} == {DatabaseBackend}


@pytest.mark.django_db
def test_rescue_tells_of_workers_and_of_jobs_that_end(
    django_capture_on_commit_callbacks: Any,
):
    silent = add_worker(worker_id="silent", lease_until=now() - MINUTE)
    fragile = add_job("running", session=silent.id, on_crash="fail")
    unwanted = add_job("running", session=silent.id, cancel_requested_at=now())
    add_job("running", session=silent.id)

    with (
        heard(signals.worker_stopped) as stopped,
        heard(signals.job_failed) as failed,
        heard(signals.job_cancelled) as cancelled,
        heard(task_finished) as finished,
        django_capture_on_commit_callbacks(execute=True),
    ):
        control.rescue()
        assert stopped == []

    assert stopped == [
        {
            "sender": WorkerSession,
            "session_id": silent.id,
            "worker_id": "silent",
            "reason": "its lease ran out",
        }
    ]
    (failure,) = failed
    assert (failure["job"].id, failure["will_retry"]) == (str(fragile.id), False)
    assert "must not run twice" in failure["error"].traceback
    assert [call["job"].id for call in cancelled] == [str(unwanted.id)]
    assert {call["task_result"].id for call in finished} == {
        str(fragile.id),
        str(unwanted.id),
    }


@pytest.mark.django_db
def test_a_dry_run_of_rescue_changes_nothing():
    silent = add_worker(lease_until=now() - MINUTE)
    job = add_job("running", session=silent.id)

    (would,) = control.rescue(dry_run=True)

    silent.refresh_from_db()
    job.refresh_from_db()
    assert (would["job_id"], would["status"]) == (str(job.id), "ready")
    assert (silent.state, job.status) == (SessionState.RUNNING, "running")


@pytest.mark.django_db
def test_rescue_goes_on_until_nothing_is_held(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("django_workers.control.upkeep.BATCH", 2)
    session = add_worker(state=SessionState.STOPPED).id
    for _ in range(5):
        add_job("running", session=session)

    assert len(control.rescue()) == 5
    assert not Job.objects.running().exists()


@pytest.mark.django_db
def test_a_rescued_job_of_a_backend_that_is_gone_is_rescued_all_the_same(
    django_capture_on_commit_callbacks: Any,
):
    add_job("running", backend="gone")

    with (
        heard(signals.job_rescued) as calls,
        django_capture_on_commit_callbacks(execute=True),
    ):
        assert len(control.rescue()) == 1

    assert calls == []


# Figures

FIGURES = ("pending", "running", "completed", "failed", "cancelled", "total")


@pytest.mark.django_db
def test_stats_have_exactly_these_keys():
    for status in JobStatus:
        add_job(status.value)
    add_job("failed", queue="other", task="t")

    stats = control.stats()

    assert tuple(stats) == (*FIGURES, "by_status", "by_queue", "by_task")
    assert [stats[name] for name in FIGURES] == [3, 1, 1, 2, 1, 8]
    assert stats["by_status"] == {
        status.value: 2 if status == "failed" else 1 for status in JobStatus
    }
    assert list(stats["by_queue"]) == ["greetings", "other"]
    assert stats["by_queue"]["other"] == {
        "pending": 0,
        "running": 0,
        "completed": 0,
        "failed": 1,
        "cancelled": 0,
        "total": 1,
    }
    assert stats["by_task"]["t"]["failed"] == 1


@pytest.mark.django_db
def test_stats_of_nothing_are_zeros():
    stats = control.stats()

    assert [stats[name] for name in FIGURES] == [0] * 6
    assert (stats["by_queue"], stats["by_task"]) == ({}, {})


@pytest.mark.django_db
def test_stats_count_up_to_a_limit():
    for _ in range(4):
        add_job()

    assert control.stats(limit=2)["by_status"]["ready"] == 3
    with pytest.raises(ValueError, match="limit must be zero or more, or None"):
        control.stats(limit=-1)


@pytest.mark.django_db
def test_stats_count_without_a_bound_unless_given_one(
    django_assert_num_queries: Any,
):
    for _ in range(4):
        add_job()

    with django_assert_num_queries(2) as asked:
        stats = control.stats()
        control.stats(limit=9)

    assert (stats["pending"], stats["by_queue"]["greetings"]["total"]) == (4, 4)
    assert ["LIMIT" in query["sql"] for query in asked.captured_queries] == [
        False,
        True,
    ]


HEALTH = (
    "status",
    "uptime",
    "jobs_processed",
    "failure_rate",
    "current_jobs",
    "last_job_completed",
)


def roll_up(**counts: int) -> None:
    minute = now().replace(second=0, microsecond=0)
    for outcome, count in counts.items():
        Rollup.objects.create(
            minute=minute, worker="w", queue="q", task="t", outcome=outcome, count=count
        )


@pytest.mark.django_db
def test_health_has_exactly_these_keys():
    moment = now()
    add_worker(started_at=moment - 2 * MINUTE)
    add_worker(started_at=moment - 5 * MINUTE)
    add_job("running")
    add_job("successful", finished_at=datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC))
    roll_up(successful=6, failed=1, timed_out=1, snoozed=9)

    health = control.health()

    assert tuple(health) == HEALTH
    assert health["status"] == "healthy"
    assert health["uptime"] == pytest.approx(300, abs=5)
    assert (health["jobs_processed"], health["failure_rate"]) == (8, 0.25)
    assert health["current_jobs"] == 1
    assert health["last_job_completed"] == "2026-05-04T03:02:01+00:00"


@pytest.mark.django_db
def test_nothing_to_do_and_nobody_there_is_healthy():
    assert control.health() == {
        "status": "healthy",
        "uptime": 0.0,
        "jobs_processed": 0,
        "failure_rate": 0.0,
        "current_jobs": 0,
        "last_job_completed": None,
    }


@pytest.mark.django_db
@pytest.mark.parametrize("status", ["ready", "running", "overdue"])
def test_work_without_a_living_worker_is_unhealthy(status: str):
    add_worker(lease_until=now() - MINUTE)
    if status == "overdue":
        add_job("scheduled", run_after=now() - timedelta(seconds=5))
    else:
        add_job(status)

    assert control.health()["status"] == "unhealthy"


@pytest.mark.django_db
def test_work_that_is_due_later_or_paused_needs_nobody():
    add_job("scheduled", run_after=now() + MINUTE)
    add_job("ready", queue="mail")
    add_job("scheduled", queue="mail", run_after=now() - MINUTE)
    control.pause("mail")

    assert control.health()["status"] == "healthy"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "cause", ["stale worker", "lost worker", "failures", "old job", "overdue job"]
)
def test_signs_of_trouble_are_called_degraded(cause: str):
    add_worker()
    if cause == "stale worker":
        add_worker(lease_until=now() - MINUTE)
    elif cause == "lost worker":
        add_worker(state=SessionState.LOST, stopped_at=now() - MINUTE)
    elif cause == "failures":
        roll_up(successful=4, failed=6)
    elif cause == "old job":
        add_job(enqueued_at=now() - 2 * MINUTE)
    else:
        add_job("scheduled", run_after=now() - 2 * MINUTE)

    assert control.health()["status"] == "degraded"


@pytest.mark.django_db
def test_old_trouble_few_failures_and_fresh_jobs_are_healthy():
    add_worker()
    add_worker(state=SessionState.LOST, stopped_at=now() - 9 * MINUTE)
    add_worker(state=SessionState.STOPPED, stopped_at=now())
    roll_up(failed=5)
    add_job()

    assert control.health()["status"] == "healthy"


@pytest.mark.django_db
def test_a_database_that_cannot_be_asked_is_unhealthy(monkeypatch: pytest.MonkeyPatch):
    def away(using: str) -> None:
        raise DatabaseError("gone")

    monkeypatch.setattr(figures, "_health", away)

    health = control.health()

    assert tuple(health) == HEALTH
    assert (health["status"], health["last_job_completed"]) == ("unhealthy", None)


@pytest.mark.django_db
def test_stats_and_health_ask_a_fixed_number_of_queries(
    django_assert_max_num_queries: Any,
):
    for number in range(30):
        add_job(queue=f"q{number}", task=f"t{number}")
        add_worker()

    with django_assert_max_num_queries(1):
        control.stats()
    with django_assert_max_num_queries(13):
        control.health()


# Schedules


@pytest.mark.django_db
def test_a_schedule_is_run_by_name_or_id():
    schedule = add_schedule()

    by_name = control.run_schedule("hourly", by="ann")
    by_id = control.run_schedule(schedule.pk)

    job = Job.objects.get(id=by_name)
    assert (job.schedule_id, job.metadata["triggered_by"]) == (schedule.pk, "ann")
    assert Job.objects.filter(id=by_id).exists()


@pytest.mark.django_db
def test_a_schedule_with_a_number_for_a_name_is_found_by_its_name():
    add_schedule(name="7", pk=1)
    add_schedule(name="other", pk=7)

    control.disable_schedule("7")

    assert not Schedule.objects.get(name="7").enabled
    assert Schedule.objects.get(name="other").enabled


@pytest.mark.django_db
@pytest.mark.parametrize(
    "call",
    [control.run_schedule, control.enable_schedule, control.disable_schedule],
)
def test_an_unknown_schedule_is_named_with_the_nearest(call: Any):
    add_schedule()

    with pytest.raises(ScheduleDoesNotExist, match="'hourli'; did you mean 'hourly'"):
        call("hourli")
    with pytest.raises(ScheduleDoesNotExist, match="99999"):
        call(99999)


@pytest.mark.django_db
def test_running_a_schedule_of_an_unknown_task_says_so():
    add_schedule(task="gone")

    with pytest.raises(UnknownTask):
        control.run_schedule("hourly")


@pytest.mark.django_db
def test_a_schedule_switched_off_keeps_the_reason():
    add_schedule()

    assert control.disable_schedule("hourly", reason="noisy", by="ann")
    assert not control.disable_schedule("hourly")

    schedule = Schedule.objects.get()
    assert (schedule.enabled, schedule.disabled_reason) == (False, "noisy (by ann)")


@pytest.mark.django_db
def test_a_schedule_switched_on_does_not_make_up_for_what_it_missed(
    announced: list[str], caplog: pytest.LogCaptureFixture
):
    add_schedule(
        enabled=False, disabled_reason="x", next_fire_at=now() - timedelta(days=9)
    )

    with caplog.at_level("INFO", logger="django_workers.control"):
        assert control.enable_schedule("hourly", by="ann")
        assert not control.enable_schedule("hourly", by="bob")

    schedule = Schedule.objects.get()
    assert (schedule.enabled, schedule.disabled_reason) == (True, "")
    assert schedule.next_fire_at is not None
    assert schedule.next_fire_at > now()
    assert announced == [wakeup.DUE]
    assert caplog.messages == ["schedule hourly enabled by=ann"]


@pytest.mark.django_db
def test_an_impossible_schedule_cannot_be_switched_on():
    add_schedule(enabled=False)
    Schedule.objects.update(cron="61 * * * *")

    with pytest.raises(InvalidSchedule):
        control.enable_schedule("hourly")

    assert not Schedule.objects.get().enabled


# Async twins

CALLS = [name for name in control.__all__ if hasattr(control, f"a{name}")]


def test_every_function_has_an_async_twin():
    twins = {f"a{name}" for name in CALLS}

    assert set(control.__all__) == {*CALLS, *twins}
    assert len(CALLS) == 13
    for name in CALLS:
        twin = getattr(control, f"a{name}")
        assert inspect.iscoroutinefunction(twin)
        assert twin.__name__ == f"a{name}"
        assert twin.__doc__ == f"See {name}()."


@pytest.mark.django_db
def test_the_twins_do_the_same():
    job = add_job("failed")
    waiting = add_job("scheduled")
    add_schedule()

    async def ask() -> dict[str, Any]:
        return {
            "retry": await control.aretry(job.id, reset_attempts=True),
            "cancel": await control.acancel(job.id, reason="enough"),
            "reschedule": await control.areschedule(waiting.id, MINUTE),
            "run_now": await control.arun_now([waiting.id]),
            "pause": await control.apause("mail"),
            "resume": await control.aresume("mail"),
            "prune": await control.aprune(older_than=timedelta(0)),
            "rescue": await control.arescue(dry_run=True),
            "stats": (await control.astats())["total"],
            "health": (await control.ahealth())["status"],
            "run_schedule": bool(await control.arun_schedule("hourly")),
            "disable_schedule": await control.adisable_schedule("hourly"),
            "enable_schedule": await control.aenable_schedule("hourly"),
        }

    answers = async_to_sync(ask)()

    assert set(answers) == set(CALLS)
    assert answers["retry"] == {str(job.id): "retried"}
    assert answers["cancel"] == {str(job.id): "cancelled"}
    assert answers["reschedule"] == {str(waiting.id): "rescheduled"}
    assert answers["run_now"] == {str(waiting.id): "ready"}
    assert (answers["stats"], answers["rescue"]) == (1, [])
    assert answers["prune"] == 1
    assert answers["disable_schedule"] is answers["enable_schedule"] is True


# Which database


def test_the_default_backends_database_holds_the_queue(settings: Any):
    ours = "django_workers.backend.DatabaseBackend"
    settings.TASKS = {
        "other": {"BACKEND": ours, "OPTIONS": {"DATABASE": "second"}},
        "default": {"BACKEND": ours, "OPTIONS": {"DATABASE": "first"}},
        "again": {"BACKEND": ours, "OPTIONS": {"DATABASE": "first"}},
        "dummy": {"BACKEND": "django_workers.backend.DummyBackend"},
    }

    assert queue_database() == "first"
    assert queue_databases() == ["first", "second"]


def test_another_backend_of_ours_serves_where_the_default_is_none(settings: Any):
    settings.TASKS = {
        "default": {"BACKEND": "django_workers.backend.DummyBackend"},
        "ours": {
            "BACKEND": "django_workers.backend.DatabaseBackend",
            "OPTIONS": {"DATABASE": "second"},
        },
    }

    assert queue_database() == "second"


def test_without_a_backend_of_ours_it_is_the_default_database(settings: Any):
    settings.TASKS = {"default": {"BACKEND": "django_workers.backend.DummyBackend"}}

    assert queue_database() == connection.alias
    assert queue_databases() == []


ODD = "a NUL \0 and half a pair \ud800"
STORED = "a NUL \ufffd and half a pair \ufffd"


@pytest.mark.django_db
def test_a_reason_is_kept_as_far_as_a_database_can():
    job = add_job()

    control.cancel(job.id, reason=ODD)
    control.pause("emails", reason=ODD, by=ODD)

    job.refresh_from_db()
    assert job.reason == STORED
    queue = Queue.objects.get(name="emails")
    assert (queue.pause_reason, queue.paused_by) == (STORED, STORED)
