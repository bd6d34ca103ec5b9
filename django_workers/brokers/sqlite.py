"""SQLite: one writer at a time, and courtesy towards the others.

A worker that writes one transaction after another starves everybody else: SQLite has
no queue of writers, only luck. So the worker's transactions take turns among its own
threads and leave a gap in which another process gets in. (Measured: without the gap
another process's INSERT waits for seconds.)
"""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Final
from uuid import UUID

from django.db import transaction

from .base import Broker
from .endings import Ending
from .records import ClaimedJob, Lane, Promotion

_RETURNED: Final = """
    id, epoch, task, queue, priority, position, args, kwargs, attempts, crashes,
    interruptions, max_attempts, timeout, on_crash, backend,
    (JULIANDAY(enqueued_at) - 2440587.5) * 86400.0,
    (JULIANDAY(run_after) - 2440587.5) * 86400.0,
    (JULIANDAY(started_at) - 2440587.5) * 86400.0,
    (JULIANDAY(last_attempted_at) - 2440587.5) * 86400.0,
    (JULIANDAY(retry_until) - 2440587.5) * 86400.0,
    COALESCE(expires_at <= last_attempted_at, 0), tags, metadata"""

_NOW: Final = "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW')"

_POSITION: Final = (
    "CAST(ROUND((JULIANDAY('NOW') - 2440587.5) * 86400000.0) AS INTEGER) * 1000"
)

# Joined to what it picked, not by ``id IN (SELECT ...)``: if the table was analyzed
# while it held some dozen jobs, SQLite believes for ever that it had better read all.
CLAIM: Final = f"""
UPDATE django_workers_job AS job
SET status = 'running', session = %s, worker = %s, epoch = epoch + 1, reason = '',
    started_at = COALESCE(started_at, {_NOW}), last_attempted_at = {_NOW}
FROM (
    SELECT id FROM django_workers_job
    WHERE status = 'ready' AND queue = %s AND priority = %s {{task}}
    ORDER BY position, id LIMIT %s
) AS picked
WHERE job.id = picked.id
RETURNING {_RETURNED}
"""

# The clock stands still within a statement, and jobs follow each other by due time.
PROMOTE: Final = f"""
UPDATE django_workers_job AS job
SET status = 'ready', position = {_POSITION} + due.place
FROM (
    SELECT id, ROW_NUMBER() OVER (ORDER BY run_after) - 1 AS place
    FROM (
        SELECT id, run_after FROM django_workers_job
        WHERE status = 'scheduled' AND run_after <= {_NOW}
        ORDER BY run_after LIMIT %s
    )
) AS due
WHERE job.id = due.id
RETURNING queue, priority
"""

# What the last attempt that did start has left.
_LAST_ATTEMPT: Final = """(SELECT attempt.{column}
        FROM django_workers_attempt AS attempt
        WHERE attempt.job_id = job.id ORDER BY attempt.epoch DESC LIMIT 1)"""

# For the same reason the plus before the id and the limit that limits nothing: without
# them it reads all jobs and looks for each among the endings. (Measured with a million
# jobs by the figures of fifty, 100 endings: 224 ms instead of 7.)
LEAVE_RUNNING: Final = f"""
UPDATE django_workers_job AS job
SET status = CASE WHEN job.cancel_requested_at IS NOT NULL
        AND ending.status IN ('ready', 'scheduled', 'blocked')
        THEN 'cancelled' ELSE ending.status END,
    session = NULL,
    attempts = job.attempts + ending.attempts,
    crashes = job.crashes + ending.crashes,
    interruptions = job.interruptions + ending.interruptions,
    duration = COALESCE(ending.duration, job.duration),
    result = COALESCE(ending.result, job.result),
    reason = CASE WHEN ending.reason <> '' THEN ending.reason ELSE job.reason END,
    finished_at = CASE WHEN ending.status IN ('successful', 'failed', 'cancelled')
        OR job.cancel_requested_at IS NOT NULL THEN {_NOW} END,
    run_after = CASE WHEN ending.delay IS NULL THEN job.run_after
        ELSE STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', JULIANDAY('NOW')
            + ending.delay / 86400.0) END,
    position = CASE WHEN ending.status = 'ready' AND NOT ending.in_place
        THEN {_POSITION} ELSE job.position END,
    started_at = CASE WHEN ending.unstarted AND job.started_at = job.last_attempted_at
        AND job.attempts + job.crashes + job.interruptions = 0
        THEN NULL ELSE job.started_at END,
    last_attempted_at = CASE WHEN ending.unstarted
        THEN {_LAST_ATTEMPT.format(column="started_at")}
        ELSE job.last_attempted_at END,
    worker = CASE WHEN ending.unstarted
        THEN COALESCE({_LAST_ATTEMPT.format(column="worker")}, '')
        ELSE job.worker END
FROM (
    SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS epoch,
        json_extract(value, '$[2]') AS status,
        json_extract(value, '$[3]') AS duration,
        json_extract(value, '$[4]') AS result,
        json_extract(value, '$[5]') AS attempts,
        json_extract(value, '$[6]') AS crashes,
        json_extract(value, '$[7]') AS interruptions,
        json_extract(value, '$[8]') AS delay,
        json_extract(value, '$[9]') AS in_place,
        json_extract(value, '$[10]') AS reason,
        json_extract(value, '$[11]') AS unstarted
    FROM json_each(%s) LIMIT -1
) AS ending
WHERE job.id = +ending.id AND job.epoch = ending.epoch AND job.session IS %s
RETURNING id, status
"""


class WriterTurn:
    """Whose turn it is to write, among the threads of one worker.

    `gap` is the pause in seconds between two transactions.
    """

    def __init__(self, gap: float) -> None:
        self._gap = gap
        self._lock = threading.Lock()
        self._ended = 0.0

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for the turn and the gap, then hold the turn."""
        with self._lock:
            rest = self._ended + self._gap - time.monotonic()
            if rest > 0:
                time.sleep(rest)
            try:
                yield
            finally:
                self._ended = time.monotonic()


class SQLiteBroker(Broker):
    """The broker for SQLite 3.35 and newer, in WAL mode."""

    wakes_by: ClassVar[str] = "PRAGMA data_version"
    # Another process cannot write during a transaction. (Measured while a worker
    # drains: its INSERT has a p99 of 57 ms with 500 jobs a transaction, and of 9 to
    # 22 ms with 150.)
    batch_limit: ClassVar[int] = 200

    # Set in a worker's process: its transactions take turns and leave gaps.
    turn: ClassVar[WriterTurn | None] = None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One transaction that takes its turn when a worker runs it."""
        if self.turn is None or self.connection.in_atomic_block:
            with transaction.atomic(using=self.using):
                yield
            return
        with self.turn.taken(), transaction.atomic(using=self.using):
            yield

    def _claim_lane(
        self, session: UUID, *, worker: str, lane: Lane, limit: int
    ) -> list[ClaimedJob]:
        sql = CLAIM.format(task="AND task = %s" if lane.task else "")
        params: list[Any] = [session.hex, worker, lane.queue, lane.priority]
        if lane.task:
            params.append(lane.task)
        with self.connection.cursor() as cursor:
            cursor.execute(sql, [*params, limit])
            rows = cursor.fetchall()
        jobs = [
            ClaimedJob._make((str(UUID(row[0])), *row[1:20], bool(row[20]), *row[21:]))
            for row in rows
        ]
        jobs.sort(key=lambda job: (job.position, job.id))
        return jobs

    def _leave_running(
        self, session: UUID, endings: Sequence[Ending]
    ) -> dict[str, str]:
        rows = json.dumps(
            [
                (
                    UUID(ending.id).hex,
                    ending.epoch,
                    ending.status,
                    ending.duration,
                    ending.result,
                    ending.attempts,
                    ending.crashes,
                    ending.interruptions,
                    ending.delay,
                    ending.in_place,
                    ending.reason,
                    ending.is_unstarted,
                )
                for ending in endings
            ],
            # Half a surrogate pair, written as an escape, would become bytes in the
            # row that nobody can read back; written as it is, the driver refuses it.
            ensure_ascii=False,
        )
        with self.connection.cursor() as cursor:
            cursor.execute(LEAVE_RUNNING, [rows, session.hex])
            return {str(UUID(job_id)): status for job_id, status in cursor.fetchall()}

    def promote(self, limit: int = 1_000) -> Promotion:
        """See ChoreVerbs.promote(): one statement."""
        with self.transaction(), self.connection.cursor() as cursor:
            cursor.execute(PROMOTE, [limit])
            lanes = [Lane(*row) for row in cursor.fetchall()]
        return Promotion(
            count=len(lanes), lanes=frozenset(lanes), next_due=self._next_due()
        )
