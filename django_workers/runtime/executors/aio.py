"""One event loop in a thread of its own, for the coroutine tasks of a child."""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor as Pool
from contextvars import Context
from functools import cached_property
from typing import Any, Final

from asgiref.sync import SyncToAsync, ThreadSensitiveContext

from .base import Slot

# An ORM thread that has rested for so long is made ready before the next job.
REST_SECONDS: Final = 1.0


class LoopThread:
    """Runs coroutines for threads that wait for them.

    Each slot keeps one ThreadSensitiveContext for good: its jobs' ORM calls share one
    thread and so one database connection, and do not queue up behind other slots'.
    """

    def __init__(
        self,
        slots: int,
        *,
        before: Callable[[], None] = lambda: None,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        """Start nothing: the loop comes with the first coroutine.

        `before` is called in a slot's ORM thread when it has rested for a second,
        `after` after each job; neither where a slot has no such thread.
        """
        self._contexts = [ThreadSensitiveContext() for _ in range(slots)]
        self._rested_since = [0.0] * slots
        self._before = before
        self._after = after
        self._lock = threading.Lock()
        self._pid = os.getpid()
        # References, so that no task is collected while it runs.
        self._running: set[asyncio.Task[Any]] = set()

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        threading.Thread(
            target=_run_for_ever, args=(loop,), name="loop", daemon=True
        ).start()
        return loop

    def run(
        self,
        slot: Slot,
        coroutine: Coroutine[Any, Any, Any],
        *,
        context: Context,
        deadline: float | None,
    ) -> Any:
        """Run a coroutine to its end while this thread waits; its result.

        Raises what the coroutine raises; CancelledError if the slot was asked to stop.
        """
        with self._lock:
            loop = self._loop
        context.run(
            SyncToAsync.thread_sensitive_context.set, self._contexts[slot.index]
        )
        if time.monotonic() - self._rested_since[slot.index] > REST_SECONDS:
            self.in_orm_thread(slot, self._before)
        done = threading.Lock()
        done.acquire()
        outcome: list[Any] = []

        def begin() -> None:
            task = loop.create_task(coroutine, context=context)

            def cancel(error: type[BaseException]) -> None:
                loop.call_soon_threadsafe(task.cancel)

            slot.open(cancel, deadline=deadline)
            self._running.add(task)
            # A callback, not a task that waits for it: a coroutine may cancel every
            # task it finds on its loop.
            task.add_done_callback(end)

        def end(task: asyncio.Task[Any]) -> None:
            if os.getpid() != self._pid:
                os._exit(0)  # the task has forked, and this is the copy
            self._running.discard(task)
            try:
                outcome.extend((task.result(), None))
            except BaseException as error:
                outcome.extend((None, error))
            self._later_in_orm_thread(slot, self._after, done.release)

        loop.call_soon_threadsafe(begin)
        done.acquire()
        self._rested_since[slot.index] = time.monotonic()
        slot.close()
        value, error = outcome
        if error is not None:
            raise error
        return value

    def in_orm_thread(self, slot: Slot, work: Callable[[], None]) -> None:
        """Call *work* where a slot's coroutines use the ORM, if there is such a thread.

        Raises what it raises.
        """
        pool = self._orm_thread(slot)
        if pool is not None:
            pool.submit(work).result()

    def _later_in_orm_thread(
        self, slot: Slot, work: Callable[[], None], then: Callable[[], None]
    ) -> None:
        pool = self._orm_thread(slot)
        if pool is None:
            then()
            return
        try:
            future = pool.submit(work)
        except RuntimeError:  # the interpreter ends
            then()
        else:
            future.add_done_callback(lambda _: then())

    def _orm_thread(self, slot: Slot) -> Pool | None:
        return SyncToAsync.context_to_thread_executor.get(self._contexts[slot.index])


def _run_for_ever(loop: asyncio.AbstractEventLoop) -> None:
    """Turn the loop; a coroutine that raises SystemExit would end it for all others.

    asyncio hands such an exception to whoever awaits the coroutine and then raises it
    out of the loop, which may be turned again.
    """
    while True:
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt):
            continue
