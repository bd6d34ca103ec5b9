"""Delete what has been finished for long enough, a little at a time."""

import time
from datetime import timedelta
from typing import Final

from django.db.models import Value

from ...brokers import Broker
from ...conf import RuntimeSettings
from ...dialect import DatabaseNowPlus
from ...models import Rollup, SessionState, WorkerSession

BATCH_SIZE: Final = 500
# A heartbeat must not wait for a long clean-up; what is left is taken next time.
MOST_SECONDS: Final = 0.5


class Pruner:
    """Deletes finished jobs by status and age, and old figures; nothing unfinished."""

    def __init__(self, broker: Broker, settings: RuntimeSettings) -> None:
        self._broker = broker
        self._settings = settings

    def prune(self) -> int:
        """Delete for at most half a second; how many jobs."""
        until = time.monotonic() + MOST_SECONDS
        total = 0
        for status, age in self._settings.retention_by_status.items():
            while age is not None and time.monotonic() < until:
                count = self._broker.prune(
                    status=status, older_than=age, limit=BATCH_SIZE
                )
                total += count
                if count < BATCH_SIZE:
                    break
        self._prune_figures(timedelta(days=self._settings.metrics_retention))
        return total

    def _prune_figures(self, age: timedelta) -> None:
        before = DatabaseNowPlus(Value(-age.total_seconds()))
        using = self._broker.using
        old = Rollup.objects.using(using).filter(minute__lt=before)
        ids = list(old.values_list("id", flat=True)[: 10 * BATCH_SIZE])
        Rollup.objects.using(using).filter(id__in=ids).delete()
        WorkerSession.objects.using(using).filter(
            state__in=(SessionState.STOPPED, SessionState.LOST), stopped_at__lt=before
        ).delete()
