"""What goes into the broker and what comes out: plain values, no rows, no models."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from ..models.status import AttemptOutcome, JobStatus


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
    run_after: datetime | None = None
    max_attempts: int = 1
    timeout: float | None = None
    on_crash: str = "retry"
    expires_at: datetime | None = None
    retry_until: datetime | None = None
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
class Failure:
    """An exception as text: never rebuilt into an object."""

    exception: str
    message: str = ""
    traceback: str = ""


@dataclass(slots=True, kw_only=True)
class Ending:
    """How a claim ends: where the job goes, what is charged, what is remembered.

    Made by the four verbs below; `Broker.settle` writes any mixture of them in one
    transaction.
    """

    id: str
    epoch: int
    task: str
    queue: str
    priority: int
    backend: str
    status: str
    # What the per-minute figures and the attempt's row call it.
    outcome: str
    # The charged number of the attempt, from 1.
    number: int = 1
    result: str | None = None
    # Seconds the body ran; None if it never started.
    duration: float | None = None
    wait: float = 0.0
    attempts: int = 0
    crashes: int = 0
    interruptions: int = 0
    # Seconds until the job is due again; None leaves its due time alone.
    delay: float | None = None
    # Keep the job's place in its lane instead of drawing a new one.
    in_place: bool = False
    reason: str = ""
    failure: Failure | None = None
    worker: str = ""
    host: str = ""
    pid: int | None = None
    # When the claim was made, seconds since 1970 by the database's clock.
    started_at: float | None = None

    @property
    def has_attempt_row(self) -> bool:
        """Whether the attempt needs a row beside the job's own."""
        if self.outcome == AttemptOutcome.SUCCESSFUL:
            return self.number > 1
        return bool(self.outcome)

    @classmethod
    def succeed(cls, job: ClaimedJob, *, result: str, duration: float) -> "Ending":
        """The task returned."""
        return cls(
            id=job.id,
            epoch=job.epoch,
            task=job.task,
            queue=job.queue,
            priority=job.priority,
            backend=job.backend,
            status=JobStatus.SUCCESSFUL.value,
            outcome=AttemptOutcome.SUCCESSFUL.value,
            number=job.attempts + 1,
            result=result,
            duration=duration,
            wait=job.wait,
            started_at=job.claimed_at,
            attempts=1,
        )

    @classmethod
    def retry(
        cls,
        job: ClaimedJob,
        *,
        delay: float,
        failure: Failure,
        duration: float | None,
        outcome: str = AttemptOutcome.FAILED.value,
    ) -> "Ending":
        """The attempt failed; another one follows after `delay` seconds."""
        return cls(
            id=job.id,
            epoch=job.epoch,
            task=job.task,
            queue=job.queue,
            priority=job.priority,
            backend=job.backend,
            status=(JobStatus.SCHEDULED if delay > 0 else JobStatus.READY).value,
            outcome=outcome,
            number=job.attempts + 1,
            duration=duration,
            wait=job.wait,
            started_at=job.claimed_at,
            attempts=1,
            delay=delay if delay > 0 else None,
            failure=failure,
        )

    @classmethod
    def fail(
        cls,
        job: ClaimedJob,
        *,
        failure: Failure,
        duration: float | None,
        outcome: str = AttemptOutcome.FAILED.value,
        reason: str = "",
    ) -> "Ending":
        """The job failed for good."""
        return cls(
            id=job.id,
            epoch=job.epoch,
            task=job.task,
            queue=job.queue,
            priority=job.priority,
            backend=job.backend,
            status=JobStatus.FAILED.value,
            outcome=outcome,
            number=job.attempts + 1,
            duration=duration,
            wait=job.wait,
            started_at=job.claimed_at,
            attempts=1,
            failure=failure,
            reason=reason or failure.message[:200] or failure.exception,
        )

    @classmethod
    def cancel(
        cls,
        job: ClaimedJob,
        *,
        reason: str,
        failure: Failure,
        duration: float | None,
        outcome: str = AttemptOutcome.CANCELLED.value,
    ) -> "Ending":
        """The job ends as cancelled; uncharged."""
        return cls(
            id=job.id,
            epoch=job.epoch,
            task=job.task,
            queue=job.queue,
            priority=job.priority,
            backend=job.backend,
            status=JobStatus.CANCELLED.value,
            outcome=outcome,
            number=job.attempts + 1,
            duration=duration,
            wait=job.wait,
            started_at=job.claimed_at,
            failure=failure,
            reason=reason,
        )

    @classmethod
    def release(cls, job: ClaimedJob) -> "Ending":
        """The job had not started: back into its place, uncharged."""
        return cls(
            id=job.id,
            epoch=job.epoch,
            task=job.task,
            queue=job.queue,
            priority=job.priority,
            backend=job.backend,
            status=JobStatus.READY.value,
            outcome="",
            number=job.attempts + 1,
            in_place=True,
            started_at=job.claimed_at,
        )


class RollupKey(NamedTuple):
    """Which row of the per-minute figures something belongs to."""

    worker: str
    queue: str
    task: str
    outcome: str


@dataclass(slots=True)
class RollupSum:
    """What is added to such a row; durations in seconds."""

    count: int = 0
    run_seconds: float = 0.0
    run_max: float = 0.0
    wait_seconds: float = 0.0
    wait_max: float = 0.0


def add_up(worker: str, endings: Iterable[Ending]) -> dict[RollupKey, RollupSum]:
    """Add the endings of one batch up to rollup rows; releases count for nothing."""
    sums: dict[RollupKey, RollupSum] = {}
    for ending in endings:
        if not ending.outcome:
            continue
        key = RollupKey(worker, ending.queue, ending.task, ending.outcome)
        row = sums.get(key)
        if row is None:
            row = sums[key] = RollupSum()
        run = ending.duration or 0.0
        row.count += 1
        row.run_seconds += run
        row.wait_seconds += ending.wait
        if run > row.run_max:
            row.run_max = run
        if ending.wait > row.wait_max:
            row.wait_max = ending.wait
    return sums


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionBeat:
    """What a heartbeat says of a worker."""

    session: UUID
    state: str
    running: int = 0
    children: int = 0
    slots: int = 0
    lease_seconds: float = 10.0


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


CANCELLED: Final = "cancelled"
REQUESTED: Final = "requested"
FINISHED_FIRST: Final = "finished first"
