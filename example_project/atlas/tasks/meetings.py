"""Find an hour at which people all over the world are awake."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django_workers import task

from ..models import Zone

# The hours of a day that are good to meet at, and those that will do.
WORK = range(9, 18)
AWAKE = range(7, 22)


@task(name="meeting:plan")
async def plan_meeting(names: list[str], day: str) -> dict[str, Any]:
    """Rate the 24 hours of a day, in UTC, by the clocks of some zones.

    A coroutine: it runs on the worker's event loop, beside others. Raises LookupError
    for a zone that has not been imported.
    """
    known = {zone.name async for zone in Zone.objects.filter(name__in=names)}
    if missing := set(names) - known:
        raise LookupError(f"not imported: {', '.join(sorted(missing))}")
    start = datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC)
    hours = [_hour(start + timedelta(hours=hour), names) for hour in range(24)]
    best = max(hours, key=lambda hour: hour["points"])
    return {"day": day, "zones": names, "hours": hours, "best": best["utc"]}


def _hour(moment: datetime, names: list[str]) -> dict[str, Any]:
    clocks = [moment.astimezone(ZoneInfo(name)) for name in names]
    ratings = [_rating(clock) for clock in clocks]
    return {
        "utc": moment.strftime("%H:%M"),
        "clocks": [
            {"time": clock.strftime("%a %H:%M"), "rating": rating}
            for clock, rating in zip(clocks, ratings, strict=True)
        ],
        "points": sum({"work": 3, "awake": 1, "asleep": -3}[word] for word in ratings),
    }


def _rating(clock: datetime) -> str:
    if clock.hour in WORK:
        return "work"
    return "awake" if clock.hour in AWAKE else "asleep"
