"""What a running task can ask about its own run."""

import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .compat import TaskContext

if TYPE_CHECKING:
    BaseContext = TaskContext[..., Any]
else:
    BaseContext = TaskContext


@dataclass(slots=True)
class RunState:
    """What the worker knows of one run; shared with the thread that runs it."""

    # time.monotonic() at which the attempt times out; None: never.
    deadline: float | None = None
    # Somebody asked for the job to be cancelled.
    cancelled: bool = False
    cancel_reason: str = ""
    # Whether the worker is draining.
    stopping: Callable[[], bool] = bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext(BaseContext):  # type: ignore[misc]  # the stubs forget "frozen"
    """Django's TaskContext that also knows the deadline and the worker's state.

    Handed to tasks with ``takes_context=True``, and by `context()` to anything they
    call.
    """

    run: RunState

    @property
    def job_id(self) -> str:
        """The job's id."""
        return self.task_result.id

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked for this job to be cancelled."""
        return self.run.cancelled

    @property
    def remaining(self) -> float | None:
        """Seconds until the attempt times out, at least 0; None without a timeout."""
        if self.run.deadline is None:
            return None
        return max(0.0, self.run.deadline - time.monotonic())

    def is_shutting_down(self) -> bool:
        """Whether the worker is draining: finish soon, or give up."""
        return self.run.stopping()


CURRENT: Final[ContextVar[JobContext | None]] = ContextVar(
    "django_workers_context", default=None
)


def context() -> JobContext:
    """The context of the job this code runs in.

    Raises LookupError outside a job.
    """
    current = CURRENT.get()
    if current is None:
        raise LookupError("context() was called outside a running job.")
    return current
