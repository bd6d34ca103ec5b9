"""How deep the queues are, how long they have waited, and what comes next."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import connections
from django.db.models import QuerySet

from ..brokers import Lane, broker_for
from ..databases import queue_database
from ..dialect import database_now
from ..models import Job, JobStatus, Queue, Schedule
from . import sql
from .jobs import COUNTED

# The ready jobs of one lane (a priority of a queue) are counted up to so many.
LANE_COUNTED: Final = 10_000
LANES_SHOWN: Final = 1_000
LANES_PER_STATEMENT: Final = 100
QUEUES_SHOWN: Final = 1_000

_UNREADY: Final = (JobStatus.SCHEDULED, JobStatus.RUNNING, JobStatus.BLOCKED)


def queue_rows(
    *, also: Iterable[str] = (), using: str | None = None
) -> list[dict[str, Any]]:
    """List every queue that has unfinished jobs or a pause, and those in *also*.

    Ordered by name, each is a dict of `name`; the jobs `ready` (counted up to 10,000
    per priority), `scheduled`, `running` and `blocked` (up to 100,000 over all queues);
    `oldest_waiting`, the seconds for which the first job of its slowest lane could have
    run, None without ready jobs; and `paused`, `paused_by`, `pause_reason`,
    `paused_until`.
    """
    using = using or queue_database()
    now = database_now(connections[using])
    ready, oldest = _ready_queues(using, now)
    others = _unready_queues(using)
    known = {
        queue.name: queue for queue in Queue.objects.using(using).all()[:QUEUES_SHOWN]
    }
    rows = []
    for name in sorted({*ready, *known, *(queue for _, queue in others), *also}):
        queue = known.get(name) or Queue(name=name)
        rows.append(
            {
                "name": name,
                "ready": ready.get(name, 0),
                **{status.value: others[status.value, name] for status in _UNREADY},
                "oldest_waiting": oldest.get(name),
                "paused": queue.paused_at is not None
                and (queue.paused_until is None or queue.paused_until > now),
                "paused_by": queue.paused_by,
                "pause_reason": queue.pause_reason,
                "paused_until": queue.paused_until,
            }
        )
    return rows


def _ready_queues(using: str, now: datetime) -> tuple[dict[str, int], dict[str, float]]:
    """Return the number of ready jobs and the age of the oldest head, by queue."""
    lanes = broker_for(using).lanes()[:LANES_SHOWN]
    ready: Counter[str] = Counter()
    heads: list[UUID] = []
    for start in range(0, len(lanes), LANES_PER_STATEMENT):
        for queue, count, head in _look_into(
            using, lanes[start : start + LANES_PER_STATEMENT]
        ):
            ready[queue] += count
            if head is not None:
                heads.append(head)
    oldest: dict[str, float] = {}
    for queue, enqueued_at, run_after in (
        Job.objects.using(using)
        .filter(id__in=heads)
        .values_list("queue", "enqueued_at", "run_after")
    ):
        since = enqueued_at if run_after is None else max(enqueued_at, run_after)
        age = max(0.0, (now - since).total_seconds())
        oldest[queue] = max(age, oldest.get(queue, 0.0))
    return ready, oldest


def _look_into(using: str, lanes: Sequence[Lane]) -> list[tuple[str, int, UUID | None]]:
    """Count each lane, up to its cap, and find the job at its head."""
    statement = sql.look_into(len(lanes), limit=LANE_COUNTED + 1)
    params = [value for lane in lanes for value in (*lane[:2], *lane[:2])]
    return [
        (lanes[number].queue, count, None if head is None else UUID(str(head)))
        for number, count, head in sql.select(using, statement, params)
    ]


def _unready_queues(using: str) -> Counter[tuple[str, str]]:
    """Count the unfinished jobs that are not ready, by status and queue."""
    statement = sql.count_by("status, queue", _UNREADY, limit=COUNTED)
    rows = sql.select(using, statement)
    return Counter({(status, queue): count for status, queue, count in rows})


def next_fires(n: int = 10, *, using: str | None = None) -> QuerySet[Schedule]:
    """Find the *n* schedules that fire next, the next one first."""
    schedules = Schedule.objects.using(using or queue_database()).filter(enabled=True)
    return schedules.filter(next_fire_at__isnull=False).order_by("next_fire_at")[:n]
