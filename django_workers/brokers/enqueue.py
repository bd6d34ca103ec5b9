"""Enqueue: one INSERT in the caller's transaction; the database has the clock."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from ..dialect import Dialect, datetime_value, uuid_value
from ..models import Job, JobStatus
from .database import OnDatabase
from .records import Moment, NewJob

# In order; clock and position are written by the database.
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


class EnqueueVerb(OnDatabase):
    """Stores new jobs."""

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
        sql, params = self._insert_sql(jobs)
        with self.connection.cursor() as cursor:
            if not self.connection.features.can_return_columns_from_insert:
                cursor.execute(sql, params)
                return self.now()
            cursor.execute(f"{sql} RETURNING enqueued_at", params)
            return self._as_datetime(cursor.fetchall()[0][0])

    def _insert_sql(self, jobs: Sequence[NewJob]) -> tuple[str, list[Any]]:
        """The INSERT of so many jobs at most as one statement takes, and its params."""
        connection, dialect = self.connection, self.dialect
        texts: dict[tuple[type, ...], str] = {}
        rows: list[str] = []
        params: list[Any] = []
        for job in jobs:
            kinds = (type(job.run_after), type(job.expires_at), type(job.retry_until))
            text = texts.get(kinds)
            if text is None:
                text = texts[kinds] = self._row_sql(dialect, job)
            rows.append(text)
            params += (
                uuid_value(connection, job.id),
                job.backend,
                job.task,
                job.queue,
                job.priority,
                job.args,
                job.kwargs,
                self._moment_value(job.run_after),
                job.max_attempts,
                job.timeout,
                job.on_crash,
                self._moment_value(job.expires_at),
                self._moment_value(job.retry_until),
                job.tags,
                job.metadata,
                job.schedule_id,
                datetime_value(connection, job.slot),
            )
        sql = (
            f"INSERT INTO {Job._meta.db_table} ({', '.join(_INSERT_COLUMNS)}) "
            f"VALUES {', '.join(rows)}"
        )
        return sql, params

    @staticmethod
    def _row_sql(dialect: Dialect, job: NewJob) -> str:
        """The row of a job, and of all others whose moments are of the same kinds."""

        def moment(value: Moment | None) -> str:
            return dialect.clock_plus if isinstance(value, float) else "%s"

        due = job.run_after is None
        status = JobStatus.READY if due else JobStatus.SCHEDULED
        position = dialect.position if due else "NULL"
        return (
            f"(%s, %s, %s, %s, %s, {dialect.json}, {dialect.json}, '{status.value}', "
            f"{moment(job.run_after)}, {position}, 0, '', 0, 0, 0, %s, %s, %s, "
            f"{moment(job.expires_at)}, {moment(job.retry_until)}, {dialect.clock}, "
            f"'', {dialect.json}, {dialect.json}, %s, %s)"
        )

    def _moment_value(self, moment: Moment | None) -> Any:
        if isinstance(moment, float):
            return moment
        return datetime_value(self.connection, moment)

    @staticmethod
    def _as_datetime(value: Any) -> datetime:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
