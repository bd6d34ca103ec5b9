"""One attempt at a job on its way through a child, and the report it ends with."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from ..brokers import ClaimedJob
from ..context import RunState
from ..results import JobResult
from ..task import Task

# What a report asks for.
SUCCEED: Final = "succeed"
RETRY: Final = "retry"
FAIL: Final = "fail"
CANCEL: Final = "cancel"
SNOOZE: Final = "snooze"
# It was revoked before it started.
DROPPED: Final = "dropped"
# The reason of a job that was cancelled without one.
ON_REQUEST: Final = "cancelled on request"
# The reason of a job that failed because `retry_until` has passed.
RETRIES_ARE_OVER: Final = "its time for retries is over"


class Report(NamedTuple):
    """How an attempt went, as it travels to the supervisor."""

    number: int
    kind: str
    result: str | None = None
    # Seconds the body ran; None: it never started.
    duration: float | None = None
    # Seconds until the next attempt.
    delay: float = 0.0
    # (dotted class path, message, traceback).
    failure: tuple[str, str, str] | None = None
    reason: str = ""
    outcome: str = ""


@dataclass(slots=True)
class Run:
    """One attempt on its way through the steps."""

    number: int
    job: ClaimedJob
    history: Sequence[dict[str, Any]]
    task: Task[Any, Any] | None = None
    result: JobResult[Any, Any] | None = None
    state: RunState = field(default_factory=RunState)
    began: float = 0.0
    duration: float | None = None
    error: BaseException | None = None
    value: Any = None
    # time.monotonic() at which it came to be.
    since: float = field(default_factory=time.monotonic)
    retry_at: datetime | None = None

    @property
    def now(self) -> float:
        """The database's clock as far as this host knows it, in seconds since 1970.

        What it said at the claim, and what has passed here since. A host's own clock
        decides nothing.
        """
        return self.job.claimed_at + time.monotonic() - self.since

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""
        return self.job.attempts + 1
