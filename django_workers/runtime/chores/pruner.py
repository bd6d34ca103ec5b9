"""Delete what has been finished for long enough, a little at a time."""

import time
from collections import deque
from datetime import timedelta
from typing import Final

from django.db.models import Value

from ...brokers import Broker
from ...conf import RuntimeSettings
from ...dialect import DatabaseNowPlus
from ...models import Rollup, SessionState, WorkerSession

BATCH_SIZE: Final = 500
FIGURES_AT_ONCE: Final = 5_000
# A heartbeat must not wait for a long clean-up; what is left is taken next time.
MOST_SECONDS: Final = 0.5


class Pruner:
    """Deletes finished jobs by status and age, and old figures; nothing unfinished."""

    def __init__(self, broker: Broker, settings: RuntimeSettings) -> None:
        self._broker = broker
        self._metrics_retention = timedelta(days=settings.metrics_retention)
        self._ages = deque(
            (status, age)
            for status, age in settings.retention_by_status.items()
            if age is not None
        )

    def prune(self) -> bool:
        """Delete for at most half a second; whether there is more to delete."""
        until = time.monotonic() + MOST_SECONDS
        pending = deque(self._ages)
        # Each status has its turn, and another one begins next time: a flood of
        # successes must not keep the few others for ever.
        self._ages.rotate(-1)
        while pending and time.monotonic() < until:
            status, age = pending.popleft()
            count = self._broker.prune(status=status, older_than=age, limit=BATCH_SIZE)
            if count == BATCH_SIZE:
                pending.append((status, age))
        return self._prune_figures() or bool(pending)

    def _prune_figures(self) -> bool:
        before = DatabaseNowPlus(Value(-self._metrics_retention.total_seconds()))
        using = self._broker.using
        old = Rollup.objects.using(using).filter(minute__lt=before)
        ids = list(old.values_list("id", flat=True)[:FIGURES_AT_ONCE])
        Rollup.objects.using(using).filter(id__in=ids).delete()
        WorkerSession.objects.using(using).filter(
            state__in=(SessionState.STOPPED, SessionState.LOST), stopped_at__lt=before
        ).delete()
        return len(ids) == FIGURES_AT_ONCE
