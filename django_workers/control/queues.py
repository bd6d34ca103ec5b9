"""Pause and resume queues."""

import logging
from datetime import datetime, timedelta

from ..brokers import broker_for
from ..codec import storable_text
from ..databases import queue_database
from ..dialect import DatabaseNow
from ..models import Queue
from ..runtime import wakeup
from ..task import QUEUE_PATTERN
from .jobs import moment_of
from .twin import async_twin

logger = logging.getLogger("django_workers.control")


def pause(
    queue: str,
    *,
    reason: str = "",
    by: str = "",
    until: datetime | timedelta | None = None,
    using: str | None = None,
) -> bool:
    """Let workers take nothing more from *queue*; what runs goes on.

    `until` (an aware datetime, or a timedelta from now) ends the pause by itself. A
    queue that is paused already keeps its beginning and takes the new reason, name and
    end. Returns whether it was not paused before. Raises ValueError for a name that no
    queue can have and for an end that lies in the past.
    """
    _check_name(queue)
    broker = broker_for(using or queue_database())
    paused_until = None
    if until is not None:
        paused_until = moment_of("until", until, now=broker.now)
        if paused_until <= broker.now():
            raise ValueError(f"until lies in the past: {until!r}.")
    queues = Queue.objects.using(broker.using)
    queues.get_or_create(name=queue)
    rows = queues.filter(name=queue)
    changed = rows.filter(paused_at__isnull=True).update(paused_at=DatabaseNow())
    rows.update(
        paused_by=storable_text(by, limit=150),
        pause_reason=storable_text(reason, limit=255),
        paused_until=paused_until,
    )
    wakeup.announce(broker, [wakeup.CONTROL])
    return bool(changed)


def resume(queue: str, *, by: str = "", using: str | None = None) -> bool:
    """Let workers take from *queue* again. Returns whether it was paused.

    `by` is written to the log. Raises ValueError for a name that no queue can have.
    """
    _check_name(queue)
    broker = broker_for(using or queue_database())
    changed = (
        Queue.objects.using(broker.using)
        .filter(name=queue, paused_at__isnull=False)
        .update(paused_at=None, paused_by="", pause_reason="", paused_until=None)
    )
    if changed:
        logger.info("queue %s resumed by=%s", queue, by)
        wakeup.announce(broker, [wakeup.CONTROL])
    return bool(changed)


def _check_name(queue: str) -> None:
    if not isinstance(queue, str) or not QUEUE_PATTERN.fullmatch(queue):
        raise ValueError(
            f"{queue!r} cannot name a queue: use letters, digits and _.:- only, at "
            "most 128."
        )


apause = async_twin(pause)
aresume = async_twin(resume)
