"""One attempt at a job, as a row of named steps.

resolve the task → decode the arguments → start → run the body → encode the result →
report. A task that is missing or arguments that do not fit are failed attempts, never
crashes; whatever the body raises, BaseException included, becomes a report.
"""

import ctypes
import inspect
import json
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime
from inspect import iscoroutinefunction
from typing import Any, Final, NamedTuple

from .. import carriers, codec
from ..backend import find_task, rebuilt_task
from ..backoff import DEFAULT_BACKOFF
from ..brokers import ClaimedJob
from ..compat import TaskError, TaskResultStatus, task_backends, task_started
from ..conf import RuntimeSettings
from ..context import CURRENT, JobContext, RunState
from ..exceptions import (
    Cancel,
    JobCancelled,
    Retry,
    Snooze,
    TaskTimeout,
    UnencodableValue,
    UnknownTask,
)
from ..results import JobResult
from ..signals import job_started
from ..task import Task
from . import connections
from .executors.aio import LoopThread
from .executors.base import Slot

logger = logging.getLogger("django_workers.worker")

SUCCEED: Final = "succeed"
RETRY: Final = "retry"
FAIL: Final = "fail"
CANCEL: Final = "cancel"
SNOOZE: Final = "snooze"
DROPPED: Final = "dropped"

# How long a sync task may act on `context.cancelled` before an exception is injected.
COOPERATION_SECONDS: Final = 1.0

ERROR_TEXT_LIMIT: Final = 64_000
# Outcomes that count as attempts in Django's worker_ids.
_CHARGED: Final = ("successful", "failed", "timed_out")

_set_async_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc


class Report(NamedTuple):
    """How an attempt went, as it travels to the supervisor."""

    number: int
    kind: str
    result: str | None = None
    # Seconds the body ran; None: it never started.
    duration: float | None = None
    # Seconds until the next attempt.
    delay: float = 0.0
    # (dotted class path, message, traceback).
    failure: tuple[str, str, str] | None = None
    reason: str = ""
    outcome: str = ""


@dataclass(slots=True)
class Run:
    """One attempt on its way through the steps."""

    number: int
    job: ClaimedJob
    history: Sequence[dict[str, Any]]
    task: Task[Any, Any] | None = None
    result: JobResult[Any, Any] | None = None
    state: RunState = field(default_factory=RunState)
    began: float = 0.0
    duration: float | None = None
    error: BaseException | None = None
    value: Any = None
    retry_at: datetime | None = None

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""
        return self.job.attempts + 1


class Execution:
    """Runs attempts for the slots of one child."""

    def __init__(
        self,
        *,
        worker_id: str,
        settings: RuntimeSettings,
        loop: LoopThread,
        stopping: Callable[[], bool],
    ) -> None:
        """Serve one child; `stopping` tells tasks whether the worker drains."""
        self._worker_id = worker_id
        self._settings = settings
        self._loop = loop
        self._stopping = stopping
        # Attempts whose final signals wait for the supervisor's word, by frame number.
        self.reported: dict[int, tuple[Run, Report]] = {}
        self.running: dict[int, Run] = {}
        # Attempts whose bodies go on although their jobs have been ended.
        self._given_up: dict[int, tuple[Run, Report]] = {}
        # Reasons of cancellations that came before their job had started.
        self._cancelled: dict[int, str] = {}

    def run(self, slot: Slot, payload: tuple[int, Any, Any]) -> tuple[Any, ...]:
        """Run one attempt of a job, from its start signal to its report."""
        number, values, history = payload
        run = Run(number, ClaimedJob._make(values), history or ())
        self.running[number] = run
        slot.asked = None
        try:
            report = (
                self._attempt(slot, run)
                if number not in self._cancelled
                else self._cancel_unstarted(run)
            )
        except BaseException as error:
            slot.close()
            _withdraw_injection()
            run.error = error
            report = self._judge(slot, run)
        finally:
            self.running.pop(number, None)
        if number not in self._given_up:
            self.reported[number] = (run, report)
        return tuple(report)

    def cancel(self, slots: Sequence[Slot], number: int, reason: str) -> None:
        """Ask a job to stop: a flag at once, an exception a little later.

        A coroutine is cancelled at once. A job that has not started never will.
        """
        run = self.running.get(number)
        if run is None:
            self._cancelled[number] = reason
            return
        run.state.cancel_reason = reason or "cancelled on request"
        run.state.cancelled = True
        now = time.monotonic()
        for slot in slots:
            if slot.number == number:
                if run.task is not None and iscoroutinefunction(run.task.func):
                    slot.ask(JobCancelled, now=now)
                elif slot.cancel_at is None:  # asked again: the first time counts
                    slot.cancel_at = now + COOPERATION_SECONDS

    def give_up(self, slot: Slot) -> tuple[Any, ...] | None:
        """Stop waiting for a body that ignores that it should end; its report.

        The supervisor ends its job by this report; the final signals are sent on its
        word, and what the body still does counts for nothing. None: it has just ended.
        """
        number, timed_out = slot.number, slot.asked is TaskTimeout
        run = self.running.get(number)
        if run is None:
            return None
        run.duration = time.perf_counter() - run.began
        if timed_out:
            run.error = TaskTimeout(f"{self._overtime(run)} and ignored it")
            report = self._after_timeout(run)
        else:
            run.error = JobCancelled("cancelled; the task ignored it and goes on")
            report = self._report_failure(run, CANCEL, outcome="cancelled")
        self._given_up[number] = (run, report)
        return tuple(report)

    def reported_or_given_up(self, number: int) -> tuple[Run, Report] | None:
        """Take out the attempt of a frame number that the supervisor speaks of."""
        return self.reported.pop(number, None) or self._given_up.get(number)

    def _cancel_unstarted(self, run: Run) -> Report:
        self._resolve(run)
        run.error = JobCancelled(self._cancelled.pop(run.number) or "cancelled")
        return self._report_failure(run, CANCEL, outcome="cancelled")

    def dropped(self, number: int) -> tuple[Any, ...]:
        """The report of work that was revoked before it started."""
        return tuple(Report(number, DROPPED))

    def _attempt(self, slot: Slot, run: Run) -> Report:
        try:
            self._resolve(run)
            self._start(run)
            self._body(slot, run)
        except BaseException as error:
            run.error = error
            return self._judge(slot, run)
        return self._encode(slot, run)

    # Steps

    def _resolve(self, run: Run) -> None:
        """Find the task and put its result together."""
        job = run.job
        declared = find_task(job.task)
        run.task = rebuilt_task(
            declared,
            name=job.task,
            priority=job.priority,
            queue_name=job.queue,
            backend=job.backend,
            run_after=None,
        )
        metadata = json.loads(job.metadata) if job.metadata != "{}" else {}
        started_at = datetime.fromtimestamp(job.started_at, UTC)
        run.result = JobResult(
            task=run.task,
            id=job.id,
            status=TaskResultStatus.RUNNING,
            enqueued_at=datetime.fromtimestamp(job.enqueued_at, UTC),
            started_at=started_at,
            last_attempted_at=(
                started_at
                if job.claimed_at == job.started_at
                else datetime.fromtimestamp(job.claimed_at, UTC)
            ),
            finished_at=None,
            args=json.loads(job.args),
            kwargs=json.loads(job.kwargs),
            backend=job.backend,
            errors=[
                TaskError(
                    exception_class_path=row["exception"], traceback=row["traceback"]
                )
                for row in run.history
                if row["exception"]
            ],
            worker_ids=[
                *(row["worker"] for row in run.history if row["outcome"] in _CHARGED),
                self._worker_id,
            ],
            job_status="running",
            tags=tuple(json.loads(job.tags)) if job.tags != "[]" else (),
            metadata=metadata,
        )

    def _start(self, run: Run) -> None:
        """Say that the attempt starts."""
        connections.before_job()
        sender = sender_of(run.job.backend)
        task_started.send_robust(sender, task_result=run.result)
        if job_started.receivers:
            job_started.send_robust(sender, job=run.result, attempt=run.attempt)

    def _body(self, slot: Slot, run: Run) -> None:
        """Call the task's function under its context and its deadline."""
        assert run.task is not None and run.result is not None
        timeout = self._timeout(run)
        deadline = None if timeout is None else time.monotonic() + timeout
        run.state.deadline = deadline
        run.state.stopping = self._stopping
        current = JobContext(task_result=run.result, run=run.state)
        args = (
            (current, *run.result.args) if run.task.takes_context else run.result.args
        )
        token = CURRENT.set(current)
        run.began = time.perf_counter()
        try:
            carried = run.result.metadata.get(carriers.METADATA_KEY)
            if iscoroutinefunction(run.task.func):
                run.value = self._call_async(slot, run, args, deadline, carried)
            elif carried:
                with carriers.restored(carried):
                    run.value = self._call(slot, run, args, deadline)
            else:
                run.value = self._call(slot, run, args, deadline)
        finally:
            run.duration = time.perf_counter() - run.began
            CURRENT.reset(token)
            connections.after_job()

    def _call(
        self, slot: Slot, run: Run, args: Sequence[Any], deadline: float | None
    ) -> Any:
        assert run.task is not None and run.result is not None
        func, kwargs = run.task.func, run.result.kwargs
        thread = threading.get_ident()
        slot.open(lambda error: _inject(thread, error), deadline=deadline)
        try:
            # What the task activates or binds is gone with this copy.
            return copy_context().run(func, *args, **kwargs)
        finally:
            slot.close()
            if slot.asked is not None:
                _withdraw_injection()

    def _call_async(
        self,
        slot: Slot,
        run: Run,
        args: Sequence[Any],
        deadline: float | None,
        carried: Mapping[str, Any] | None,
    ) -> Any:
        assert run.task is not None and run.result is not None
        coroutine = run.task.func(*args, **run.result.kwargs)
        return self._loop.run(
            slot,
            _under(carried, coroutine) if carried else coroutine,
            context=copy_context(),
            deadline=deadline,
            tidy=connections.after_job,
        )

    def _encode(self, slot: Slot, run: Run) -> Report:
        """Turn the value into JSON; a value that cannot be stored fails the job."""
        assert run.task is not None and run.result is not None
        options = getattr(task_backends[run.job.backend], "settings", None)
        limit: Any = run.task.max_result_bytes or getattr(
            options, "MAX_RESULT_BYTES", 1_000_000
        )
        try:
            text = codec.encode(run.value, path="result", limit_bytes=limit)
        except UnencodableValue as error:
            run.error = error
            return self._report_failure(run, FAIL, reason=str(error))
        return Report(run.number, SUCCEED, result=text, duration=run.duration)

    # Judging a failure

    def _judge(self, slot: Slot, run: Run) -> Report:
        """Decide what follows from what the body raised."""
        error = run.error
        asked = slot.asked
        if asked is TaskTimeout:
            timed_out = TaskTimeout(self._overtime(run))
            run.error = timed_out.with_traceback(error.__traceback__ if error else None)
            return self._after_timeout(run)
        if asked is JobCancelled:
            cancelled = JobCancelled(run.state.cancel_reason)
            run.error = cancelled.with_traceback(error.__traceback__ if error else None)
            return self._report_failure(run, CANCEL, outcome="cancelled")
        if isinstance(error, Snooze):
            return Report(run.number, SNOOZE, duration=run.duration, delay=error.after)
        if isinstance(error, Cancel):
            return self._report_failure(
                run, CANCEL, reason=error.reason, outcome="cancelled"
            )
        if isinstance(error, UnknownTask) or _does_not_fit(run):
            return self._report_failure(run, FAIL)
        if isinstance(error, Retry):
            return self._again_or_fail(run, error.after)
        if not self._is_retryable(run):
            return self._report_failure(run, FAIL)
        return self._again_or_fail(run, None)

    def _overtime(self, run: Run) -> str:
        return f"ran longer than its timeout of {self._timeout(run):g} s"

    def _after_timeout(self, run: Run) -> Report:
        """A timeout is tried again where any other exception of its kind would be."""
        if not self._is_retryable(run):
            return self._report_failure(run, FAIL, outcome="timed_out")
        return self._again_or_fail(run, None, outcome="timed_out")

    def _is_retryable(self, run: Run) -> bool:
        assert run.task is not None
        if isinstance(run.error, run.task.no_retry_on):
            return False
        return not run.task.retry_on or isinstance(run.error, run.task.retry_on)

    def _again_or_fail(
        self, run: Run, delay: float | None, *, outcome: str = "failed"
    ) -> Report:
        """Another attempt if the budget, the back-off and the deadline allow it."""
        if run.attempt >= run.job.max_attempts:
            return self._report_failure(run, FAIL, outcome=outcome)
        if delay is None:
            delay = self._delay(run)
        if delay is None:
            return self._report_failure(run, FAIL, outcome=outcome)
        until = run.job.retry_until
        if until is not None and time.time() + delay > until:
            return self._report_failure(
                run, FAIL, outcome=outcome, reason="its time for retries is over"
            )
        run.retry_at = datetime.fromtimestamp(time.time() + delay, UTC)
        return self._report_failure(run, RETRY, delay=delay, outcome=outcome)

    def _delay(self, run: Run) -> float | None:
        """Ask the task's back-off; one that fails is replaced by the default."""
        assert run.task is not None and run.result is not None
        assert run.error is not None
        options = getattr(task_backends[run.job.backend], "settings", None)
        backoff = run.task.backoff or getattr(options, "BACKOFF", None)
        try:
            delay = (backoff or DEFAULT_BACKOFF)(run.error, run.result)
            if delay is None or 0 <= float(delay) < float("inf"):
                return None if delay is None else float(delay)
            raise ValueError(f"back-off must give seconds or None, not {delay!r}")
        except Exception:
            logger.exception("The back-off of %s failed", run.job.task)
            return DEFAULT_BACKOFF.delay_after(run.attempt)

    def _report_failure(
        self,
        run: Run,
        kind: str,
        *,
        delay: float = 0.0,
        outcome: str = "failed",
        reason: str = "",
    ) -> Report:
        assert run.error is not None
        failure = codec.describe_exception(_trimmed(run.error), ERROR_TEXT_LIMIT)
        if run.result is not None:
            run.result.errors.append(
                TaskError(exception_class_path=failure[0], traceback=failure[2])
            )
        return Report(
            run.number,
            kind,
            duration=run.duration,
            delay=delay,
            failure=failure,
            reason=reason or codec.storable_text(failure[1], limit=200),
            outcome=outcome,
        )

    def _timeout(self, run: Run) -> float | None:
        """Seconds this attempt may run; None: as long as it likes."""
        assert run.task is not None
        options = getattr(task_backends[run.job.backend], "settings", None)
        given = (
            run.job.timeout
            or run.task.timeout
            or getattr(options, "TIMEOUT", None)
            or self._settings.timeout
        )
        bound = self._settings.max_job_duration
        return given if bound is None else min(given or bound, bound)


async def _under(
    carried: Mapping[str, Any], coroutine: Coroutine[Any, Any, Any]
) -> Any:
    """Await a coroutine under the values it carries.

    Restored here, on the loop: what asgiref keeps for a thread stays with that thread.
    """
    with carriers.restored(carried):
        return await coroutine


def sender_of(alias: str) -> type[Any]:
    """The class that signals about a backend's jobs name as their sender."""
    return type(task_backends[alias])


def _inject(thread: int, error: type[BaseException]) -> None:
    """Raise an exception in another thread at its next bytecode."""
    _set_async_exception(ctypes.c_ulong(thread), ctypes.py_object(error))


def _withdraw_injection() -> None:
    """Take back an exception that was injected into this thread but not raised."""
    _set_async_exception(ctypes.c_ulong(threading.get_ident()), None)


def _trimmed(error: BaseException) -> BaseException:
    """The exception without this module's own frames on top of its traceback."""
    trace = error.__traceback__
    while trace is not None and "/django_workers/runtime/" in (
        trace.tb_frame.f_code.co_filename.replace("\\", "/")
    ):
        trace = trace.tb_next
    return error.with_traceback(trace) if trace is not None else error


def _does_not_fit(run: Run) -> bool:
    """Whether the call itself failed: arguments the function does not take."""
    if not isinstance(run.error, TypeError) or run.task is None or run.result is None:
        return False
    trace = run.error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or trace.tb_frame.f_globals.get("__name__") != __name__:
        return False
    context = (None,) if run.task.takes_context else ()
    try:
        inspect.signature(run.task.func).bind(
            *context, *run.result.args, **run.result.kwargs
        )
    except TypeError:
        return True
    return False
