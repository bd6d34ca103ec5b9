"""Fire what is due: one job per slot, however many hosts look at the clock."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import DatabaseError, IntegrityError
from django.db.models import Min, Q, QuerySet

from .. import codec
from ..brokers import Broker, Lane, NewJob, broker_for, is_locked, is_transient
from ..conf import priority_of, queue_refusal
from ..databases import after_commit
from ..dialect import DatabaseNow
from ..ids import uuid7
from ..models import Job, Schedule
from ..task import get_task
from .reasons import CANNOT_FIRE, ENDED, UNKNOWN_TASK
from .slots import database_of, plan_from

logger = logging.getLogger("django_workers.scheduler")

# A schedule that is due but left to another worker is looked at again after this long.
LOOK_AGAIN_SECONDS: Final = 1.0

Policies = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired:
    """A job made for a slot of a schedule."""

    schedule: str
    job_id: UUID
    backend: str
    slot: datetime
    lane: Lane


class _NotPossible(Exception):
    """The schedule cannot fire; the message is the reason to switch it off."""


def fire_due(using: str, policies: Policies, *, limit: int = 100) -> list[Fired]:
    """Fire at most *limit* due schedules of tasks known here; return what was fired.

    `policies` comes from policies_of(). Each schedule is fired in a transaction of its
    own, for its latest slot only: after an outage there is one run, never a flood.
    Whoever moves `next_fire_at` first makes the job, and a unique constraint over
    (schedule, slot) stands behind that.

    A schedule that cannot fire is switched off with its reason while the others go
    on. One whose task only another living worker knows is left to that one, and counts
    for no limit: there may be any number of them. One whose row somebody's open
    transaction holds is passed over, and still due the next time.
    """
    broker = broker_for(using)
    due = _due(using).order_by("next_fire_at", "id")
    ours = due.filter(task__in=policies)[:limit]
    fired: list[Fired] = []
    for row in (*ours, *_nobodys(broker, due.exclude(task__in=policies), limit)):
        try:
            made = _fire(broker, row, policies)
        except _NotPossible as error:
            _switch_off(broker, row, str(error))
        except (ValueError, TypeError, OverflowError, DatabaseError) as error:
            # A trigger of the project's own, for example, that refuses such a job.
            if is_locked(error) or is_transient(error):
                raise
            _switch_off(broker, row, f"{CANNOT_FIRE}: {error}")
        else:
            if made is not None:
                fired.append(made)
    return fired


def _nobodys(broker: Broker, due: QuerySet[Schedule], limit: int) -> list[Schedule]:
    """Those of other tasks that no living worker knows either."""
    tasks = due.order_by().values_list("task", flat=True).distinct()
    unknown = [task for task in tasks if not broker.known_elsewhere(task)]
    return list(due.filter(task__in=unknown)[:limit]) if unknown else []


def seconds_until_next(using: str) -> float | None:
    """Seconds until a schedule is due again; None when none is.

    Counts as due in a second what is due now: it has just been left to another worker.
    """
    now = broker_for(using).now()
    enabled = Schedule.objects.using(using).filter(enabled=True)
    first = enabled.filter(next_fire_at__gt=now).aggregate(at=Min("next_fire_at"))["at"]
    waits = [] if first is None else [(first - now).total_seconds()]
    if _due(using).exists():
        waits.append(LOOK_AGAIN_SECONDS)
    return min(waits, default=None)


def run_now(schedule: Schedule, *, by: str = "") -> str:
    """Enqueue the job of *schedule* at once, beside its slots; return the job's id.

    Works for one that is switched off too. `by` is kept in the job's metadata. That it
    ran is noted in its row when the caller has committed, so that no transaction of
    the caller's holds that row. Raises UnknownTask, and what `Task.enqueue()` raises
    for a queue, priority or arguments that cannot work.
    """
    task = get_task(schedule.task)
    changes: dict[str, Any] = {"priority": schedule.priority}
    if by:
        changes["metadata"] = {**task.metadata, "triggered_by": by}
    task = task.using(
        queue_name=schedule.queue or None, backend=schedule.backend, **changes
    )
    backend: Any = task.get_backend()
    if not hasattr(backend, "prepare"):  # not one of ours, in a test's settings
        return str(backend.enqueue(task, schedule.args, schedule.kwargs).id)
    prepared = backend.prepare(task, schedule.args, schedule.kwargs)
    job = replace(prepared.job, schedule_id=schedule.pk)
    backend.store(replace(prepared, job=job))
    broker = broker_for(database_of(schedule))
    after_commit(lambda: _note(broker, schedule, job.id), using=broker.using)
    return str(job.id)


def _note(broker: Broker, schedule: Schedule, job_id: UUID) -> None:
    """Write which job the schedule made last, beside its slots."""
    try:
        _change(broker, _rows(schedule), last_fire_at=DatabaseNow(), last_job=job_id)
    except DatabaseError:
        # The job is there and the caller has committed: nothing has failed for them.
        logger.warning("Schedule %s: its last run is not noted.", schedule.name)


def _due(using: str) -> QuerySet[Schedule]:
    """Find what is due, and what nobody has planned yet: rows made by hand."""
    return Schedule.objects.using(using).filter(
        Q(next_fire_at__lte=DatabaseNow()) | Q(next_fire_at__isnull=True), enabled=True
    )


def _fire(broker: Broker, row: Schedule, policies: Policies) -> Fired | None:
    now = broker.now()
    if row.next_fire_at is None:
        _replan(broker, row, now)
        return None
    timing = row.timing
    slot = timing.latest_before(now, anchor=row.anchor_at)
    if slot is None or slot < row.next_fire_at:
        # Its timing was changed behind our back: no run at a moment it does not name.
        _replan(broker, row, now)
        return None
    policy = policies.get(row.task)
    if policy is None:
        if broker.known_elsewhere(row.task):
            return None
        raise _NotPossible(f"{UNKNOWN_TASK}: {row.task}")
    job = _new_job(row, policy, slot=slot, now=now)
    try:
        with broker.transaction():
            following = timing.next_after(now, anchor=row.anchor_at)
            if not _take(broker, row, following, job.id):
                return None
            broker.enqueue([job])
    except IntegrityError as error:
        if (
            not Job.objects.using(broker.using)
            .filter(schedule_id=row.pk, slot=slot)
            .exists()
        ):
            raise _NotPossible(f"{CANNOT_FIRE}: {error}") from error
        # Fired by another; only the next slot is left to write.
        _replan(broker, row, now)
        return None
    return Fired(
        schedule=row.name,
        job_id=job.id,
        backend=job.backend,
        slot=slot,
        lane=Lane(job.queue, job.priority),
    )


def _take(
    broker: Broker, row: Schedule, next_fire_at: datetime | None, job_id: UUID
) -> bool:
    """Move the schedule on to its next slot; False when another was faster."""
    changes: dict[str, Any] = {"next_fire_at": next_fire_at}
    if next_fire_at is None:
        changes |= {"enabled": False, "disabled_reason": ENDED}
    return _change(
        broker, _unmoved(row), last_fire_at=DatabaseNow(), last_job=job_id, **changes
    )


def _replan(broker: Broker, row: Schedule, now: datetime) -> None:
    """Write when the schedule is due next, unless another has done so."""
    unmoved = _unmoved(row)
    if row.next_fire_at is None:
        plan_from(row, now)
    else:
        row.next_fire_at = row.timing.next_after(now, anchor=row.anchor_at)
    if row.next_fire_at is None:
        raise _NotPossible(ENDED)
    _change(broker, unmoved, next_fire_at=row.next_fire_at, anchor_at=row.anchor_at)


def _new_job(
    row: Schedule, policy: Mapping[str, Any], *, slot: datetime, now: datetime
) -> NewJob:
    queue = row.queue or policy["queue"]
    if wrong := queue_refusal(queue, backend=row.backend):
        raise ValueError(wrong)
    if not isinstance(row.args, list) or not isinstance(row.kwargs, dict):
        raise TypeError("arguments are a list, keyword arguments an object")
    args, kwargs = codec.encode_call(row.args, row.kwargs)
    return NewJob(
        id=uuid7(),
        backend=row.backend,
        task=policy["task"],
        queue=queue,
        priority=priority_of(
            policy["priority"] if row.priority is None else row.priority
        ),
        args=args,
        kwargs=kwargs,
        max_attempts=policy["max_attempts"],
        timeout=policy["timeout"],
        on_crash=policy["on_crash"],
        expires_at=_instant(policy["expires"], now),
        retry_until=_instant(policy["retry_until"], now),
        tags=policy["tags"],
        metadata=policy["metadata"],
        schedule_id=row.pk,
        slot=slot,
    )


def _instant(deadline: float | str | None, now: datetime) -> datetime | None:
    if deadline is None:
        return None
    if isinstance(deadline, str):
        return datetime.fromisoformat(deadline)
    return now + timedelta(seconds=deadline)


def _switch_off(broker: Broker, row: Schedule, reason: str) -> None:
    enabled = _rows(row).filter(enabled=True)
    if _change(broker, enabled, enabled=False, disabled_reason=reason[:255]):
        logger.error("Schedule %s is switched off: %s", row.name, reason)


def _change(broker: Broker, rows: QuerySet[Schedule], **values: Any) -> bool:
    """Change a row, unless a transaction of somebody's holds it; whether it changed.

    To wait for that transaction would make all other schedules wait, and whatever else
    the caller is there for.
    """
    with broker.transaction():
        if broker.can_skip_locked:
            free = rows.select_for_update(skip_locked=True).values_list("pk", flat=True)
            if not list(free):
                return False
        return bool(rows.update(**values))


def _unmoved(row: Schedule) -> QuerySet[Schedule]:
    return _rows(row).filter(enabled=True, next_fire_at=row.next_fire_at)


def _rows(row: Schedule) -> QuerySet[Schedule]:
    return Schedule.objects.using(row._state.db).filter(pk=row.pk)
