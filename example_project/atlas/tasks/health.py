"""Look whether everything the site needs is there."""

import shutil
from typing import Any

from django.conf import settings

from django_workers import control, cron, task
from django_workers.models import Job

from .. import catalogue
from ..models import HealthReport, Transition
from .imports import import_transitions

LOW_DISK_BYTES = 100_000_000


@task(
    name="health:check",
    priority="critical",
    schedule=cron("*/10 * * * *"),
    # The next one is due in ten minutes: a check that waited so long is of no use.
    expires=600,
    timeout=30,
)
def check_health() -> dict[str, Any]:
    """Ask the queue, the data and the disk; keep the answer and return it."""
    queue = control.health()
    free = shutil.disk_usage(settings.BASE_DIR).free
    imported, expected = Transition.objects.count(), catalogue.transition_count()
    imports = Job.objects.unfinished().filter(task=import_transitions.key)
    complete = imported >= expected or imports.exists()
    findings = {
        "queue": queue["status"],
        "changes imported": f"{imported} of {expected}",
        "disk space free": f"{free / 1e9:.1f} GB",
    }
    healthy = queue["status"] != "unhealthy" and complete and free > LOW_DISK_BYTES
    HealthReport.objects.create(healthy=healthy, findings=findings)
    return {"healthy": healthy, **findings}
