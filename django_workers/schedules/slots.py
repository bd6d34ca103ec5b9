"""When a schedule is due, reckoned and written into its row."""

from datetime import datetime
from typing import Final

from ..brokers import broker_for
from ..databases import queue_database
from ..models import Schedule

MOST_SHOWN: Final = 1_000


def plan_from(schedule: Schedule, now: datetime) -> None:
    """Set when *schedule* is due next after *now*; save nothing.

    An interval counts from *now* too. Raises InvalidSchedule for a timing that cannot
    work.
    """
    schedule.anchor_at = now if schedule.interval is not None else None
    schedule.next_fire_at = schedule.timing.next_after(now, anchor=schedule.anchor_at)


def plan(schedule: Schedule) -> None:
    """Set when *schedule* is due next, by the database's clock; save nothing.

    To be called when a schedule is made, when its timing changes and when it is
    switched on. Raises InvalidSchedule for a timing that cannot work.
    """
    plan_from(schedule, broker_for(database_of(schedule)).now())


def next_fires(
    schedule: Schedule, n: int = 5, *, after: datetime | None = None
) -> list[datetime]:
    """Return the next *n* moments (at most 1,000) at which *schedule* fires, in UTC.

    They count from `after`, an aware datetime, or else from now by the database's
    clock. Whether the schedule is switched on does not matter. Raises InvalidSchedule
    for a timing that cannot work.
    """
    timing, anchor = schedule.timing, schedule.anchor_at
    moment = after or broker_for(database_of(schedule)).now()
    fires: list[datetime] = []
    while len(fires) < min(n, MOST_SHOWN):
        following = timing.next_after(moment, anchor=anchor)
        if following is None:
            break
        fires.append(following)
        moment = following
    return fires


def database_of(schedule: Schedule) -> str:
    """Where the schedule is stored, or will be."""
    return schedule._state.db or queue_database()
