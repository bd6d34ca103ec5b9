"""PostgreSQL: what its broker does otherwise, in a statement or two per verb."""

import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, ClassVar, Final
from uuid import UUID

from django.db import DatabaseError

from ..models import Job, JobStatus
from . import postgresql_statements as statements
from .base import Broker
from .endings import Ending
from .records import Claim, ClaimedJob, Lane, NewJob, Promotion

logger = logging.getLogger("django_workers.wakeup")

# The same as NOTIFY, for where a parameter can only stand in a query.
_PG_NOTIFY: Final = (
    "SELECT pg_notify(%s, payload) FROM unnest(%s::text[]) AS hint (payload)"
)


class PostgreSQLBroker(Broker):
    """The broker for PostgreSQL through psycopg 3."""

    can_notify: ClassVar[bool] = True
    knows_snapshots: ClassVar[bool] = True
    wakes_by: ClassVar[str] = "LISTEN/NOTIFY"

    def lanes(self, tasks: Sequence[str] | None = None) -> list[Lane]:
        """Every lane that has ready jobs, by one loose index scan."""
        with self.connection.cursor() as cursor:
            if tasks is None:
                cursor.execute(statements.LANES)
            else:
                cursor.execute(statements.LANES_BY_TASK, {"tasks": list(tasks)})
            return [Lane(*row) for row in cursor.fetchall()]

    def claim(
        self,
        session: UUID,
        *,
        worker: str,
        lanes: Sequence[tuple[Lane, int]],
        limit: int,
    ) -> Claim:
        """See Broker.claim(): one statement, its snapshot returned beside the jobs.

        With `durable_claims` off its transaction, unless it is the caller's, commits
        before it is on disk. A server that crashes may then forget the newest claims,
        each as a whole, and their jobs are ready again at their old places. It never
        forgets the claim of a job whose ending was committed: endings are durable,
        and so is whatever was committed before one. What follows:

        - The holder, which still runs such a job, claims it again. It knows the job by
          its id, renews its token and does not run it a second time; its ending counts.
        - Another session claims it, under the same epoch perhaps, but in its own name.
          The job runs twice, and only the ending in that name counts.
        - Nobody has claimed it when the first run ends: that ending is refused, since
          the row has no holder, and the job runs again.
        """
        if not lanes or limit < 1:
            return Claim([])
        by_task = bool(lanes[0][0].task)
        params: dict[str, Any] = {
            "queues": [lane.queue for lane, _ in lanes],
            "priorities": [lane.priority for lane, _ in lanes],
            "floors": [floor for _, floor in lanes],
            "limit": limit,
            "session": session,
            "worker": worker,
        }
        if by_task:
            params["tasks"] = [lane.task for lane, _ in lanes]
        sql = statements.CLAIM_BY_TASK if by_task else statements.CLAIM
        if not (self.durable_claims or self.connection.in_atomic_block):
            sql = statements.relaxed(sql)
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params)
            rows = cursor.fetchall()
        xmin, xmax, _in_progress = rows[0][0].split(":")
        jobs = [ClaimedJob._make(row[1:]) for row in rows if row[1] is not None]
        rank = {lane: place for place, (lane, _) in enumerate(lanes)}
        jobs.sort(
            key=lambda job: (
                rank[Lane(job.queue, job.priority, job.task if by_task else "")],
                job.position,
            )
        )
        return Claim(jobs, int(xmin), int(xmax))

    def _leave_running(
        self, session: UUID, endings: Sequence[Ending]
    ) -> dict[str, str]:
        params: dict[str, Any] = {
            "session": session,
            "ids": [ending.id for ending in endings],
            "epochs": [ending.epoch for ending in endings],
            "durations": [ending.duration for ending in endings],
            "results": [ending.result for ending in endings],
        }
        sql = statements.SUCCEED
        if any(ending.status != JobStatus.SUCCESSFUL for ending in endings):
            sql = statements.LEAVE_RUNNING
            params |= {
                "statuses": [ending.status for ending in endings],
                "attempts": [ending.attempts for ending in endings],
                "crashes": [ending.crashes for ending in endings],
                "interruptions": [ending.interruptions for ending in endings],
                "delays": [ending.delay for ending in endings],
                "in_places": [ending.in_place for ending in endings],
                "reasons": [ending.reason for ending in endings],
                "unstarted": [ending.is_unstarted for ending in endings],
            }
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params)
            return dict(cursor.fetchall())

    def promote(self, limit: int = 1_000) -> Promotion:
        """See Broker.promote(): one statement, and one that looks ahead."""
        with self.connection.cursor() as cursor:
            cursor.execute(statements.PROMOTE, {"limit": limit})
            lanes = [Lane(queue, priority) for queue, priority in cursor.fetchall()]
            cursor.execute(statements.NEXT_DUE)
            row = cursor.fetchone()
        return Promotion(
            count=len(lanes),
            lanes=frozenset(lanes),
            next_due=None if row is None else row[0],
        )

    def notify(self, channel: str, payloads: Iterable[str]) -> None:
        """Send hints in a transaction of their own.

        It writes nothing else, so that its commit does not wait for the disk.
        """
        texts = list(payloads)
        if not texts:
            return
        with self.connection.cursor() as cursor:
            if self._binds_on_the_server:
                cursor.execute(_PG_NOTIFY, [channel, texts])
            else:
                cursor.execute("; ".join([_notify(channel)] * len(texts)), texts)

    @property
    def _binds_on_the_server(self) -> bool:
        return bool(
            getattr(self.connection.features, "uses_server_side_binding", False)
        )

    def enqueue_and_notify(
        self, jobs: Sequence[NewJob], channel: str, payloads: Sequence[str]
    ) -> datetime | None:
        """See Broker: several statements in one message of the simple protocol.

        The hints are a transaction of their own behind that of the jobs, as in
        notify(). Not inside a transaction of the caller's, whether Django knows of it
        or not, and not where the driver binds parameters on the server or is in
        pipeline mode: that protocol takes one statement at a time.
        """
        connection: Any = self.connection
        if (
            connection.in_atomic_block
            or not connection.get_autocommit()
            or self._binds_on_the_server
            or not 0 < len(jobs) <= self._rows_per_insert()
            or not _is_at_rest(connection.connection)
        ):
            return None
        insert, params = self._insert_sql(jobs)
        sql = f"BEGIN; {insert} RETURNING enqueued_at; COMMIT"
        sql += f"; {_notify(channel)}" * len(payloads)
        with connection.cursor() as cursor:
            try:
                cursor.execute(sql, [*params, *payloads])
            except BaseException as error:  # Ctrl+C as well: nothing may stay open
                is_over = self._leave_transaction()
                moment = None
                if is_over and isinstance(error, DatabaseError):
                    with suppress(DatabaseError):
                        moment = self._moment_of(jobs[0])
                if moment is None:
                    raise
                # They are stored, and will be found by polling.
                logger.debug("A wake-up could not be sent", exc_info=True)
                return moment
            cursor.nextset()
            return self._as_datetime(cursor.fetchall()[0][0])

    def _leave_transaction(self) -> bool:
        """Roll back what a failed message has left open.

        Returns whether there was nothing: the message had ended its transaction.
        """
        raw: Any = self.connection.connection
        if raw is None:
            return False  # closed meanwhile
        status = raw.info.transaction_status.name
        if status in ("INERROR", "INTRANS"):
            with self.connection.wrap_database_errors:
                raw.rollback()
        elif status == "ACTIVE":
            # An exception that the driver does not know of has come while it waited.
            self.connection.close()
        return bool(status == "IDLE")

    def _moment_of(self, job: NewJob) -> datetime | None:
        rows = Job.objects.using(self.using).filter(id=job.id)
        return rows.values_list("enqueued_at", flat=True).first()


def _is_at_rest(raw: Any) -> bool:
    """Whether the driver's connection is in no transaction and in no pipeline."""
    info = raw.info
    return bool(
        info.transaction_status.name == "IDLE" and info.pipeline_status.name == "OFF"
    )


def _notify(channel: str) -> str:
    # Half the cost of a query that calls pg_notify(): there is nothing to plan.
    return f"NOTIFY {channel}, %s"
