"""Tasks: the declared function, its policy, and how it is found by its name."""

from ..conf import QUEUE_PATTERN
from .declared import UNSET, Call, Task
from .decorator import task
from .lookup import Registry, get_task, list_tasks, registry
from .policy import NAME_PATTERN, Backoff, Deadline

__all__ = [
    "NAME_PATTERN",
    "QUEUE_PATTERN",
    "UNSET",
    "Backoff",
    "Call",
    "Deadline",
    "Registry",
    "Task",
    "get_task",
    "list_tasks",
    "registry",
    "task",
]
