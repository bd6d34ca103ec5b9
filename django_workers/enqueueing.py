"""Enqueue by name: for callers that do not want to import the task."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from django.db import DEFAULT_DB_ALIAS, transaction

from . import compat
from .exceptions import UnknownTask
from .results import JobResult
from .task import UNSET, Task, get_task, registry

# A string: Django's class cannot be subscripted at run time.
AnyTask: TypeAlias = "compat.Task[..., Any] | str"
Due = datetime | timedelta | str


def enqueue(
    task: AnyTask,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    run_after: Due | None = None,
    priority: int | str | None = None,
    queue: str | None = None,
    max_attempts: int | None = None,
    timeout: float | None = None,
) -> JobResult[..., Any]:
    """Store a job in the caller's transaction; return its result.

    Parameters:
        task: a task, the name it is registered under, an alias, or its module path.
        args, kwargs: what it is called with.
        run_after: an aware datetime, a timedelta from now, or an ISO 8601 string with
            an offset; at once unless given.
        priority: -100 to 100, higher first, or "critical", "high", "normal", "low".
        queue: the queue's name.
        max_attempts: attempts before the job fails.
        timeout: seconds one attempt may run.

    What is not given is the task's own. Raises UnknownTask, which names the nearest
    tasks; InvalidTask or InvalidPolicy for a value that cannot work; UnencodableValue
    for arguments that JSON cannot hold; TypeError for other kinds of arguments.
    """
    call = _changed(
        task,
        run_after=run_after,
        priority=priority,
        queue=queue,
        max_attempts=max_attempts,
        timeout=timeout,
    )
    return call.enqueue(*_list(args), **_dict(kwargs))


async def aenqueue(
    task: AnyTask,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    run_after: Due | None = None,
    priority: int | str | None = None,
    queue: str | None = None,
    max_attempts: int | None = None,
    timeout: float | None = None,
) -> JobResult[..., Any]:
    """See enqueue()."""
    call = _changed(
        task,
        run_after=run_after,
        priority=priority,
        queue=queue,
        max_attempts=max_attempts,
        timeout=timeout,
    )
    return await call.aenqueue(*_list(args), **_dict(kwargs))


def enqueue_in(
    seconds: float | timedelta,
    task: AnyTask,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    priority: int | str | None = None,
    queue: str | None = None,
    max_attempts: int | None = None,
    timeout: float | None = None,
) -> JobResult[..., Any]:
    """Enqueue a job that may start in so many seconds (or a timedelta).

    See enqueue() for the rest; raises TypeError for a delay that is no number, too.
    """
    try:
        delay = (
            seconds if isinstance(seconds, timedelta) else timedelta(seconds=seconds)
        )
    except (OverflowError, ValueError) as error:
        raise compat.InvalidTask(f"seconds cannot be {seconds!r}: {error}.") from error
    return enqueue(
        task,
        args,
        kwargs,
        run_after=delay,
        priority=priority,
        queue=queue,
        max_attempts=max_attempts,
        timeout=timeout,
    )


def enqueue_at(
    when: datetime | str,
    task: AnyTask,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    priority: int | str | None = None,
    queue: str | None = None,
    max_attempts: int | None = None,
    timeout: float | None = None,
) -> JobResult[..., Any]:
    """Enqueue a job that may start at an aware datetime or ISO 8601 string.

    See enqueue() for the rest.
    """
    return enqueue(
        task,
        args,
        kwargs,
        run_after=when,
        priority=priority,
        queue=queue,
        max_attempts=max_attempts,
        timeout=timeout,
    )


def enqueue_on_commit(
    task: AnyTask,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    using: str = DEFAULT_DB_ALIAS,
    run_after: Due | None = None,
    priority: int | str | None = None,
    queue: str | None = None,
    max_attempts: int | None = None,
    timeout: float | None = None,
) -> None:
    """Enqueue a job once the transaction of the database `using` has committed.

    `using` is an alias of `DATABASES`, that of the data the job works on, where the
    queue lives in another database. At once outside a transaction; never if it is
    rolled back. A crash between the commit and the enqueueing loses the job.

    A delay in `run_after` counts from the commit. Arguments are checked and copied at
    once. See enqueue() for the rest.
    """
    call = _changed(
        task,
        run_after=run_after,
        priority=priority,
        queue=queue,
        max_attempts=max_attempts,
        timeout=timeout,
    )
    transaction.on_commit(call.deferred(_list(args), _dict(kwargs)), using=using)


def _changed(
    task: AnyTask,
    *,
    run_after: Due | None,
    priority: int | str | None,
    queue: str | None,
    max_attempts: int | None,
    timeout: float | None,
) -> Task[..., Any]:
    found = _found(task)
    if (run_after, priority, queue, max_attempts, timeout) == (None,) * 5:
        return found
    return found.using(
        priority=priority,
        queue_name=queue,
        run_after=UNSET if run_after is None else run_after,
        max_attempts=UNSET if max_attempts is None else max_attempts,
        timeout=UNSET if timeout is None else timeout,
    )


def _found(task: AnyTask) -> Task[..., Any]:
    """Find the task that was meant."""
    if isinstance(task, Task):
        return task
    if isinstance(task, str):
        return get_task(task)
    if isinstance(task, compat.Task):
        return _ours(task)
    raise TypeError(
        f"a task, a registered name or a module path, not {type(task).__name__}; "
        "a plain function becomes a task by the decorator `task`."
    )


def _ours(task: "compat.Task[..., Any]") -> Task[..., Any]:
    """Find or make our own for a task that Django's decorator has made."""
    try:
        declared = registry.get(task.module_path)
    except UnknownTask:
        declared = Task(
            func=task.func,
            priority=task.priority,
            queue_name=task.queue_name,
            backend=task.backend,
            run_after=task.run_after,
            takes_context=task.takes_context,
        )
    return declared.using(
        priority=task.priority,
        queue_name=task.queue_name,
        run_after=task.run_after,
        backend=task.backend,
    )


def _list(args: Sequence[Any]) -> list[Any]:
    if isinstance(args, (str, bytes)) or not isinstance(args, Sequence):
        raise TypeError(f"args must be a list or tuple, not {type(args).__name__}.")
    return list(args)


def _dict(kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    if kwargs is None:
        return {}
    if not isinstance(kwargs, Mapping):
        raise TypeError(f"kwargs must be a dict, not {type(kwargs).__name__}.")
    return dict(kwargs)
