"""Make scheduled jobs ready when their time has come."""

import time
from typing import Final

from ...brokers import Broker

BATCH_SIZE: Final = 1_000


class Promoter:
    """Promotes due jobs and knows when the next one is due."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._next_at: float | None = None
        # The last promotion found nothing.
        self.idle = False

    @property
    def next_due(self) -> float | None:
        """Seconds until the next job is due; None: none is scheduled."""
        if self._next_at is None:
            return None
        return max(0.0, self._next_at - time.monotonic())

    def expect(self, seconds: float) -> bool:
        """Note that a job is due in so many seconds; whether it is the next one."""
        at = time.monotonic() + seconds
        if self._next_at is not None and self._next_at <= at:
            return False
        self._next_at = at
        return True

    def promote(self) -> int:
        """Promote everything that is due; how many jobs."""
        total = 0
        while True:
            promotion = self._broker.promote(BATCH_SIZE)
            total += promotion.count
            if promotion.count < BATCH_SIZE:
                break
        self.idle = total == 0
        self._next_at = (
            None
            if promotion.next_due is None
            else time.monotonic() + promotion.next_due
        )
        return total
