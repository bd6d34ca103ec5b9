"""How many jobs there are, which ones matter now, and how long they take."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, NamedTuple

from ..databases import queue_database
from ..models import Job, JobQuerySet, JobStatus
from . import sql

# Jobs of one status are counted up to so many; one more than that means "more".
COUNTED: Final = 100_000
MOST_SAMPLED: Final = 10_000


class Breakdown(NamedTuple):
    """How many jobs of a status there are in one queue, for one task."""

    status: str
    queue: str
    task: str
    jobs: int


def counts(limit: int = COUNTED, *, using: str | None = None) -> dict[str, int]:
    """Count the jobs of each status; ``limit + 1`` means more than *limit*.

    One statement, so that the figures belong together.
    """
    statement = sql.count_each(JobStatus, limit=limit + 1)
    (row,) = sql.select(using or queue_database(), statement)
    return dict(zip((status.value for status in JobStatus), row, strict=True))


def count(status: JobStatus, *, limit: int = COUNTED, using: str | None = None) -> int:
    """Count the jobs of one status; ``limit + 1`` means more than *limit*."""
    statement = sql.count_each([status], limit=limit + 1)
    ((jobs,),) = sql.select(using or queue_database(), statement)
    return int(jobs)


def breakdown(
    limit: int | None = COUNTED, *, using: str | None = None
) -> list[Breakdown]:
    """Count jobs by status, queue and task.

    Looks at no more than *limit* jobs of each status, one statement for all; None:
    at every job there is, which takes the longer the longer the history.
    """
    columns = "status, queue, task"
    if limit is None:
        statement = sql.count_all_by(columns)
    else:
        statement = sql.count_by(columns, JobStatus, limit=limit)
    return [Breakdown(*row) for row in sql.select(using or queue_database(), statement)]


def latest_failures(n: int = 10, *, using: str | None = None) -> JobQuerySet:
    """Find the *n* jobs that failed last, newest first."""
    failed = Job.objects.using(using or queue_database()).failed()
    return failed.filter(finished_at__isnull=False).order_by("-finished_at")[:n]


def running_jobs(n: int = 20, *, using: str | None = None) -> JobQuerySet:
    """Find the *n* jobs that have been running longest, longest first."""
    running = Job.objects.using(using or queue_database()).running()
    return running.order_by("last_attempted_at", "id")[:n]


def timings(
    sample: int = 1_000, *, using: str | None = None
) -> dict[str, float | None]:
    """How long jobs waited and ran: `wait_p50`, `wait_p95`, `run_p50`, `run_p95`.

    In seconds, over the newest *sample* (at most 10,000) jobs that were successful or
    failed; None where there are none. The wait is that of a first attempt, from the
    moment the job could run to its start; the run that of the last attempt.
    """
    using = using or queue_database()
    newest = sorted(
        (
            row
            for status in (JobStatus.SUCCESSFUL, JobStatus.FAILED)
            for row in Job.objects.using(using)
            .filter(status=status, finished_at__isnull=False)
            .order_by("-finished_at")
            .values_list(
                "finished_at",
                "enqueued_at",
                "run_after",
                "started_at",
                "attempts",
                "duration",
            )[: min(sample, MOST_SAMPLED)]
        ),
        key=_finished_at,
        reverse=True,
    )[:sample]
    waits, runs = [], []
    for _, enqueued_at, run_after, started_at, attempts, duration in newest:
        if started_at is not None and attempts <= 1:
            due = enqueued_at if run_after is None else max(enqueued_at, run_after)
            waits.append(max(0.0, (started_at - due).total_seconds()))
        if duration is not None:
            runs.append(duration)
    return {
        "wait_p50": percentile(waits, 50),
        "wait_p95": percentile(waits, 95),
        "run_p50": percentile(runs, 50),
        "run_p95": percentile(runs, 95),
    }


def _finished_at(row: tuple[Any, ...]) -> datetime:
    moment: datetime = row[0]
    return moment


def percentile(values: Iterable[float], percent: float) -> float | None:
    """Return the smallest value that *percent* of them do not exceed, if any."""
    ordered = sorted(values)
    if not ordered:
        return None
    rank = -(-len(ordered) * percent // 100)  # rounded up
    return ordered[max(1, int(rank)) - 1]
