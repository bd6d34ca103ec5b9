"""The decorator that makes a task of a function."""

import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, overload

from .. import backoff as backoffs
from ..compat import (
    DEFAULT_TASK_BACKEND_ALIAS,
    DEFAULT_TASK_QUEUE_NAME,
    task_backends,
)
from ..context import JobContext
from ..cron import Cron, Every
from .declared import Task
from .policy import Backoff, Deadline

P = ParamSpec("P")
R = TypeVar("R")


class Declare(Protocol):
    """Make a task of a function; of a coroutine function too, whose result counts."""

    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> Task[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...


class DeclareWithContext(Protocol):
    """Make a task of a function whose first argument is the context."""

    @overload
    def __call__(
        self,
        function: Callable[Concatenate[JobContext, P], Coroutine[Any, Any, R]],
        /,
    ) -> Task[P, R]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[JobContext, P], R], /
    ) -> Task[P, R]: ...


@overload
def task(function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...


@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...


@overload
def task(
    *,
    takes_context: Literal[True],
    name: str | None = None,
    priority: int | str = 0,
    queue_name: str = DEFAULT_TASK_QUEUE_NAME,
    backend: str = DEFAULT_TASK_BACKEND_ALIAS,
    **policy: Any,
) -> DeclareWithContext: ...


@overload
def task(
    *,
    name: str | None = None,
    priority: int | str = 0,
    queue_name: str = DEFAULT_TASK_QUEUE_NAME,
    backend: str = DEFAULT_TASK_BACKEND_ALIAS,
    takes_context: Literal[False] = False,
    max_attempts: int | None = None,
    max_retries: int | None = None,
    backoff: Backoff | None = None,
    retry_backoff: str | None = None,
    retry_delay: float | None = None,
    retry_on: Sequence[type[BaseException]] | type[BaseException] = (),
    no_retry_on: Sequence[type[BaseException]] | type[BaseException] = (),
    timeout: float | None = None,
    on_crash: str = "retry",
    expires: Deadline | None = None,
    retry_until: Deadline | None = None,
    aliases: Sequence[str] = (),
    tags: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
    max_result_bytes: int | None = None,
    schedule: Cron | Every | None = None,
) -> Declare: ...


def task(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    priority: int | str = 0,
    queue_name: str = DEFAULT_TASK_QUEUE_NAME,
    backend: str = DEFAULT_TASK_BACKEND_ALIAS,
    takes_context: bool = False,
    max_attempts: int | None = None,
    max_retries: int | None = None,
    backoff: Backoff | None = None,
    retry_backoff: str | None = None,
    retry_delay: float | None = None,
    metadata: Mapping[str, Any] | None = None,
    **policy: Any,
) -> Any:
    """Declare a module-level function, sync or async, as a task.

    Parameters:
        name: stored with each job; the function's module path unless given.
        priority: -100 to 100, higher first, or "critical", "high", "normal", "low".
        queue_name: the queue its jobs go to.
        backend: an alias of `TASKS`.
        takes_context: hand the TaskContext over as first argument, named `context`.
        max_attempts: attempts before the job fails; or `max_retries`, one less.
        backoff: ``(exception, task_result) -> seconds | None``; or `retry_backoff`,
            "fixed", "linear" or "exponential", with `retry_delay` in seconds.
        retry_on, no_retry_on: exception classes that are, or never are, retried.
        timeout: seconds one attempt may run.
        on_crash: "retry", or "fail" for what must not run twice.
        expires: drop a job not started within these seconds (or timedelta).
        retry_until: start no attempt after these seconds (or timedelta).
        aliases: names under which the task's jobs were stored before.
        tags, metadata: kept with each job.
        max_result_bytes: largest result in bytes of JSON.
        schedule: `cron(...)` or `every(...)`: also run by the clock.

    Raises InvalidPolicy or InvalidTask, at import, for a policy that cannot work.
    """
    attempts, chosen_backoff = backoffs.policy_from(
        max_attempts=max_attempts,
        max_retries=max_retries,
        backoff=backoff,
        retry_backoff=retry_backoff,
        retry_delay=retry_delay,
    )

    def declare(f: Callable[..., Any]) -> Task[..., Any]:
        return _task_class(backend)(
            func=f,
            registered_name=name,
            priority=priority,  # type: ignore[arg-type]
            queue_name=queue_name,
            backend=backend,
            run_after=None,
            takes_context=takes_context,
            max_attempts=attempts,
            backoff=chosen_backoff,
            metadata=metadata or {},
            **policy,
        )

    return declare if function is None else declare(function)


def _task_class(backend: str) -> type[Task[..., Any]]:
    """The backend's own subclass of our Task, or our Task under any other backend."""
    chosen = task_backends[backend].task_class
    if inspect.isclass(chosen) and issubclass(chosen, Task):
        return chosen
    return Task
