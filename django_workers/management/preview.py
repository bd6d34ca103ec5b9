"""What a start of `runworkers` would use: for `--check`, which starts nothing."""

from typing import Final

from django.db import transaction

from ..brokers import Broker
from ..conf import RuntimeSettings
from ..models import Schedule
from ..runtime.banner import Row
from ..runtime.launcher import can_fork
from ..runtime.wakeup import can_hear
from ..schedules import declared_schedules, policies_of, sync_declared
from ..task import list_tasks, registry

# Claims, results, heartbeat with the chores: each in a thread of its own.
_THREADS: Final = 3


def rows_of_start(
    broker: Broker, settings: RuntimeSettings, *, start_method: str
) -> list[Row]:
    """Say how processes would start, how long a lease is, and what the server bears."""
    threads = _THREADS + can_hear(broker, settings.listener)
    lease, pause = settings.lock_duration, settings.heartbeat_interval
    slots = settings.slot_count
    return [
        ("start", "fork" if can_fork(start_method) else "spawn"),
        ("lease", f"{lease:g} s, renewed every {pause:g} s"),
        ("connections", f"{threads} for the worker, up to {slots} for its slots"),
    ]


def task_count(settings: RuntimeSettings) -> int:
    """Count the tasks that the worker could run, after its filter."""
    return len({registry.get(name).key for name in registry.names(settings.tasks)})


def schedule_count(using: str, settings: RuntimeSettings) -> int:
    """Count the schedules that would be enabled once code has declared its own.

    Raises ConfigurationError or UnknownTask for an entry of SCHEDULES that cannot
    work, and DatabaseError.
    """
    tasks = list_tasks()
    declared = declared_schedules(tasks, settings.schedules)
    with transaction.atomic(using=using):
        # Done as a start does it, and taken back: no other way is as sure.
        sync_declared(using, declared, known=policies_of(tasks))
        count = Schedule.objects.using(using).filter(enabled=True).count()
        transaction.set_rollback(True, using=using)
    return count
