"""How much there is to do, and whether anybody does it."""

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.db import Error, connections
from django.db.models import Sum

from .. import stats as figures
from ..databases import queue_database
from ..dialect import database_now
from ..models import (
    AttemptOutcome,
    Job,
    JobStatus,
    Rollup,
    SessionState,
    WorkerSession,
)
from .twin import async_twin

logger = logging.getLogger("django_workers.control")

# What the seven statuses are called in figures for people.
GROUPS: Final[Mapping[str, str]] = {
    JobStatus.SCHEDULED.value: "pending",
    JobStatus.BLOCKED.value: "pending",
    JobStatus.READY.value: "pending",
    JobStatus.RUNNING.value: "running",
    JobStatus.SUCCESSFUL.value: "completed",
    JobStatus.FAILED.value: "failed",
    JobStatus.CANCELLED.value: "cancelled",
}

# How far health() looks back.
WINDOW: Final = timedelta(minutes=5)
# A share of failures says nothing about fewer attempts than these.
FEWEST_ATTEMPTS: Final = 10
FAILURE_RATE_LIMIT: Final = 0.5
WAIT_LIMIT_SECONDS: Final = 60.0


def stats(*, limit: int | None = None, using: str | None = None) -> dict[str, Any]:
    """Count the jobs there are now.

    Returns `pending` (scheduled, blocked or ready), `running`, `completed`
    (successful), `failed`, `cancelled` and `total`; `by_status` with the seven
    statuses; `by_queue` and `by_task` with the first six figures for each name. Pruned
    jobs are not counted.

    Exact, at the price of reading the whole table. With a *limit* no more than that
    many jobs of each status are counted, so that it stays cheap, and ``limit + 1`` of
    a status means more. Raises ValueError for a limit below zero.
    """
    if limit is not None and limit < 0:
        raise ValueError(f"limit must be zero or more, or None, not {limit!r}.")
    most = None if limit is None else limit + 1
    rows = figures.breakdown(most, using=using)
    by_status: Counter[str] = Counter()
    by_queue: defaultdict[str, Counter[str]] = defaultdict(Counter)
    by_task: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        by_status[row.status] += row.jobs
        by_queue[row.queue][row.status] += row.jobs
        by_task[row.task][row.status] += row.jobs
    return {
        **_grouped(by_status),
        "by_status": {status: by_status[status] for status in GROUPS},
        "by_queue": {name: _grouped(by_queue[name]) for name in sorted(by_queue)},
        "by_task": {name: _grouped(by_task[name]) for name in sorted(by_task)},
    }


def _grouped(by_status: Counter[str]) -> dict[str, int]:
    groups = dict.fromkeys(GROUPS.values(), 0)
    for status, count in by_status.items():
        groups[GROUPS[status]] += count
    return {**groups, "total": by_status.total()}


def health(*, using: str | None = None) -> dict[str, Any]:
    """Tell whether the work gets done, over all workers, as of now.

    Returns exactly

    - `status`: "unhealthy" when the database cannot be asked, or when jobs are held,
      ready or overdue and no worker is alive; "degraded" when a worker is silent
      beyond its lease or was lost within five minutes, when more than half of at least
      ten attempts failed within five minutes, or when a job has been able to run for
      more than a minute; "healthy" otherwise. Paused queues wait on purpose and do not
      count;
    - `uptime`: seconds since the longest running worker alive was started, else 0.0;
    - `jobs_processed`: the attempts that ended within the last five minutes;
    - `failure_rate`: the share of them that failed, 0.0 to 1.0;
    - `current_jobs`: the jobs running now;
    - `last_job_completed`: when the newest successful job ended, ISO 8601 in UTC, or
      None.

    Raises nothing: what cannot be asked counts as 0 or None.
    """
    using = using or queue_database()
    try:
        return _health(using)
    except Error as error:
        logger.warning("The queue's database cannot be asked: %s", error)
        return _answer("unhealthy")


def _answer(
    status: str,
    *,
    uptime: float = 0.0,
    jobs_processed: int = 0,
    failure_rate: float = 0.0,
    current_jobs: int = 0,
    last_job_completed: datetime | None = None,
) -> dict[str, Any]:
    return {
        "status": status,
        "uptime": uptime,
        "jobs_processed": jobs_processed,
        "failure_rate": failure_rate,
        "current_jobs": current_jobs,
        "last_job_completed": (
            last_job_completed and last_job_completed.astimezone(UTC).isoformat()
        ),
    }


def _health(using: str) -> dict[str, Any]:
    now = database_now(connections[using])
    sessions = WorkerSession.objects.using(using)
    alive = list(sessions.alive().values_list("started_at", "lease_until"))
    living = [started_at for started_at, lease_until in alive if lease_until >= now]
    lost = sessions.filter(state=SessionState.LOST, stopped_at__gte=now - WINDOW)
    processed, failed = _attempts(using, since=now - WINDOW)
    rate = failed / processed if processed else 0.0
    queues = [row for row in figures.queue_rows(using=using) if not row["paused"]]
    waits = [row["oldest_waiting"] for row in queues if row["ready"]]
    waits += _overdue(using, now, queues=[row["name"] for row in queues])
    running = figures.count(JobStatus.RUNNING, using=using)
    if (waits or running) and not living:
        status = "unhealthy"
    elif (
        len(living) < len(alive)
        or lost.exists()
        or (rate > FAILURE_RATE_LIMIT and processed >= FEWEST_ATTEMPTS)
        or max(waits, default=0.0) > WAIT_LIMIT_SECONDS
    ):
        status = "degraded"
    else:
        status = "healthy"
    return _answer(
        status,
        uptime=max(((now - start).total_seconds() for start in living), default=0.0),
        jobs_processed=processed,
        failure_rate=rate,
        current_jobs=running,
        last_job_completed=(
            Job.objects.using(using)
            .successful()
            .filter(finished_at__isnull=False)
            .order_by("-finished_at")
            .values_list("finished_at", flat=True)
            .first()
        ),
    )


def _attempts(using: str, *, since: datetime) -> tuple[int, int]:
    """Return how many attempts ended, and how many of them failed."""
    done = dict(
        Rollup.objects.using(using)
        .filter(minute__gte=since.replace(second=0, microsecond=0))
        .values_list("outcome")
        .annotate(total=Sum("count"))
        .order_by()
    )
    failed = sum(done.get(outcome.value, 0) for outcome in figures.FAILURES)
    return failed + done.get(AttemptOutcome.SUCCESSFUL.value, 0), failed


def _overdue(using: str, now: datetime, *, queues: list[str]) -> list[float]:
    """Return the age of the longest overdue job that nobody has made ready."""
    due = Job.objects.using(using).scheduled().filter(run_after__lt=now)
    first = (
        due.in_queues(queues).order_by("run_after").values_list("run_after", flat=True)
    ).first()
    return [] if first is None else [(now - first).total_seconds()]


astats = async_twin(stats)
ahealth = async_twin(health)
