"""The policy that applies to a task's jobs where the task itself says nothing."""

from typing import Any, NamedTuple

from ..conf import runtime_settings
from ..task import Task


class Effective(NamedTuple):
    """What a job of the task is stored and run with. `timeout` is in seconds."""

    max_attempts: int
    timeout: float | None


def effective(task: Task[Any, Any]) -> Effective:
    """Look up what the task leaves to its backend's OPTIONS and to the settings."""
    options: Any = getattr(task.get_backend(), "settings", None)
    timeout = task.timeout
    if timeout is None:
        timeout = getattr(options, "TIMEOUT", None)
    if timeout is None:
        timeout = runtime_settings().timeout
    default: int = getattr(options, "MAX_ATTEMPTS", 1)
    return Effective(task.max_attempts or default, timeout)
