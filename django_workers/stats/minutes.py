"""What was done minute by minute, from the figures that workers write."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connections
from django.db.models import Sum

from ..databases import queue_database
from ..dialect import database_now
from ..models import AttemptOutcome, Rollup

LONGEST_CHART_MINUTES: Final = 1_440

# The attempts that a chart calls failed.
FAILURES: Final = (
    AttemptOutcome.FAILED,
    AttemptOutcome.TIMED_OUT,
    AttemptOutcome.CRASHED,
    AttemptOutcome.LOST,
)


def throughput(minutes: int = 60, *, using: str | None = None) -> list[dict[str, Any]]:
    """Tell what was done in each of the last *minutes* (at most a day), oldest first.

    Each minute is a dict of `minute` (aware, UTC), `successful` (jobs) and `failed`
    (attempts that failed, timed out, crashed or were lost). Read from the per-minute
    figures that workers write with each batch.
    """
    if not 1 <= minutes <= LONGEST_CHART_MINUTES:
        raise ValueError(f"minutes must lie between 1 and {LONGEST_CHART_MINUTES}.")
    using = using or queue_database()
    last = database_now(connections[using]).replace(second=0, microsecond=0)
    first = last - timedelta(minutes=minutes - 1)
    done: Counter[tuple[datetime, bool]] = Counter()
    for minute, outcome, count in (
        Rollup.objects.using(using)
        .filter(minute__gte=first)
        .values_list("minute", "outcome")
        .annotate(total=Sum("count"))
        .order_by("minute")
    ):
        if outcome == AttemptOutcome.SUCCESSFUL:
            done[minute, True] += count
        elif outcome in FAILURES:
            done[minute, False] += count
    each = (first + timedelta(minutes=n) for n in range(minutes))
    return [
        {"minute": at, "successful": done[at, True], "failed": done[at, False]}
        for at in each
    ]
