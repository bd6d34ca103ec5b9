"""The declared function: Django's Task with a policy and a registered name."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import transaction

from .. import compat
from ..cron import Cron, Every
from ..results import JobResult
from .lookup import registry
from .policy import Backoff, Deadline, normalise

P = ParamSpec("P")
R = TypeVar("R")

if TYPE_CHECKING:
    BaseTask = compat.Task[P, R]
else:

    class BaseTask(compat.Task, Generic[P, R]):
        """Django's class is not subscriptable at run time; this one is."""

        __slots__ = ()


Call = tuple[Sequence[Any], Mapping[str, Any]]

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
        normalise(self)
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
        tags: Iterable[str] | None = UNSET,
        metadata: Mapping[str, Any] | None = UNSET,
    ) -> "Task[P, R]":
        """Return a copy of this task with another policy for its calls.

        `run_after` is an aware datetime, a timedelta from the moment of enqueueing
        or an ISO 8601 string with an offset; `timeout` is in seconds. None leaves
        `priority`, `queue_name` and `backend` as they are, and clears the others.

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

        Raises UnencodableValue for arguments JSON cannot hold, TypeError for those the
        function does not take, and InvalidTask for a policy the backend refuses.
        """
        result: JobResult[P, R] = self._backend.enqueue(self, args, kwargs)
        return result

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobResult[P, R]:
        """See enqueue()."""
        result: JobResult[P, R] = await self._backend.aenqueue(self, args, kwargs)
        return result

    def enqueue_many(self, calls: Iterable[Call]) -> list[JobResult[P, R]]:
        """Store one job per ``(args, kwargs)`` pair, all of them or none.

        Raises as enqueue() does, and TypeError for what is no such pair; the path in
        the message begins with the call's number, and nothing is stored then.
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
        Arguments are checked and copied at once. Raises as enqueue() does. Where the
        data is not in the default database, see the package's enqueue_on_commit().
        """
        transaction.on_commit(self.deferred(args, kwargs))

    def deferred(
        self, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Callable[[], JobResult[P, R]]:
        """Check a call and copy its arguments now; return what enqueues it.

        Raises as enqueue() does.
        """
        backend = self._backend
        deferred = getattr(backend, "deferred", None)
        if deferred is None:  # a backend that is not ours, in a test's settings
            return lambda: backend.enqueue(self, args, kwargs)
        return deferred(self, args, kwargs)  # type: ignore[no-any-return]

    def get_result(self, result_id: str) -> JobResult[P, R]:
        """Read the result of a job of this task.

        Raises TaskResultDoesNotExist, and TaskResultMismatch for another task's job.
        """
        result: JobResult[P, R] = compat.Task.get_result(self, result_id)  # type: ignore[assignment]
        return result

    async def aget_result(self, result_id: str) -> JobResult[P, R]:
        """See get_result()."""
        result: JobResult[P, R] = await compat.Task.aget_result(self, result_id)  # type: ignore[assignment]
        return result

    def call(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now, a coroutine on a loop of its own."""
        # Not super(): the decorator has made another class of this one.
        value: R = compat.Task.call(self, *args, **kwargs)
        return value
