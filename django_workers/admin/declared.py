"""The tasks that the code of this site declares.

A site may serve pages without ever importing the modules that its workers run, so they
are imported when a page first asks.
"""

from typing import Any

from ..exceptions import UnknownTask
from ..task import Task, get_task, list_tasks, registry


def discover() -> str:
    """Import the task modules of the installed apps, once; return what went wrong."""
    try:
        list_tasks()
    except Exception as error:  # whatever a project's module may raise
        return f"{type(error).__name__}: {error}"
    return ""


def declared_tasks() -> list[Task[Any, Any]]:
    """Every declared task, by name: of a broken module those that came before."""
    discover()
    return registry.all()


def current_names() -> dict[str, str]:
    """The name each task has now, by every name its jobs may be stored under."""
    return {
        name: task.key
        for task in declared_tasks()
        for name in (*task.aliases, task.key)
    }


def declared_task(name: str) -> Task[Any, Any] | None:
    """The task of a name or an alias; None if no code here declares it."""
    try:
        return get_task(name)
    except UnknownTask:
        return None
