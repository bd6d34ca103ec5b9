"""Run, enable and disable schedules."""

import logging
from difflib import get_close_matches

from .. import schedules
from ..brokers import broker_for
from ..codec import storable_text
from ..databases import queue_database
from ..exceptions import ScheduleDoesNotExist
from ..models import Schedule
from ..runtime import wakeup
from .twin import async_twin

logger = logging.getLogger("django_workers.control")


def run_schedule(
    name_or_id: str | int, *, by: str = "", using: str | None = None
) -> str:
    """Enqueue the job of a schedule at once; return the job's id.

    Its slots and its next run stay as they are; it may be switched off. `by` is kept
    in the job's metadata. Raises ScheduleDoesNotExist, UnknownTask for a task that is
    not declared, and what `Task.enqueue()` raises.
    """
    return schedules.run_now(_schedule(name_or_id, using), by=by)


def enable_schedule(
    name_or_id: str | int, *, by: str = "", using: str | None = None
) -> bool:
    """Switch a schedule on; return whether it was off.

    Its next run is the next slot from now: what it missed while it was off is not made
    up for. `by` is written to the log. Raises ScheduleDoesNotExist, and InvalidSchedule
    for a timing that cannot work.
    """
    schedule = _schedule(name_or_id, using)
    schedules.plan(schedule)
    rows = Schedule.objects.using(schedule._state.db).filter(pk=schedule.pk)
    changed = rows.filter(enabled=False).update(
        enabled=True,
        disabled_reason="",
        anchor_at=schedule.anchor_at,
        next_fire_at=schedule.next_fire_at,
    )
    if changed:
        logger.info("schedule %s enabled by=%s", schedule.name, by)
    if changed and schedule._state.db:
        wakeup.announce(broker_for(schedule._state.db), [wakeup.DUE])
    return bool(changed)


def disable_schedule(
    name_or_id: str | int, *, reason: str = "", by: str = "", using: str | None = None
) -> bool:
    """Switch a schedule off; return whether it was on.

    It stays off, also when code declares it, until somebody enables it. `reason` is
    kept, with `by`. Raises ScheduleDoesNotExist.
    """
    schedule = _schedule(name_or_id, using)
    text = f"{reason} (by {by})" if reason and by else reason or (by and f"by {by}")
    rows = Schedule.objects.using(schedule._state.db).filter(pk=schedule.pk)
    return bool(
        rows.filter(enabled=True).update(
            enabled=False, disabled_reason=storable_text(text, limit=255)
        )
    )


def _schedule(name_or_id: str | int, using: str | None) -> Schedule:
    rows = Schedule.objects.using(using or queue_database())
    found = rows.filter(name=name_or_id).first()
    if found is None and str(name_or_id).isdecimal():
        found = rows.filter(pk=int(name_or_id)).first()
    if found is None:
        names = list(rows.values_list("name", flat=True)[:1_000])
        near = get_close_matches(str(name_or_id), names, n=3)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ScheduleDoesNotExist(f"no schedule is named {name_or_id!r}{hint}")
    return found


arun_schedule = async_twin(run_schedule)
aenable_schedule = async_twin(enable_schedule)
adisable_schedule = async_twin(disable_schedule)
