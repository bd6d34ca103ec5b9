"""Background tasks for Django in the database it already has.

Declare with `task`, run with ``python manage.py runworkers``. Beside what is named
here there is `django_workers.control`, which needs the apps to be loaded::

    from django_workers import control, task
"""

from . import signals
from .backoff import RetryPolicy, exponential, fixed, linear
from .context import context
from .cron import cron, every
from .enqueueing import (
    aenqueue,
    enqueue,
    enqueue_at,
    enqueue_in,
    enqueue_on_commit,
)
from .exceptions import Cancel, Retry, Snooze
from .task import Task, get_task, list_tasks, task

__version__ = "0.1.0"

__all__ = [
    "Cancel",
    "Retry",
    "RetryPolicy",
    "Snooze",
    "Task",
    "aenqueue",
    "context",
    "cron",
    "enqueue",
    "enqueue_at",
    "enqueue_in",
    "enqueue_on_commit",
    "every",
    "exponential",
    "fixed",
    "get_task",
    "linear",
    "list_tasks",
    "signals",
    "task",
]
