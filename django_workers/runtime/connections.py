"""Care for the database connections that tasks open.

Django closes connections after each request when CONN_MAX_AGE is 0; doing that after
each job would cost a one-query job fifteen times its time. Here a connection outlives
the job: it is repaired after an error, tested when it has rested, closed when its
thread has had nothing to do for a while. Only aliases that were opened are looked at.
"""

import logging
import threading
import time
from typing import Any, Final

from django.db import DatabaseError, InterfaceError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger("django_workers.worker")

# A connection that has rested for so long is tested before the next job uses it.
REST_SECONDS: Final = 1.0
# libpq's PQTRANS_ACTIVE, _INTRANS and _INERROR. A connection that is lost has another.
_BUSY: Final = (1, 2, 3)

_rest = threading.local()


def opened() -> list[BaseDatabaseWrapper]:
    """The connections this thread holds open."""
    return [
        connection
        for connection in connections.all(initialized_only=True)
        if connection.connection is not None
    ]


def before_job() -> None:
    """Test what has rested: a server may have gone away meanwhile."""
    since = getattr(_rest, "since", None)
    if since is None or time.monotonic() - since < REST_SECONDS:
        return
    for connection in opened():
        if not connection.is_usable():
            connection.close()


def after_job() -> None:
    """Leave no transaction, no broken connection and no query log to the next job."""
    held = opened()
    if not held:
        return
    for connection in held:
        _tidy(connection)
    _rest.since = time.monotonic()


def _tidy(connection: BaseDatabaseWrapper) -> None:
    if (
        connection.in_atomic_block
        or not connection.autocommit
        or _is_busy(connection.connection)
    ):
        logger.warning(
            "A task left a transaction open on %r; it was rolled back",
            connection.alias,
        )
        _close(connection)
    elif connection.errors_occurred:
        if connection.is_usable():
            connection.errors_occurred = False
        else:
            _close(connection)
    if connection.queries_logged:
        connection.queries_log.clear()


def _is_busy(raw: Any) -> bool:
    """Whether the driver's connection is in a transaction, or still in a query.

    Django does not know of a BEGIN that a task has sent as a query of its own, nor of
    a query that was left in the middle. The drivers of PostgreSQL and SQLite say so
    without asking the server; that of MySQL does not.
    """
    info = getattr(raw, "info", None)
    if info is not None:
        return getattr(info, "transaction_status", None) in _BUSY
    return bool(getattr(raw, "in_transaction", False))


def _close(connection: BaseDatabaseWrapper) -> None:
    """Close a connection whatever state a task has left it in.

    Inside what Django takes for an atomic block, close() only pretends: the block's end
    would do the rest. Here that end never comes.
    """
    connection.in_atomic_block = False
    connection.closed_in_transaction = False
    connection.savepoint_ids = []
    connection.atomic_blocks = []
    connection.needs_rollback = False
    connection.commit_on_exit = True
    connection.run_on_commit = []
    try:
        connection.close()
    except (DatabaseError, InterfaceError):
        pass  # it is given up, whatever it says
    connection.connection = None


def when_idle() -> None:
    """Close what this thread holds open; it has had nothing to do for a while."""
    for connection in opened():
        _close(connection)
    _rest.since = None
