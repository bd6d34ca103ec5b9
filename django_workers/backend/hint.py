"""A word to developers whose jobs wait because they have started no worker."""

import logging
import time
from functools import partial
from typing import Final

from django.db import DatabaseError, connections, transaction

logger = logging.getLogger("django_workers.enqueue")

# Each process asks each database for its workers this often at most.
LOOK_SECONDS: Final = 60.0

_looked_at: dict[str, float] = {}


def hint_if_nobody_works(using: str) -> None:
    """Log once the jobs are committed if no worker is alive.

    Nothing happens where the commit cannot be told: no query of ours may stand in, or
    break, a transaction of the caller's. So nothing happens in a `TestCase` either.
    """
    connection = connections[using]
    if connection.in_atomic_block or connection.get_autocommit():
        transaction.on_commit(partial(_look, using), using=using, robust=True)


def _look(using: str) -> None:
    from ..dialect import DatabaseNow
    from ..models import WorkerSession

    now = time.monotonic()
    if now - _looked_at.get(using, -LOOK_SECONDS) < LOOK_SECONDS:
        return
    _looked_at[using] = now
    living = WorkerSession.objects.using(using).alive()
    try:
        if living.filter(lease_until__gte=DatabaseNow()).exists():
            return
    except DatabaseError:
        return  # the job is stored: whoever asks the database next will say it
    logger.warning("No worker is running: python manage.py runworkers")
