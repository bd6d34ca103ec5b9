"""One event loop in a thread of its own, for the coroutine tasks of a child."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import cached_property
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async

from .base import Slot


class LoopThread:
    """Runs coroutines for threads that wait for them.

    Each slot keeps one ThreadSensitiveContext for good: its jobs' ORM calls share one
    thread and so one database connection, and do not queue up behind other slots'.
    """

    def __init__(self, slots: int) -> None:
        """Start nothing: the loop comes with the first coroutine."""
        self._contexts = [ThreadSensitiveContext() for _ in range(slots)]
        self._lock = threading.Lock()

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
        tidy: Callable[[], None],
    ) -> Any:
        """Run a coroutine to its end while this thread waits; its result.

        `tidy` is called in the slot's ORM thread afterwards, if there is one. Raises
        what the coroutine raises; CancelledError if the slot was asked to stop.
        """
        with self._lock:
            loop = self._loop
        thread_context = self._contexts[slot.index]
        context.run(SyncToAsync.thread_sensitive_context.set, thread_context)
        done = threading.Lock()
        done.acquire()
        outcome: list[Any] = []

        async def supervise(task: asyncio.Task[Any]) -> None:
            try:
                outcome.extend((await task, None))
            except BaseException as error:
                outcome.extend((None, error))
            finally:
                if thread_context in SyncToAsync.context_to_thread_executor:
                    await sync_to_async(tidy)()
                done.release()

        def begin() -> None:
            task = loop.create_task(coroutine, context=context)

            def cancel(error: type[BaseException]) -> None:
                loop.call_soon_threadsafe(task.cancel)

            slot.open(cancel, deadline=deadline)
            supervisor = loop.create_task(supervise(task), context=context)
            self._keep.add(supervisor)
            supervisor.add_done_callback(self._keep.discard)

        loop.call_soon_threadsafe(begin)
        done.acquire()
        slot.close()
        value, error = outcome
        if error is not None:
            raise error
        return value

    @cached_property
    def _keep(self) -> set[asyncio.Task[Any]]:
        """References, so that no task is collected while it runs."""
        return set()


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
