"""What `enqueue()` hands back: Django's TaskResult that can also wait."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from .compat import TASK_REFRESH_ATTRS, TaskResult

P = ParamSpec("P")
R = TypeVar("R")

if TYPE_CHECKING:
    BaseResult = TaskResult[P, R]
else:

    class BaseResult(TaskResult, Generic[P, R]):
        """Django's class is not subscriptable at run time; this one is."""

        __slots__ = ()


OWN_REFRESH_ATTRS = ("job_status", "reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult(BaseResult[P, R]):  # type: ignore[misc]  # the stubs forget "frozen"
    """The state of one job, as of when it was read.

    Beside Django's fields it knows the job's own status, of which Django's four are
    a summary, why it is where it is, its tags and its metadata.
    """

    # One of `JobStatus`: scheduled, blocked, ready, running, successful, failed,
    # cancelled.
    job_status: str = "ready"
    # Why the job is blocked, failed or cancelled.
    reason: str = ""
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        """Keep args and kwargs as they are: the codec has made them plain JSON."""

    @property
    def is_cancelled(self) -> bool:
        """Whether the job ended as cancelled (Django's status says FAILED)."""
        return self.job_status == "cancelled"

    def refresh(self) -> None:
        """Read the job again.

        Raises TaskResultDoesNotExist when it has been pruned.
        """
        self._take(self.task.get_backend().get_result(self.id))

    async def arefresh(self) -> None:
        """See refresh()."""
        self._take(await self.task.get_backend().aget_result(self.id))

    def wait(self, timeout: float | None = None) -> "JobResult[P, R]":
        """Wait until the job has ended; return this result, refreshed.

        `timeout` is in seconds, None waits for ever. The caller is woken by the
        completion where the database can do that, and looks once a second besides.

        A result of ImmediateBackend has ended already, unless its task snoozed.

        Raises TimeoutError when time is up, WaitInTransaction inside a transaction
        that keeps the job from starting or from being seen, and
        TaskResultDoesNotExist when the job has been pruned.
        """
        if not self._is_final:
            self.task.get_backend().wait(self.id, timeout)  # type: ignore[attr-defined]
            self.refresh()
        return self

    async def await_result(self, timeout: float | None = None) -> "JobResult[P, R]":
        """See wait(); waits without blocking the event loop."""
        if not self._is_final:
            await self.task.get_backend().await_result(self.id, timeout)  # type: ignore[attr-defined]
            await self.arefresh()
        return self

    @property
    def _is_final(self) -> bool:
        """Whether it has ended in a backend that keeps no results to ask for."""
        return self.is_finished and not self.task.get_backend().supports_get_result

    def _take(self, fresh: Any) -> None:
        for name in (*TASK_REFRESH_ATTRS, *OWN_REFRESH_ATTRS):
            object.__setattr__(self, name, getattr(fresh, name))
