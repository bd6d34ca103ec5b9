"""The tasks that the code of this site declares, and the queues it speaks of.

A site may serve pages without ever importing the modules that its workers run, so they
are imported when a page first asks.
"""

from typing import Any

from ..conf import QUEUE_PATTERN, runtime_settings
from ..databases import own_backends, queue_database
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


def declared_queues() -> set[str]:
    """The queues that tasks and settings name, though no job may ever have used them.

    Those of the database that the pages show: what is kept elsewhere is not paused
    here.
    """
    using = queue_database()
    backends = [
        backend for backend in own_backends() if using == backend.settings.DATABASE
    ]
    aliases = {backend.alias for backend in backends}
    queues = {task.queue_name for task in declared_tasks() if task.backend in aliases}
    queues.update(runtime_settings().queues, *(backend.queues for backend in backends))
    return {name for name in queues if QUEUE_PATTERN.fullmatch(name)}


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
