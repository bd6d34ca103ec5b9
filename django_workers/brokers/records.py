"""What goes into the broker and what comes out: plain values, no rows, no models."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, TypeAlias
from uuid import UUID

# An instant: aware, or as seconds from now. Then the database, which alone decides what
# time it is, adds them to its clock in the statement that stores them.
Moment: TypeAlias = datetime | float


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job about to be stored. `args`, `kwargs`, `tags`, `metadata` are JSON text."""

    id: UUID
    backend: str
    task: str
    queue: str
    priority: int
    args: str
    kwargs: str
    run_after: Moment | None = None
    max_attempts: int = 1
    timeout: float | None = None
    on_crash: str = "retry"
    expires_at: Moment | None = None
    retry_until: Moment | None = None
    tags: str = "[]"
    metadata: str = "{}"
    schedule_id: int | None = None
    slot: datetime | None = None


class Lane(NamedTuple):
    """A queue and priority with ready jobs; with a task filter also the task."""

    queue: str
    priority: int
    task: str = ""


class ClaimedJob(NamedTuple):
    """A job as claimed. Instants are seconds since 1970 by the database's clock."""

    id: str
    epoch: int
    task: str
    queue: str
    priority: int
    position: int
    args: str
    kwargs: str
    attempts: int
    crashes: int
    interruptions: int
    max_attempts: int
    timeout: float | None
    on_crash: str
    backend: str
    enqueued_at: float
    run_after: float | None
    started_at: float
    claimed_at: float
    retry_until: float | None
    expired: bool
    tags: str
    metadata: str

    @property
    def is_first_start(self) -> bool:
        """Whether no claim before this one has led to a start."""
        return self.started_at == self.claimed_at

    @property
    def wait(self) -> float:
        """Seconds between the moment the job could run and its claim."""
        due = self.enqueued_at if self.run_after is None else self.run_after
        return max(0.0, self.claimed_at - max(due, self.enqueued_at))


class Claim(NamedTuple):
    """What one claim found, with the snapshot it saw (None where unknown)."""

    jobs: list[ClaimedJob]
    xmin: int | None = None
    xmax: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """What a promotion did."""

    count: int = 0
    lanes: frozenset[Lane] = field(default_factory=frozenset)
    # Seconds until the next scheduled job is due; None when there is none.
    next_due: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescue:
    """A job taken back from a worker that is gone."""

    job_id: str
    task: str
    backend: str
    session: UUID
    status: str
    reason: str
