"""Find workers that stopped answering and take their jobs back."""

import logging
import time
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

from ...brokers import Broker
from ...models import FINISHED
from ..lease import Trust, mark_lost

logger = logging.getLogger("django_workers.worker")

BATCH_SIZE: Final = 500
# A heartbeat must not wait until everybody is rescued; the rest follows it.
MOST_SECONDS: Final = 0.5


class Rescuer:
    """Rescues in bounded batches, and only when our own eyes can be trusted."""

    def __init__(
        self, broker: Broker, *, session: UUID, tell: Callable[..., Any]
    ) -> None:
        """Look for others than `session`, the own one.

        `tell(signal, **values)` has a signal sent where user code may run.
        """
        self._broker = broker
        self._session = session
        self._tell = tell

    def rescue(self, trust: Trust) -> tuple[int, bool]:
        """Mark the dead, take back what they held for at most half a second.

        Returns how many jobs, and whether there are more.
        """
        until = time.monotonic() + MOST_SECONDS
        if trust.may_rescue:
            for session, worker_id in mark_lost(self._broker, by=self._session):
                logger.error("Worker %s stopped answering", worker_id)
                self._tell(
                    "worker_stopped",
                    session_id=str(session),
                    worker_id=worker_id,
                    reason="its lease ran out",
                )
        limit = min(BATCH_SIZE, self._broker.batch_limit)
        total = 0
        while True:
            rescued = self._broker.rescue(limit)
            for item in rescued:
                logger.warning("Rescued job %s: %s", item.job_id, item.reason)
                self._tell(
                    "job_rescued",
                    backend=item.backend,
                    job_id=item.job_id,
                    session_id=str(item.session),
                    reason=item.reason,
                )
                if item.status in FINISHED:
                    self._tell(
                        "job_ended",
                        job_id=item.job_id,
                        backend=item.backend,
                        status=item.status,
                    )
            total += len(rescued)
            if len(rescued) < limit:
                return total, False
            if time.monotonic() >= until:
                return total, True
