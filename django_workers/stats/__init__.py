"""Figures for dashboards, commands and health checks.

Every question is answered through an index and looks at a bounded number of rows,
whatever the size of the history: nothing counts jobs without a cap, unless asked to:
`breakdown(limit=None)` reads the whole table. `using` is always a database alias; None
means the queue's own.
"""

from .jobs import (
    COUNTED,
    Breakdown,
    breakdown,
    count,
    counts,
    latest_failures,
    percentile,
    running_jobs,
    timings,
)
from .minutes import FAILURES, throughput
from .queues import LANE_COUNTED, next_fires, queue_rows
from .workers import session_rows

__all__ = [
    "COUNTED",
    "FAILURES",
    "LANE_COUNTED",
    "Breakdown",
    "breakdown",
    "count",
    "counts",
    "latest_failures",
    "next_fires",
    "percentile",
    "queue_rows",
    "running_jobs",
    "session_rows",
    "throughput",
    "timings",
]
