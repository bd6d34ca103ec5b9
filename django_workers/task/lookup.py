"""The tasks that have been declared, by name."""

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from ..conf import runtime_settings
from ..discovery import discover_once
from ..exceptions import InvalidPolicy, UnknownTask

if TYPE_CHECKING:
    from .declared import Task


class Registry:
    """Every task that has been declared, by name: the only things a worker runs."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task[Any, Any]] = {}
        self._names: dict[str, str] = {}
        self._lock = Lock()

    def add(self, task: "Task[Any, Any]") -> None:
        """Register a task under its name and aliases; a copy of one changes nothing.

        Raises InvalidPolicy when another function holds one of the names.
        """
        known = self._tasks.get(task.key)
        if known is not None and known.func is task.func:
            return
        with self._lock:
            for name in (task.key, *task.aliases):
                holder = self._tasks.get(self._names.get(name, ""))
                if holder is not None and holder.module_path != task.module_path:
                    raise InvalidPolicy(
                        f"two tasks are named {name!r}: {holder.module_path} and "
                        f"{task.module_path}. Give one of them another name=."
                    )
            self._tasks[task.key] = task
            for name in (task.key, *task.aliases):
                self._names[name] = task.key

    def get(self, name: str) -> "Task[Any, Any]":
        """The task of that name, alias or module path.

        Raises UnknownTask, which names the nearest ones.
        """
        task = self._tasks.get(self._names.get(name, ""))
        if task is None:
            task = next((t for t in self.all() if t.module_path == name), None)
        if task is None:
            near = get_close_matches(name, self._names, n=3)
            hint = (
                f"did you mean {' or '.join(map(repr, near))}?"
                if near
                else "is the module that declares it imported?"
            )
            raise UnknownTask(f"no task is named {name!r}: {hint}")
        return task

    def all(self) -> "list[Task[Any, Any]]":
        """Every declared task, by name."""
        return [self._tasks[name] for name in sorted(self._tasks)]

    def names(self, patterns: Sequence[str] = ()) -> list[str]:
        """The names, aliases included, of the tasks that match one of the patterns.

        A pattern is compared with the name and the module path; ``*`` stands for
        any characters. No patterns: every name.
        """
        return sorted(
            name
            for name, key in list(self._names.items())
            if not patterns
            or any(
                fnmatchcase(text, pattern)
                for pattern in patterns
                for text in (name, self._tasks[key].module_path)
            )
        )


registry: Final = Registry()


def get_task(name: str) -> "Task[Any, Any]":
    """The task registered under a name, an alias or a module path.

    Imports the apps' task modules if it is not among those declared so far. Raises
    UnknownTask, which names the nearest ones, and a module that cannot be imported.
    """
    try:
        return registry.get(name)
    except UnknownTask as unknown:
        try:
            discover_once(runtime_settings().autodiscover)
        except Exception as error:  # whatever a project's module may raise
            raise UnknownTask(
                f"{unknown} A module of tasks cannot be imported: "
                f"{type(error).__name__}: {error}"
            ) from error
    return registry.get(name)


def list_tasks() -> "list[Task[Any, Any]]":
    """Every task of this project, by name; imports the apps' task modules first.

    An error inside such a module comes through.
    """
    discover_once(runtime_settings().autodiscover)
    return registry.all()
