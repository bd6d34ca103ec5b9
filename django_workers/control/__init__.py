"""Everything one can do to jobs, queues and schedules from outside a worker.

Functions about jobs take one id (a UUID or its text), many, or a queryset of jobs, and
return what happened to each, by id. An id that no job has raises JobDoesNotExist before
anything is changed; a job that is pruned in between is missing from the answer. Many
jobs are handled a thousand at a time, each thousand in a transaction of its own.

`using` is a database alias; None means that of the default backend. `by` names who
asked. Each function has an async twin of the same name with an ``a`` in front, which
takes and returns the same.
"""

from .figures import ahealth, astats, health, stats
from .jobs import (
    acancel,
    areschedule,
    aretry,
    arun_now,
    cancel,
    reschedule,
    retry,
    run_now,
)
from .queues import apause, aresume, pause, resume
from .schedules import (
    adisable_schedule,
    aenable_schedule,
    arun_schedule,
    disable_schedule,
    enable_schedule,
    run_schedule,
)
from .upkeep import aprune, arescue, prune, rescue

__all__ = [
    "acancel",
    "adisable_schedule",
    "aenable_schedule",
    "ahealth",
    "apause",
    "aprune",
    "areschedule",
    "arescue",
    "aresume",
    "aretry",
    "arun_now",
    "arun_schedule",
    "astats",
    "cancel",
    "disable_schedule",
    "enable_schedule",
    "health",
    "pause",
    "prune",
    "reschedule",
    "rescue",
    "resume",
    "retry",
    "run_now",
    "run_schedule",
    "stats",
]
