"""One attempt at a job, as a row of named steps.

resolve the task → decode the arguments → start → run the body → encode the result →
report. A task that is missing or arguments that do not fit are failed attempts, never
crashes; whatever the body raises, BaseException included, becomes a report.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import copy_context
from datetime import UTC, datetime
from inspect import iscoroutinefunction
from typing import Any, Final

from .. import carriers
from ..backend import DatabaseBackend, find_task, rebuilt_task, signature_of
from ..brokers import ClaimedJob
from ..compat import (
    InvalidTaskBackend,
    TaskError,
    TaskResultStatus,
    task_backends,
    task_started,
)
from ..conf import RuntimeSettings
from ..context import CURRENT, JobContext
from ..exceptions import JobCancelled, TaskTimeout
from ..results import JobResult
from ..signals import job_started
from . import connections
from .attempt import DROPPED, ON_REQUEST, Report, Run
from .executors.aio import LoopThread
from .executors.base import Slot
from .injection import inject, withdraw_injection
from .tame import log_exception, tamed
from .verdict import Judge, unreported

logger = logging.getLogger("django_workers.worker")

# How long a sync task may act on `context.cancelled` before an exception is injected.
COOPERATION_SECONDS: Final = 1.0

# More frames than a child ever holds.
FAR_BEHIND: Final = 100_000
# Outcomes that count as attempts in Django's worker_ids.
_CHARGED: Final = ("successful", "failed", "timed_out")


class Execution:
    """Runs attempts for the slots of one child."""

    def __init__(
        self,
        *,
        worker_id: str,
        settings: RuntimeSettings,
        loop: LoopThread,
        stopping: Callable[[], bool],
        must_end: Callable[[int, float], None] = lambda slot, deadline: None,
    ) -> None:
        """Serve one child.

        `stopping` tells tasks whether the worker drains; `must_end(slot, deadline)` is
        called before each body that has a deadline, on the monotonic clock.
        """
        self._worker_id = worker_id
        self._judge = Judge(settings)
        self._loop = loop
        self._pid = os.getpid()
        self._stopping = stopping
        self._must_end = must_end
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
            withdraw_injection()
            if run.error is None:  # else the body has one, and judging it failed
                run.error = tamed(error)
            report = self._last_resort(slot, run)
        finally:
            self.running.pop(number, None)
        if number not in self._given_up:
            self.reported[number] = (run, report)
        return tuple(report)

    def _last_resort(self, slot: Slot, run: Run) -> Report:
        """Judge what happened outside the body; whatever happens, there is a report."""
        error = run.error
        try:
            return self._judge.raised(run, asked=slot.asked)
        except BaseException:
            log_exception(logger, "Job %s could not be judged", run.job.id)
        try:
            return unreported(run.number, error)
        except BaseException:  # it has only looked usable
            return unreported(run.number)

    def cancel(self, slots: Sequence[Slot], number: int, reason: str) -> None:
        """Ask a job to stop: a flag at once, an exception a little later.

        A coroutine is cancelled at once. A job that has not started never will.
        """
        run = self.running.get(number)
        if run is None:
            self._forget_cancelled(number - FAR_BEHIND)
            self._cancelled[number] = reason
            return
        run.state.cancel_reason = reason or ON_REQUEST
        run.state.cancelled = True
        now = time.monotonic()
        for slot in slots:
            if slot.number == number:
                if run.task is not None and iscoroutinefunction(run.task.func):
                    slot.ask(JobCancelled, now=now)
                elif slot.cancel_at is None:  # asked again: the first time counts
                    slot.cancel_at = now + COOPERATION_SECONDS

    def _forget_cancelled(self, oldest: int) -> None:
        """Forget requests about jobs that had ended, or were recalled, by then."""
        for number in [number for number in self._cancelled if number < oldest]:
            del self._cancelled[number]

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
        report = self._judge.deaf(run, timed_out=timed_out)
        self._given_up[number] = (run, report)
        return tuple(report)

    def reported_or_given_up(self, number: int) -> tuple[Run, Report] | None:
        """Take out the attempt of a frame number that the supervisor speaks of."""
        return self.reported.pop(number, None) or self._given_up.get(number)

    def _cancel_unstarted(self, run: Run) -> Report:
        reason = self._cancelled.pop(run.number)
        self._resolve(run)
        return self._judge.unstarted(run, reason)

    def dropped(self, number: int) -> tuple[Any, ...]:
        """The report of work that was revoked before it started."""
        return tuple(Report(number, DROPPED))

    def _attempt(self, slot: Slot, run: Run) -> Report:
        try:
            self._resolve(run)
            self._start(run)
            self._body(slot, run)
        except BaseException as error:
            run.error = tamed(error)
            return self._judge.raised(run, asked=slot.asked, misfit=_does_not_fit(run))
        return self._judge.returned(run)

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
                if job.is_first_start
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
        try:
            task_started.send_robust(sender, task_result=run.result)
            if job_started.receivers:
                job_started.send_robust(sender, job=run.result, attempt=run.attempt)
        except BaseException:  # send_robust lets SystemExit through
            log_exception(logger, "A receiver would have ended the process")

    def _body(self, slot: Slot, run: Run) -> None:
        """Call the task's function under its context and its deadline."""
        assert run.task is not None and run.result is not None
        timeout = self._judge.timeout(run)
        deadline = None if timeout is None else time.monotonic() + timeout
        if deadline is not None:
            self._must_end(slot.index, deadline)
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
            if os.getpid() != self._pid:
                os._exit(0)  # the task has forked, and this is the copy: it has no say
            run.duration = time.perf_counter() - run.began
            CURRENT.reset(token)
            connections.after_job()

    def _call(
        self, slot: Slot, run: Run, args: Sequence[Any], deadline: float | None
    ) -> Any:
        assert run.task is not None and run.result is not None
        func, kwargs = run.task.func, run.result.kwargs
        thread = threading.get_ident()
        slot.open(lambda error: inject(thread, error), deadline=deadline)
        try:
            # What the task activates or binds is gone with this copy.
            return copy_context().run(func, *args, **kwargs)
        finally:
            slot.close()
            if slot.asked is not None:
                withdraw_injection()

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
        )


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
    try:
        return type(task_backends[alias])
    except InvalidTaskBackend:
        return DatabaseBackend  # `TASKS` has changed since


def _does_not_fit(run: Run) -> bool:
    """Whether the call itself failed: arguments the function does not take."""
    if not isinstance(run.error, TypeError) or run.task is None or run.result is None:
        return False
    trace = run.error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or trace.tb_frame.f_globals.get("__name__") != __name__:
        return False
    try:
        signature_of(run.task).bind(*run.result.args, **run.result.kwargs)
    except TypeError:
        return True
    return False
