"""What the benchmarks run."""

import time

from django.contrib.auth.models import Permission

from django_workers import task


@task
def noop() -> None:
    """Do nothing."""


@task
def picked_up(enqueued: float) -> float:
    """Return the milliseconds since `enqueued`, a time.time() of the same machine."""
    return (time.time() - enqueued) * 1000


@task
def select_and_update(permission: int) -> None:
    """Read one row and write one, as the smallest honest job does."""
    row = Permission.objects.get(pk=permission)
    Permission.objects.filter(pk=row.pk).update(name=row.name)
