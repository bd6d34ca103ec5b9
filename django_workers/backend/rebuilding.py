"""Tasks for rows: the declared one, a copy with a call's values, or a stand-in."""

from datetime import datetime
from typing import Any

from ..exceptions import UnknownTask
from ..task import Task


def _unknown(*args: Any, **kwargs: Any) -> None:
    """Stand in for a task whose code is gone."""
    raise UnknownTask("the code of this task is gone")


_rebuilt: dict[tuple[Any, ...], tuple[Task[Any, Any], Task[Any, Any]]] = {}


def rebuilt_task(
    declared: Task[Any, Any] | None,
    *,
    name: str,
    priority: int,
    queue_name: str,
    backend: str,
    run_after: datetime | None,
) -> Task[Any, Any]:
    """The task as it was called: the declared one, or a copy with the call's values."""
    if declared is None:
        return _stand_in(name, priority, queue_name, backend)
    if run_after is None and (priority, queue_name, backend) == (
        declared.priority,
        declared.queue_name,
        declared.backend,
    ):
        return declared
    # By identity: a policy may hold a callable that cannot be hashed. The declared task
    # is kept beside its copy, so that no other can take over its identity.
    key = (id(declared), priority, queue_name, backend)
    of, found = _rebuilt.get(key, (None, None))
    if found is None or of is not declared:
        if len(_rebuilt) > 1_000:
            _rebuilt.clear()
        found = _copy(
            declared, priority=priority, queue_name=queue_name, backend=backend
        )
        _rebuilt[key] = declared, found
    return found if run_after is None else _copy(found, run_after=run_after)


def _copy(task: Task[Any, Any], **changes: Any) -> Task[Any, Any]:
    """A changed copy that skips validation: the row was valid when it was stored."""
    copy = object.__new__(type(task))
    for name in task.__dataclass_fields__:
        object.__setattr__(copy, name, changes.get(name, getattr(task, name)))
    return copy


def _stand_in(
    name: str, priority: int, queue_name: str, backend: str
) -> Task[Any, Any]:
    blank = object.__new__(Task)
    for field_name, field in Task.__dataclass_fields__.items():
        default = (
            field.default_factory()
            if callable(field.default_factory)
            else field.default
        )
        object.__setattr__(blank, field_name, default)
    return _copy(
        blank,
        func=_unknown,
        registered_name=name,
        priority=priority,
        queue_name=queue_name,
        backend=backend,
        run_after=None,
    )


def adopted(task: Any) -> Task[Any, Any]:
    """Our Task for one of Django's that was declared under another backend."""
    return Task(
        func=task.func,
        priority=task.priority,
        queue_name=task.queue_name,
        backend=task.backend,
        run_after=task.run_after,
        takes_context=task.takes_context,
    )
