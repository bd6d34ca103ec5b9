"""Make scheduled jobs ready when their time has come."""

import time
from typing import Final

from ...brokers import Broker

BATCH_SIZE: Final = 1_000
# A worker that ends when nothing is left waits for what is due so soon.
SOON_SECONDS: Final = 1.0
# A heartbeat must not wait until everything is promoted; the rest follows it.
MOST_SECONDS: Final = 0.5


class Promoter:
    """Promotes due jobs and knows when the next one is due."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._next_at: float | None = None
        # time.monotonic() at the beginning of the last promotion, and whether it
        # found nothing.
        self._began_at = 0.0
        self.idle = False

    @property
    def next_due(self) -> float | None:
        """Seconds until the next job is due; None: none is scheduled."""
        if self._next_at is None:
            return None
        return max(0.0, self._next_at - time.monotonic())

    def found_nothing_since(self, moment: float) -> bool:
        """Whether a promotion begun after that moment found nothing due, nor soon."""
        due = self.next_due
        return (
            self.idle
            and self._began_at >= moment
            and (due is None or due > SOON_SECONDS)
        )

    def expect(self, seconds: float) -> bool:
        """Note that a job is due in so many seconds; whether it is the next one."""
        at = time.monotonic() + seconds
        if self._next_at is not None and self._next_at <= at:
            return False
        self._next_at = at
        return True

    def promote(self) -> int:
        """Promote what is due for at most half a second; how many jobs.

        `next_due` is 0 if that was not enough.
        """
        began_at = time.monotonic()
        until = began_at + MOST_SECONDS
        limit = min(BATCH_SIZE, self._broker.batch_limit)
        total = 0
        while True:
            promotion = self._broker.promote(limit)
            total += promotion.count
            if promotion.count < limit or time.monotonic() >= until:
                break
        self._began_at, self.idle = began_at, total == 0
        self._next_at = (
            None
            if promotion.next_due is None
            else time.monotonic() + promotion.next_due
        )
        return total
