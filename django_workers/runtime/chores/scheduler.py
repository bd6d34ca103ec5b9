"""Fire schedules when their time has come: once per slot, whoever gets there first."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from ...brokers import Broker
from ...models import Schedule
from ...schedules import Fired, fire_due, seconds_until_next, sync_declared

BATCH_SIZE: Final = 100
# A heartbeat must not wait until everything has fired; the rest follows it.
MOST_SECONDS: Final = 0.5

logger = logging.getLogger("django_workers.worker")


class Scheduler:
    """Fires due schedules and knows when the next one is due."""

    def __init__(self, broker: Broker, tell: Callable[..., Any]) -> None:
        """`tell(signal, **values)` has a signal sent where user code may run."""
        self._broker = broker
        self._tell = tell
        self._next_at: float | None = None
        self._enabled = False

    @property
    def next_due(self) -> float | None:
        """Seconds until the next schedule fires; None: none will."""
        if self._next_at is None:
            return None
        return max(0.0, self._next_at - time.monotonic())

    def declare(
        self, schedules: Sequence[Mapping[str, Any]], *, known: Iterable[str]
    ) -> None:
        """Bring what code declares into the table; from now on fire.

        `known` are the names of the tasks whose code this worker has.
        """
        sync_declared(self._broker.using, schedules, known=known)
        self._enabled = True

    def count(self) -> int:
        """How many schedules are enabled."""
        return Schedule.objects.using(self._broker.using).filter(enabled=True).count()

    def fire(self, policies: Mapping[str, Any]) -> int:
        """Fire what is due for at most half a second; how many jobs were enqueued.

        `next_due` is 0 if that was not enough.
        """
        if not self._enabled:
            return 0
        until = time.monotonic() + MOST_SECONDS
        count = 0
        while True:
            fired = fire_due(self._broker.using, policies, limit=BATCH_SIZE)
            self._tell_of(fired)
            count += len(fired)
            if len(fired) < BATCH_SIZE or time.monotonic() >= until:
                break
        rest = seconds_until_next(self._broker.using)
        if len(fired) == BATCH_SIZE:
            rest = 0.0  # there may be more, due as well
        self._next_at = None if rest is None else time.monotonic() + rest
        return count

    def _tell_of(self, fired: Sequence[Fired]) -> None:
        for item in fired:
            self._tell(
                "schedule_fired",
                schedule=item.schedule,
                job_id=str(item.job_id),
                backend=item.backend,
                slot=item.slot.timestamp(),
            )
