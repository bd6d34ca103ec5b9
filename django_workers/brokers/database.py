"""What every verb stands on: one database, its words, its clock, its transactions."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from ..dialect import Dialect, database_now, dialect_of
from ..models import Job, JobQuerySet


class OnDatabase:
    """The common ground of all verbs."""

    def __init__(self, using: str) -> None:
        """Stand on the database alias `using`; opens nothing."""
        self.using = using
        # Seconds a transaction of ours waits for a row that somebody else holds; None:
        # as long as the server lets it. A worker sets it, since whoever waits for one
        # row keeps all its other jobs waiting. Only PostgreSQL asks for it here: it
        # belongs to the transaction, so that it works through a pooler.
        self.lock_timeout: float | None = None

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
        is_ours = not self.connection.in_atomic_block
        with transaction.atomic(using=self.using):
            if is_ours and self.lock_timeout is not None:
                self._limit_waiting(self.lock_timeout)
            yield

    def _limit_waiting(self, seconds: float) -> None:
        if self.connection.vendor == "postgresql":
            with self.connection.cursor() as cursor:
                cursor.execute(
                    "SELECT set_config('lock_timeout', %s, true)",
                    [f"{round(seconds * 1_000)}ms"],
                )

    @property
    def can_skip_locked(self) -> bool:
        """Whether a statement may pass over rows that somebody else holds."""
        return self.connection.features.has_select_for_update_skip_locked
