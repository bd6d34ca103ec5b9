"""What is in the database."""

from .attempt import Attempt
from .job import Job, JobQuerySet
from .queue import Queue
from .rollup import Rollup
from .schedule import Schedule
from .status import (
    ALIVE,
    FINISHED,
    TRANSITIONS,
    UNFINISHED,
    WAITING,
    AttemptOutcome,
    JobStatus,
    OnCrash,
    SessionState,
)
from .worker_session import WorkerSession

__all__ = [
    "ALIVE",
    "FINISHED",
    "TRANSITIONS",
    "UNFINISHED",
    "WAITING",
    "Attempt",
    "AttemptOutcome",
    "Job",
    "JobQuerySet",
    "JobStatus",
    "OnCrash",
    "Queue",
    "Rollup",
    "Schedule",
    "SessionState",
    "WorkerSession",
]
