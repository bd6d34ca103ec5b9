"""The declared function: Django's Task with a policy and a registered name."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from difflib import get_close_matches
from fnmatch import fnmatchcase
from threading import Lock
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    Generic,
    Literal,
    ParamSpec,
    TypeVar,
    overload,
)

from asgiref.sync import sync_to_async
from django.db import transaction
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from . import backoff as backoffs
from . import compat
from .compat import (
    DEFAULT_TASK_BACKEND_ALIAS,
    DEFAULT_TASK_QUEUE_NAME,
    InvalidTask,
    task_backends,
)
from .conf import QUEUE_PATTERN as QUEUE_PATTERN
from .conf import priority_of, runtime_settings
from .context import JobContext
from .cron import Cron, Every
from .discovery import discover_once
from .exceptions import InvalidPolicy, UnknownTask
from .results import JobResult

P = ParamSpec("P")
R = TypeVar("R")

if TYPE_CHECKING:
    BaseTask = compat.Task[P, R]
else:

    class BaseTask(compat.Task, Generic[P, R]):
        """Django's class is not subscriptable at run time; this one is."""

        __slots__ = ()


Backoff = Callable[[BaseException, Any], float | None]
Deadline = timedelta | float | datetime
Call = tuple[Sequence[Any], Mapping[str, Any]]

NAME_PATTERN: Final = re.compile(r"[A-Za-z0-9_.:<>-]{1,255}")

# Stands for "not given", so that None can clear a value.
UNSET: Final[Any] = type("Unset", (), {"__repr__": lambda self: "UNSET"})()


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(BaseTask[P, R]):
    """A task with its policy.

    Built by the `task` decorator of this package, or by Django's own where it
    forwards keywords (Django 6.1 and the backport).
    """

    # The name jobs are stored under; None: the function's module path.
    registered_name: str | None = None
    # Attempts before a failing job ends as failed; None: the backend's default, 1.
    max_attempts: int | None = None
    # (exception, task_result) -> seconds until the next attempt, or None to give up.
    backoff: Backoff | None = None
    # Only these exceptions are retried; empty: all.
    retry_on: tuple[type[BaseException], ...] = ()
    # These exceptions are never retried.
    no_retry_on: tuple[type[BaseException], ...] = ()
    # Seconds one attempt may run; None: the settings' default.
    timeout: float | None = None
    # "retry" or "fail": what becomes of a job whose worker died while it ran.
    on_crash: str = "retry"
    # Drop the job if it has not started by then (seconds or timedelta from its
    # enqueueing, or an aware datetime).
    expires: Deadline | None = None
    # No attempt starts after this (as `expires`).
    retry_until: Deadline | None = None
    # Names under which jobs of this task were stored before.
    aliases: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)
    # Largest result in bytes of JSON; None: the backend's default.
    max_result_bytes: int | None = None
    schedule: Cron | Every | None = None

    def __post_init__(self) -> None:
        _normalise(self)
        self.get_backend().validate_task(self)
        registry.add(self)

    @property
    def key(self) -> str:
        """The name this task's jobs are stored under."""
        return self.registered_name or self.module_path

    @property
    def _backend(self) -> Any:
        """The backend; Any, for Django knows nothing of what ours adds."""
        return self.get_backend()

    def using(
        self,
        *,
        priority: int | str | None = None,
        queue_name: str | None = None,
        run_after: datetime | timedelta | str | None = UNSET,
        backend: str | None = None,
        max_attempts: int | None = UNSET,
        timeout: float | None = UNSET,
        expires: Deadline | None = UNSET,
        retry_until: Deadline | None = UNSET,
        tags: Iterable[str] = UNSET,
        metadata: Mapping[str, Any] = UNSET,
    ) -> "Task[P, R]":
        """Return a copy of this task with another policy for its calls.

        `run_after` is an aware datetime, a timedelta from the moment of enqueueing
        or an ISO 8601 string with an offset; `timeout` is in seconds. None clears
        `run_after`, `max_attempts`, `timeout`, `expires` and `retry_until`.

        Raises InvalidTask or InvalidPolicy for a value that cannot work.
        """
        changes: dict[str, Any] = {
            name: value
            for name, value in (
                ("priority", priority),
                ("queue_name", queue_name),
                ("backend", backend),
            )
            if value is not None
        }
        changes |= {
            name: value
            for name, value in (
                ("run_after", run_after),
                ("max_attempts", max_attempts),
                ("timeout", timeout),
                ("expires", expires),
                ("retry_until", retry_until),
                ("tags", tags),
                ("metadata", metadata),
            )
            if value is not UNSET
        }
        return replace(self, **changes)

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobResult[P, R]:
        """Store a job in the caller's transaction; return its result.

        Raises UnencodableValue for arguments JSON cannot hold and InvalidTask for a
        policy the backend refuses.
        """
        result: JobResult[P, R] = self._backend.enqueue(self, args, kwargs)
        return result

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobResult[P, R]:
        """See enqueue()."""
        result: JobResult[P, R] = await self._backend.aenqueue(self, args, kwargs)
        return result

    def enqueue_many(self, calls: Iterable[Call]) -> list[JobResult[P, R]]:
        """Store one job per ``(args, kwargs)`` pair, all of them or none.

        Raises as enqueue() does; the path in the message begins with the call's
        number, and nothing is stored then.
        """
        backend = self._backend
        many = getattr(backend, "enqueue_many", None)
        if many is None:  # a backend that is not ours, in a test's settings
            return [backend.enqueue(self, args, kwargs) for args, kwargs in calls]
        return many(self, calls)  # type: ignore[no-any-return]

    async def aenqueue_many(self, calls: Iterable[Call]) -> list[JobResult[P, R]]:
        """See enqueue_many()."""
        return await sync_to_async(self.enqueue_many, thread_sensitive=True)(calls)

    def enqueue_on_commit(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Enqueue once the transaction of the default database has committed.

        For a queue that lives in another database than the data it works on: the job
        appears only if the data does. A crash between the commit and the enqueueing
        loses the job; with the queue in the same database plain enqueue() does not.
        Arguments are checked and copied at once. Raises as enqueue() does.
        """
        backend = self._backend
        prepare = getattr(backend, "prepare", None)
        if prepare is None:
            transaction.on_commit(lambda: backend.enqueue(self, args, kwargs))
            return
        stored = prepare(self, args, kwargs)
        transaction.on_commit(lambda: backend.store(stored))


def _normalise(task: Task[Any, Any]) -> None:
    """Bring a task's policy into one form, refusing what cannot work."""
    put = object.__setattr__
    if isinstance(task.priority, str):
        try:
            put(task, "priority", priority_of(task.priority))
        except ValueError as error:
            raise InvalidTask(str(error)) from error
    if isinstance(task.run_after, str):
        put(task, "run_after", _moment(task.run_after))
    for name in ("retry_on", "no_retry_on", "aliases", "tags"):
        value = getattr(task, name)
        if isinstance(value, (str, type)):
            value = (value,)
        put(task, name, tuple(value))
    _check_names(task)
    _check_policy(task)


def _check_names(task: Task[Any, Any]) -> None:
    for name in (task.key, *task.aliases):
        if not NAME_PATTERN.fullmatch(name):
            raise InvalidPolicy(
                f"{name!r} cannot name a task: use letters, digits and _.:- only, "
                "at most 255."
            )
    if not QUEUE_PATTERN.fullmatch(task.queue_name):
        raise InvalidTask(
            f"{task.queue_name!r} cannot name a queue: use letters, digits and _.:- "
            "only, at most 128."
        )


def _check_policy(task: Task[Any, Any]) -> None:
    if task.max_attempts is not None and (
        not isinstance(task.max_attempts, int)
        or isinstance(task.max_attempts, bool)
        or not 1 <= task.max_attempts <= 2**31 - 1
    ):
        raise InvalidPolicy(
            f"max_attempts must be a whole number above zero, "
            f"not {task.max_attempts!r}."
        )
    if task.timeout is not None and not (
        isinstance(task.timeout, (int, float)) and 0 < task.timeout < float("inf")
    ):
        raise InvalidPolicy(
            f"timeout must be seconds above zero, not {task.timeout!r}."
        )
    if task.on_crash not in ("retry", "fail"):
        raise InvalidPolicy(
            f'on_crash must be "retry" or "fail", not {task.on_crash!r}.'
        )
    for classes in (task.retry_on, task.no_retry_on):
        for item in classes:
            if not (isinstance(item, type) and issubclass(item, BaseException)):
                raise InvalidPolicy(f"{item!r} is not an exception class.")
    for tag in task.tags:
        if not isinstance(tag, str) or not 0 < len(tag) <= 128:
            raise InvalidPolicy(
                f"a tag is a string of 1 to 128 characters, not {tag!r}."
            )
    for name in ("expires", "retry_until"):
        value = getattr(task, name)
        if isinstance(value, datetime) and not timezone.is_aware(value):
            raise InvalidPolicy(f"{name} must be an aware datetime, not {value!r}.")


def _moment(text: str) -> datetime:
    """Read an ISO 8601 string that carries its offset."""
    try:
        moment = parse_datetime(text)
    except ValueError as error:
        raise InvalidTask(
            f"run_after {text!r} is no possible time: {error}."
        ) from error
    if moment is None:
        raise InvalidTask(
            f"run_after {text!r} is not ISO 8601, like 2030-01-31T12:00:00+01:00."
        )
    if not timezone.is_aware(moment):
        raise InvalidTask(f"run_after {text!r} needs an offset, like +01:00 or Z.")
    return moment


class Registry:
    """Every task that has been declared, by name: the only things a worker runs."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task[Any, Any]] = {}
        self._names: dict[str, str] = {}
        self._lock = Lock()

    def add(self, task: Task[Any, Any]) -> None:
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

    def get(self, name: str) -> Task[Any, Any]:
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

    def all(self) -> list[Task[Any, Any]]:
        """Every declared task, by name."""
        return [self._tasks[name] for name in sorted(self._tasks)]

    def names(self, patterns: Sequence[str] = ()) -> list[str]:
        """The names, aliases included, of the tasks that match one of the patterns.

        A pattern is compared with the name and the module path; ``*`` stands for
        any characters. No patterns: every name.
        """
        return sorted(
            name
            for name, key in self._names.items()
            if not patterns
            or any(
                fnmatchcase(text, pattern)
                for pattern in patterns
                for text in (name, self._tasks[key].module_path)
            )
        )


registry: Final = Registry()


def get_task(name: str) -> Task[Any, Any]:
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


def list_tasks() -> list[Task[Any, Any]]:
    """Every task of this project, by name; imports the apps' task modules first.

    An error inside such a module comes through.
    """
    discover_once(runtime_settings().autodiscover)
    return registry.all()


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
) -> Callable[[Callable[Concatenate[JobContext, P], R]], Task[P, R]]: ...


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
    on_crash: Literal["retry", "fail"] = "retry",
    expires: Deadline | None = None,
    retry_until: Deadline | None = None,
    aliases: Sequence[str] = (),
    tags: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
    max_result_bytes: int | None = None,
    schedule: Cron | Every | None = None,
) -> Callable[[Callable[P, R]], Task[P, R]]: ...


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
