"""A long journey: a task that can be called back."""

import time
from typing import Any

from django_workers import Cancel, Snooze, task

from ..models import Zone

PAUSE_SECONDS = 0.1


@task(name="voyage:sail", takes_context=True, timeout=600)
def sail(context: Any, seconds: float = 60) -> dict[str, Any]:
    """Sail around the world in so many seconds, from harbour to harbour, eastward.

    Looks up ten times a second. Called back, it ends as cancelled. When the worker is
    about to stop it lets go, and sails again as soon as there is a worker: that costs
    no attempt.
    """
    harbours = list(Zone.objects.order_by("longitude").values_list("name", flat=True))
    start = time.monotonic()
    while (share := (time.monotonic() - start) / seconds) < 1:
        here = harbours[int(share * len(harbours))] if harbours else "the open sea"
        if context.cancelled:
            raise Cancel(f"called back at {here}")
        if context.is_shutting_down():
            raise Snooze(0)
        time.sleep(PAUSE_SECONDS)
    return {"harbours": len(harbours), "seconds": seconds}
