"""Every error the package raises or records.

::

    DjangoWorkersError
    ├── ConfigurationError        a setting cannot work (also ImproperlyConfigured)
    ├── InvalidPolicy             a task's policy contradicts itself (also ValueError)
    ├── InvalidSchedule           a schedule cannot work (also ValueError)
    ├── UnencodableValue          JSON cannot hold it (also TypeError and ValueError)
    ├── UnknownTask               no task has that name (also LookupError)
    ├── JobDoesNotExist           no job has that id (also LookupError)
    ├── ScheduleDoesNotExist      no schedule has that name or id (also LookupError)
    ├── WaitInTransaction         waiting here could never end
    └── JobError                  recorded on a job, never raised to a caller
        ├── TaskTimeout           ran longer than its timeout (also TimeoutError)
        ├── JobCancelled          somebody cancelled it
        ├── JobExpired            not started before its deadline
        ├── WorkerCrashed         the process that ran it died
        ├── WorkerLost            the host that ran it stopped answering
        └── Quarantined           it killed too many processes

    TaskSignal                    raised by a task to say what happens next
    ├── Retry                     failed: try again after a while
    ├── Snooze                    not yet: run later, at no charge
    └── Cancel                    stop here: the job ends as cancelled
"""

from datetime import timedelta

from django.core.exceptions import ImproperlyConfigured


class DjangoWorkersError(Exception):
    """Base of every error of this package."""


class ConfigurationError(DjangoWorkersError, ImproperlyConfigured):
    """A setting cannot work; the message names the key and the fix."""


class InvalidPolicy(DjangoWorkersError, ValueError):
    """A task's policy contradicts itself or names something unknown."""


class InvalidSchedule(DjangoWorkersError, ValueError):
    """A timing cannot work, or the queue or the priority of a stored schedule."""


class UnencodableValue(DjangoWorkersError, TypeError, ValueError):
    """A value that strict JSON cannot hold.

    `path` says where it stands, for example ``args[2].name``.
    """

    def __init__(self, message: str, path: str) -> None:
        super().__init__(f"{path}: {message}")
        self._message = message
        self.path = path

    def __reduce__(self) -> tuple[type["UnencodableValue"], tuple[str, str]]:
        return type(self), (self._message, self.path)


class UnknownTask(DjangoWorkersError, LookupError):
    """No task is registered under that name."""


class JobDoesNotExist(DjangoWorkersError, LookupError):
    """No job has that id."""


class ScheduleDoesNotExist(DjangoWorkersError, LookupError):
    """No schedule has that name or id."""


class WaitInTransaction(DjangoWorkersError, RuntimeError):
    """wait() was called inside a transaction that hides or holds the job."""


class JobError(DjangoWorkersError):
    """An ending recorded on a job by the worker rather than raised by its task."""


class UnusableError(JobError):
    """The task raised an exception whose own methods fail; this one stands for it."""


class TaskTimeout(JobError, TimeoutError):
    """The task ran longer than its timeout."""


class JobCancelled(JobError):
    """The job was cancelled."""


class JobExpired(JobError):
    """The job was not started before its deadline."""


class WorkerCrashed(JobError):
    """The process that ran the job died."""


class WorkerLost(JobError):
    """The worker that held the job stopped answering."""


class Quarantined(JobError):
    """The job killed too many worker processes and will not run again."""


class TaskSignal(Exception):
    """Base of what a task raises to decide what happens to its job next."""


class Retry(TaskSignal):
    """End this attempt as failed and try again.

    `after` is the delay in seconds or a timedelta; None leaves it to the task's
    back-off. The attempt is charged: once `max_attempts` are used up, the job fails.
    Raised ``from`` an error, it has that error's message in the job's record.
    """

    def __init__(self, after: float | timedelta | None = None) -> None:
        super().__init__(after)
        self.after = _seconds(after) if after is not None else None

    def __str__(self) -> str:
        when = "" if self.after is None else f" in {self.after:g} s"
        return f"asked for another attempt{when}"


class Snooze(TaskSignal):
    """Run the job again later, without charging an attempt.

    `after` is the delay in seconds or a timedelta.
    """

    def __init__(self, after: float | timedelta) -> None:
        super().__init__(after)
        self.after = _seconds(after)


class Cancel(TaskSignal):
    """End the job as cancelled; it is not retried. `reason` is kept on the job."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


def _seconds(after: float | timedelta) -> float:
    seconds = after.total_seconds() if isinstance(after, timedelta) else float(after)
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"after must be zero or more seconds, not {after!r}")
    return seconds
