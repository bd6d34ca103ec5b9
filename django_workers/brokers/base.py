"""The broker: the only writer of a job's state.

Eight verbs, all plural:

- `enqueue` stores jobs in the caller's transaction;
- `claim` hands ready jobs to a session and raises their epoch;
- `succeed`, `retry`, `fail` and `release` end a claim: they are the kinds of `Ending`
  that `settle` writes, any mixture of them in one transaction;
- `cancel` ends waiting jobs and asks the holders of running ones to stop;
- `requeue` makes finished jobs ready again.

Every write about a running job carries its token ``(id, epoch, session)``. A token
that is no longer the row's is a normal answer: nothing is written, and the caller
learns it from what comes back. Chores move whole sets by what the rows say: `promote`,
`admit`, `rescue`, `prune`.

This class works on every database through the ORM; the other brokers state only
their difference.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final, Literal
from uuid import UUID

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, Value
from django.db.models.functions import Coalesce, Greatest

from ..dialect import (
    DatabaseNow,
    DatabaseNowPlus,
    Dialect,
    NextPosition,
    database_now,
    datetime_value,
    dialect_of,
    uuid_value,
)
from ..models import (
    ALIVE,
    FINISHED,
    Attempt,
    AttemptOutcome,
    Job,
    JobQuerySet,
    JobStatus,
    OnCrash,
    Rollup,
    WorkerSession,
)
from .lanes import find_lanes
from .records import (
    CANCELLED,
    FINISHED_FIRST,
    REQUESTED,
    Claim,
    ClaimedJob,
    Ending,
    Failure,
    Lane,
    NewJob,
    Promotion,
    Rescue,
    add_up,
)

UNROUTABLE: Final = "unroutable"
LOST_EXCEPTION: Final = "django_workers.exceptions.WorkerLost"

# Columns of an insert, in order; clock and position are written by the database.
_INSERT_COLUMNS: Final = (
    "id",
    "backend",
    "task",
    "queue",
    "priority",
    "args",
    "kwargs",
    "status",
    "run_after",
    "position",
    "epoch",
    "worker",
    "attempts",
    "crashes",
    "interruptions",
    "max_attempts",
    "timeout",
    "on_crash",
    "expires_at",
    "retry_until",
    "enqueued_at",
    "reason",
    "tags",
    "metadata",
    "schedule_id",
    "slot",
)


class Broker:
    """The broker every database understands: polling, one UPDATE per ending."""

    # Does a listener hear of new jobs without asking the database?
    can_notify: ClassVar[bool] = False
    # Does a claim tell which transactions it could not see?
    knows_snapshots: ClassVar[bool] = False
    # Most jobs one transaction of a worker may touch.
    batch_limit: ClassVar[int] = 1_000
    # What the banner says of how workers are woken.
    wakes_by: ClassVar[str] = "polling"

    def __init__(self, using: str) -> None:
        """Build a broker on the database alias `using`; opens nothing."""
        self.using = using
        # Is a claim on disk before its jobs are handed out? Where it may be otherwise
        # (PostgreSQL), a server that crashes can forget claims: see claim() there.
        self.durable_claims = True

    @property
    def connection(self) -> BaseDatabaseWrapper:
        """This thread's connection."""
        return connections[self.using]

    @property
    def dialect(self) -> Dialect:
        """The SQL words of this database."""
        return dialect_of(self.connection)

    @property
    def jobs(self) -> JobQuerySet:
        """All jobs of this database."""
        return Job.objects.using(self.using)

    def now(self) -> datetime:
        """The database's clock; aware, UTC."""
        return database_now(self.connection)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One transaction; inside the caller's it becomes part of that one."""
        with transaction.atomic(using=self.using):
            yield

    # Enqueue

    def enqueue(self, jobs: Sequence[NewJob]) -> datetime:
        """Store jobs in the caller's transaction, all or none.

        Returns when they were enqueued by the database's clock.
        """
        if not jobs:
            return self.now()
        rows_per_statement = self._rows_per_insert()
        enqueued_at: datetime | None = None
        if len(jobs) <= rows_per_statement:
            return self._insert(jobs)
        with self.transaction():
            for start in range(0, len(jobs), rows_per_statement):
                moment = self._insert(jobs[start : start + rows_per_statement])
                enqueued_at = enqueued_at or moment
        assert enqueued_at is not None
        return enqueued_at

    def _rows_per_insert(self) -> int:
        limit = self.connection.features.max_query_params or 60_000
        return max(1, min(1_000, limit // len(_INSERT_COLUMNS)))

    def _insert(self, jobs: Sequence[NewJob]) -> datetime:
        connection, dialect = self.connection, self.dialect
        rows: list[str] = []
        params: list[Any] = []
        for job in jobs:
            rows.append(self._row_sql(dialect, due=job.run_after is None))
            params += (
                uuid_value(connection, job.id),
                job.backend,
                job.task,
                job.queue,
                job.priority,
                job.args,
                job.kwargs,
                datetime_value(connection, job.run_after),
                job.max_attempts,
                job.timeout,
                job.on_crash,
                datetime_value(connection, job.expires_at),
                datetime_value(connection, job.retry_until),
                job.tags,
                job.metadata,
                job.schedule_id,
                datetime_value(connection, job.slot),
            )
        sql = (
            f"INSERT INTO {Job._meta.db_table} ({', '.join(_INSERT_COLUMNS)}) "
            f"VALUES {', '.join(rows)}"
        )
        with connection.cursor() as cursor:
            if not connection.features.can_return_columns_from_insert:
                cursor.execute(sql, params)
                return self.now()
            cursor.execute(f"{sql} RETURNING enqueued_at", params)
            return self._as_datetime(cursor.fetchall()[0][0])

    @staticmethod
    def _row_sql(dialect: Dialect, *, due: bool) -> str:
        status = JobStatus.READY if due else JobStatus.SCHEDULED
        position = dialect.position if due else "NULL"
        return (
            f"(%s, %s, %s, %s, %s, {dialect.json}, {dialect.json}, '{status.value}', "
            f"%s, {position}, 0, '', 0, 0, 0, %s, %s, %s, %s, %s, {dialect.clock}, '', "
            f"{dialect.json}, {dialect.json}, %s, %s)"
        )

    @staticmethod
    def _as_datetime(value: Any) -> datetime:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    # Claim

    def lanes(self, tasks: Sequence[str] | None = None) -> list[Lane]:
        """Every lane that has ready jobs, found by hopping over the index.

        With `tasks` only those tasks' jobs count, and each lane belongs to a task.
        """
        return find_lanes(self.connection, tasks)

    def claim(
        self,
        session: UUID,
        *,
        worker: str,
        lanes: Sequence[tuple[Lane, int]],
        limit: int,
    ) -> Claim:
        """Hand at most `limit` ready jobs of these lanes, in this order, to a session.

        A lane comes with its floor: no job below that position is looked for (a hint
        that only PostgreSQL uses). Raises the epoch of each job; charges nothing.
        """
        if not lanes or limit < 1:
            return Claim([])
        claimed: list[ClaimedJob] = []
        with self.transaction():
            for lane, _floor in lanes:
                claimed += self._claim_lane(
                    session, worker=worker, lane=lane, limit=limit - len(claimed)
                )
                if len(claimed) >= limit:
                    break
        return Claim(claimed)

    def _claim_lane(
        self, session: UUID, *, worker: str, lane: Lane, limit: int
    ) -> list[ClaimedJob]:
        ready = self.jobs.ready().filter(queue=lane.queue, priority=lane.priority)
        if lane.task:
            ready = ready.filter(task=lane.task)
        rows = list(
            ready.order_by("position", "id")
            .select_for_update(
                skip_locked=self.connection.features.has_select_for_update_skip_locked
            )
            .values(*_CLAIM_FIELDS)[:limit]
        )
        if not rows:
            return []
        # Read first and written as a value: the claim returns what the row holds.
        now = self.now()
        self.jobs.ready().filter(id__in=[row["id"] for row in rows]).update(
            status=JobStatus.RUNNING,
            session=session,
            worker=worker,
            epoch=F("epoch") + 1,
            started_at=Coalesce(F("started_at"), Value(now)),
            last_attempted_at=now,
            reason="",
        )
        return [_claimed(row, now) for row in rows]

    def forgotten(self, session: UUID, *, known: Collection[str]) -> list[ClaimedJob]:
        """The jobs a session holds by the database but not among those it knows.

        A claim whose answer never came leaves such. *known* must have been collected
        before the call, by whoever claims for the session.
        """
        held = self.jobs.running().filter(session=session)
        ids = [
            job_id
            for job_id in held.order_by().values_list("id", flat=True)
            if str(job_id) not in known
        ]
        if not ids:
            return []
        rows = held.filter(id__in=ids).order_by("position", "id").values(*_CLAIM_FIELDS)
        now = self.now()
        return [_held(row, now) for row in rows]

    # Succeed, retry, fail, release

    def settle(self, session: UUID, endings: Sequence[Ending]) -> dict[str, str]:
        """End claims of a session, all in one transaction, rollups included.

        Returns the status each job has now, by id; a job that is missing there was no
        longer held under that token, and nothing was written about it. Raises what
        the database raises: one row it cannot store aborts the whole batch.
        """
        if not endings:
            return {}
        batch = sorted(endings, key=lambda ending: ending.id)
        with self.transaction():
            written = self._leave_running(session, batch)
            ours = [ending for ending in batch if ending.id in written]
            self._record_attempts(session, ours)
            self._add_to_rollups(ours)
        return written

    succeed = retry = fail = release = settle

    def _leave_running(
        self, session: UUID, endings: Sequence[Ending]
    ) -> dict[str, str]:
        """Move each job that is still ours to where its ending says."""
        written: dict[str, str] = {}
        for ending in endings:
            held = self.jobs.filter(id=ending.id, epoch=ending.epoch, session=session)
            status = ending.status
            if status not in FINISHED and held.filter(
                cancel_requested_at__isnull=False
            ).update(**self._changes(ending, JobStatus.CANCELLED.value)):
                written[ending.id] = JobStatus.CANCELLED.value
            elif held.update(**self._changes(ending, status)):
                written[ending.id] = status
        return written

    def _changes(self, ending: Ending, status: str) -> dict[str, Any]:
        changes: dict[str, Any] = {
            "status": status,
            "session": None,
            "attempts": F("attempts") + ending.attempts,
            "crashes": F("crashes") + ending.crashes,
            "interruptions": F("interruptions") + ending.interruptions,
        }
        if ending.duration is not None:
            changes["duration"] = ending.duration
        if ending.reason:
            changes["reason"] = ending.reason
        if ending.result is not None:
            changes["result"] = json.loads(ending.result)
        if status in FINISHED:
            changes["finished_at"] = DatabaseNow()
        elif ending.delay is not None:
            changes["run_after"] = DatabaseNowPlus(Value(ending.delay))
        if status == JobStatus.READY and not ending.in_place:
            changes["position"] = NextPosition()
        return changes

    def _record_attempts(self, session: UUID, endings: Iterable[Ending]) -> None:
        """Write a row for every attempt the job's own row cannot tell."""
        rows = [
            Attempt(
                job_id=UUID(ending.id),
                number=ending.number,
                epoch=ending.epoch,
                session=session,
                worker=ending.worker,
                host=ending.host,
                pid=ending.pid,
                outcome=ending.outcome,
                exception=ending.failure.exception if ending.failure else "",
                message=ending.failure.message if ending.failure else "",
                traceback=ending.failure.traceback if ending.failure else "",
                started_at=_instant(ending.started_at),
                finished_at=DatabaseNow(),
                duration=ending.duration,
            )
            for ending in endings
            if ending.has_attempt_row
        ]
        if rows:
            Attempt.objects.using(self.using).bulk_create(rows, batch_size=500)

    def _add_to_rollups(self, endings: Sequence[Ending]) -> None:
        """Add the batch to the per-minute figures of its worker."""
        worker = endings[0].worker if endings else ""
        sums = add_up(worker, endings) if self.writes_rollups else {}
        if not sums:
            return
        dialect = self.dialect
        key = "minute, worker, queue, task, outcome"
        table = Rollup._meta.db_table
        added = ", ".join(
            [
                dialect.add.format(column=column, table=table)
                for column in ("count", "run_seconds", "wait_seconds")
            ]
            + [
                dialect.keep_greater.format(column=column, table=table)
                for column in ("run_max", "wait_max")
            ]
        )
        params: list[Any] = []
        for rollup_key, row in sorted(sums.items()):
            params += (
                *rollup_key,
                row.count,
                row.run_seconds,
                row.run_max,
                row.wait_seconds,
                row.wait_max,
            )
        value = f"({dialect.minute}, {', '.join(['%s'] * 9)})"
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {table} ({key}, count, run_seconds, run_max, "
                f"wait_seconds, wait_max) VALUES {', '.join([value] * len(sums))} "
                f"{dialect.on_conflict.format(key=key)} {added}",
                params,
            )

    # Whether batches are added to the per-minute figures.
    writes_rollups = True

    # Cancel

    def cancel(self, ids: Sequence[UUID], *, reason: str = "") -> dict[UUID, str]:
        """End waiting jobs; ask the holders of running ones to stop.

        Returns for each job that exists "cancelled", "requested" or "finished first".
        """
        answers: dict[UUID, str] = {}
        with self.transaction():
            statuses = self._lock(ids)
            for job_id, status in statuses.items():
                if status in FINISHED:
                    answers[job_id] = FINISHED_FIRST
                elif status == JobStatus.RUNNING:
                    answers[job_id] = REQUESTED
                else:
                    answers[job_id] = CANCELLED
            self.jobs.filter(id__in=_with(answers, CANCELLED)).update(
                status=JobStatus.CANCELLED,
                finished_at=DatabaseNow(),
                cancel_requested_at=DatabaseNow(),
                reason=reason,
            )
            self.jobs.filter(
                id__in=_with(answers, REQUESTED), cancel_requested_at__isnull=True
            ).update(cancel_requested_at=DatabaseNow(), reason=reason)
        return answers

    def cancel_requests(self, session: UUID) -> list[tuple[str, int, str]]:
        """The running jobs of a session that somebody wants stopped.

        Returns (id, epoch, reason) of each.
        """
        return [
            (str(job_id), epoch, reason)
            for job_id, epoch, reason in self.jobs.running()
            .filter(session=session, cancel_requested_at__isnull=False)
            .order_by()
            .values_list("id", "epoch", "reason")
        ]

    # Requeue

    def requeue(
        self, ids: Sequence[UUID], *, reset_attempts: bool = False
    ) -> dict[UUID, Literal["retried", "successful", "not finished"]]:
        """Make failed and cancelled jobs ready again.

        Without reset the counters stay and the job gets one more attempt; with it the
        full budget again. Their attempts' rows stay. Returns what happened to each job
        that exists.
        """
        answers: dict[UUID, Any] = {}
        with self.transaction():
            for job_id, status in self._lock(ids).items():
                if status in (JobStatus.FAILED, JobStatus.CANCELLED):
                    answers[job_id] = "retried"
                elif status == JobStatus.SUCCESSFUL:
                    answers[job_id] = "successful"
                else:
                    answers[job_id] = "not finished"
            changes: dict[str, Any] = (
                {"attempts": 0, "crashes": 0, "interruptions": 0}
                if reset_attempts
                else {"max_attempts": Greatest(F("max_attempts"), F("attempts") + 1)}
            )
            self.jobs.filter(id__in=_with(answers, "retried")).update(
                status=JobStatus.READY,
                position=NextPosition(),
                # It waits from now on, not since it was first enqueued.
                run_after=DatabaseNow(),
                finished_at=None,
                cancel_requested_at=None,
                expires_at=None,
                retry_until=None,
                result=None,
                reason="",
                **changes,
            )
        return answers

    def hasten(
        self, ids: Sequence[UUID]
    ) -> dict[UUID, Literal["ready", "not waiting"]]:
        """Make scheduled jobs ready now. Returns what happened to each that exists."""
        answers: dict[UUID, Any] = {}
        with self.transaction():
            for job_id, status in self._lock(ids).items():
                waits = status in (JobStatus.SCHEDULED, JobStatus.READY)
                answers[job_id] = "ready" if waits else "not waiting"
            self.jobs.scheduled().filter(id__in=_with(answers, "ready")).update(
                status=JobStatus.READY, position=NextPosition(), run_after=DatabaseNow()
            )
        return answers

    def postpone(
        self, ids: Sequence[UUID], run_after: datetime
    ) -> dict[UUID, Literal["rescheduled", "not waiting"]]:
        """Give waiting jobs another due time. Returns what happened to each."""
        answers: dict[UUID, Any] = {}
        with self.transaction():
            for job_id, status in self._lock(ids).items():
                waits = status in (JobStatus.SCHEDULED, JobStatus.READY)
                answers[job_id] = "rescheduled" if waits else "not waiting"
            self.jobs.filter(id__in=_with(answers, "rescheduled")).update(
                status=JobStatus.SCHEDULED, run_after=run_after
            )
        return answers

    def _lock(self, ids: Sequence[UUID]) -> dict[UUID, str]:
        """Lock jobs in id order; return the status of each that exists."""
        rows = self.jobs.filter(id__in=list(ids)).order_by("id")
        if self.connection.features.has_select_for_update:
            rows = rows.select_for_update()
        return dict(rows.values_list("id", "status"))

    # Chores

    def promote(self, limit: int = 1_000) -> Promotion:
        """Make due scheduled jobs ready, the longest due first.

        Returns how many, in which lanes, and when the next one is due.
        """
        with self.transaction():
            due = self.jobs.scheduled().filter(run_after__lte=DatabaseNow())
            rows = list(
                due.order_by("run_after")
                .select_for_update(
                    skip_locked=(
                        self.connection.features.has_select_for_update_skip_locked
                    )
                )
                .values_list("id", "queue", "priority")[:limit]
            )
            # One by one, so that positions follow due times; and one after another,
            # since a clock may stand still meanwhile.
            step = 0 if self.dialect.counts_positions else 1
            for rank, (job_id, _queue, _priority) in enumerate(rows):
                self.jobs.scheduled().filter(id=job_id).update(
                    status=JobStatus.READY, position=NextPosition() + rank * step
                )
        return Promotion(
            count=len(rows),
            lanes=frozenset(Lane(queue, priority) for _, queue, priority in rows),
            next_due=self._next_due(),
        )

    def _next_due(self) -> float | None:
        first = _first(self.jobs.scheduled().order_by("run_after"), "run_after")
        return None if first is None else (first - self.now()).total_seconds()

    def admit(self, tasks: Sequence[str]) -> int:
        """Release the jobs parked as unroutable whose task is known now."""
        return (
            self.jobs.filter(
                status=JobStatus.BLOCKED, reason__startswith=UNROUTABLE, task__in=tasks
            )
            .order_by()
            .update(status=JobStatus.READY, position=NextPosition(), reason="")
        )

    def known_elsewhere(self, task: str) -> bool:
        """Whether a living worker lists the task among those it can run."""
        return any(
            task in names
            for names in WorkerSession.objects.using(self.using)
            .alive()
            .values_list("tasks", flat=True)
        )

    def rescue(self, limit: int = 1_000, *, dry_run: bool = False) -> list[Rescue]:
        """Take jobs back from sessions that are not alive any more.

        A session counts as alive until somebody marked it lost or stopped; the age of
        a job never matters. Each job is charged an interruption, since nobody knows
        whether it had started, and goes back to its place; one that must not run
        twice fails instead. Returns what was done, or with `dry_run` would be.
        """
        alive = WorkerSession.objects.using(self.using).filter(state__in=ALIVE)
        rows = list(
            self.jobs.running()
            # Every running job has one; said for MySQL, which has the others in the
            # index, too.
            .filter(session__isnull=False)
            .exclude(session__in=alive.values("id"))
            .order_by("session")  # as the index has them: nothing to sort
            .values("session", *_CLAIM_FIELDS, "worker")[:limit]
        )
        now = self.now()
        rescued: list[Rescue] = []
        by_session: dict[UUID, list[Ending]] = {}
        for row in rows:
            job = _held(row, now)
            ending = lost(job, worker=row["worker"])
            by_session.setdefault(row["session"], []).append(ending)
        for session, endings in by_session.items():
            written = (
                {ending.id: ending.status for ending in endings}
                if dry_run
                else self.settle(session, endings)
            )
            rescued += [
                Rescue(
                    job_id=ending.id,
                    task=ending.task,
                    backend=ending.backend,
                    session=session,
                    status=written[ending.id],
                    reason=ending.failure.message if ending.failure else "",
                )
                for ending in endings
                if ending.id in written
            ]
        return rescued

    def prune(
        self,
        *,
        status: str,
        older_than: timedelta,
        queue: str | None = None,
        limit: int = 1_000,
    ) -> int:
        """Delete at most `limit` jobs that finished longer ago than that.

        Only finished jobs are ever deleted, with their attempts. Returns how many.
        """
        if status not in FINISHED:
            raise ValueError(f"only finished jobs are pruned, not {status!r}")
        with self.transaction():
            old = self.jobs.filter(
                status=status,
                finished_at__lt=DatabaseNowPlus(Value(-older_than.total_seconds())),
            )
            if queue is not None:
                old = old.filter(queue=queue)
            features = self.connection.features
            ids = list(
                old.order_by("finished_at")
                .select_for_update(
                    skip_locked=features.has_select_for_update_skip_locked
                )
                .values_list("id", flat=True)[:limit]
            )
            if ids:
                attempts = Attempt.objects.using(self.using).filter(job_id__in=ids)
                attempts._raw_delete(self.using)
                self.jobs.filter(id__in=ids, status=status)._raw_delete(self.using)
        return len(ids)

    # Wake-ups

    def notify(self, channel: str, payloads: Iterable[str]) -> None:
        """Send hints to whoever listens; a database that cannot does nothing."""

    def history(self, ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """The recorded attempts of jobs, oldest first, by id."""
        found: dict[str, list[dict[str, Any]]] = {}
        for row in (
            Attempt.objects.using(self.using)
            .filter(job_id__in=[UUID(job_id) for job_id in ids])
            .order_by("job_id", "epoch")
            .values("job_id", "outcome", "worker", "exception", "traceback")
        ):
            found.setdefault(str(row["job_id"]), []).append(
                {name: value for name, value in row.items() if name != "job_id"}
            )
        return found


def lost(job: ClaimedJob, *, worker: str) -> Ending:
    """The ending of a job whose holder stopped answering."""
    fails = job.on_crash == OnCrash.FAIL
    message = f"worker {worker} stopped answering while it held the job"
    if fails:
        message += "; it must not run twice"
    return Ending(
        id=job.id,
        epoch=job.epoch,
        task=job.task,
        queue=job.queue,
        priority=job.priority,
        backend=job.backend,
        status=(JobStatus.FAILED if fails else JobStatus.READY).value,
        outcome=AttemptOutcome.LOST.value,
        number=job.attempts + 1,
        interruptions=1,
        in_place=True,
        reason=message if fails else "",
        failure=Failure(
            exception=LOST_EXCEPTION,
            message=message,
            traceback=f"{LOST_EXCEPTION}: {message}\n",
        ),
        worker=worker,
        started_at=job.claimed_at,
    )


_CLAIM_FIELDS: Final = (
    "id",
    "epoch",
    "task",
    "queue",
    "priority",
    "position",
    "args",
    "kwargs",
    "attempts",
    "crashes",
    "interruptions",
    "max_attempts",
    "timeout",
    "on_crash",
    "backend",
    "enqueued_at",
    "run_after",
    "started_at",
    "last_attempted_at",
    "retry_until",
    "expires_at",
    "tags",
    "metadata",
)


def _claimed(row: Mapping[str, Any], now: datetime) -> ClaimedJob:
    """A job just claimed, from its values before the claim."""
    expires_at = row["expires_at"]
    return ClaimedJob(
        id=str(row["id"]),
        epoch=row["epoch"] + 1,
        task=row["task"],
        queue=row["queue"],
        priority=row["priority"],
        position=row["position"],
        args=json.dumps(row["args"]),
        kwargs=json.dumps(row["kwargs"]),
        attempts=row["attempts"],
        crashes=row["crashes"],
        interruptions=row["interruptions"],
        max_attempts=row["max_attempts"],
        timeout=row["timeout"],
        on_crash=row["on_crash"],
        backend=row["backend"],
        enqueued_at=row["enqueued_at"].timestamp(),
        run_after=row["run_after"].timestamp() if row["run_after"] else None,
        started_at=(row["started_at"] or now).timestamp(),
        claimed_at=now.timestamp(),
        retry_until=row["retry_until"].timestamp() if row["retry_until"] else None,
        expired=expires_at is not None and expires_at <= now,
        tags=json.dumps(row["tags"]),
        metadata=json.dumps(row["metadata"]),
    )


def _held(row: Mapping[str, Any], now: datetime) -> ClaimedJob:
    """A running job as its holder knows it."""
    claimed_at = (row["last_attempted_at"] or now).timestamp()
    return _claimed(row, now)._replace(epoch=row["epoch"], claimed_at=claimed_at)


def _instant(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _first(rows: JobQuerySet, field: str) -> Any:
    return rows.values_list(field, flat=True).first()


def _with(answers: Mapping[UUID, str], answer: str) -> list[UUID]:
    return [job_id for job_id, given in answers.items() if given == answer]
