"""Waiting for a job beside an event loop.

Whoever waits in a thread is woken by the job's end, and holds a thread and a
connection or two. So the first few wait in threads, of their own: those of asyncio
look up host names, too. The rest look from time to time.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from asgiref.sync import sync_to_async

MOST_THREADS: Final = 16
# Between two looks of those for whom there is no thread.
LOOK_SECONDS: Final = 0.25
# A thread whose caller has given up ends within this.
SLICE_SECONDS: Final = 5.0

_threads = threading.BoundedSemaphore(MOST_THREADS)


async def wait_beside(backend: Any, result_id: str, timeout: float | None) -> None:
    """Wait until a job of *backend* has ended, without blocking the event loop.

    Raises as backend.wait() does; there is no transaction that could be in the way.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    threads = _threads
    if not threads.acquire(blocking=False):
        await _look_until_ended(backend, result_id, deadline)
        return

    def wait(given_up: Callable[[], bool]) -> None:
        try:
            _wait_in_slices(backend, result_id, deadline, given_up)
        finally:
            backend.close_connection()
            threads.release()

    await _in_a_thread(wait)


async def _look_until_ended(
    backend: Any, result_id: str, deadline: float | None
) -> None:
    has_ended = sync_to_async(backend.has_ended, thread_sensitive=True)
    while not await has_ended(result_id):
        rest = _rest(deadline, LOOK_SECONDS)
        if rest <= 0:
            raise TimeoutError
        await asyncio.sleep(rest)


def _wait_in_slices(
    backend: Any,
    result_id: str,
    deadline: float | None,
    given_up: Callable[[], bool],
) -> None:
    while not given_up():
        try:
            backend.wait(result_id, _rest(deadline, SLICE_SECONDS))
        except TimeoutError:
            if _rest(deadline, 1) <= 0:
                raise
        else:
            return


def _rest(deadline: float | None, most: float) -> float:
    if deadline is None:
        return most
    return max(0.0, min(most, deadline - time.monotonic()))


async def _in_a_thread(act: Callable[[Callable[[], bool]], None]) -> None:
    """Run *act* in a thread of its own; it is told when the caller has given up."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    given_up = threading.Event()

    def run() -> None:
        error: BaseException | None = None
        try:
            act(given_up.is_set)
        except BaseException as raised:  # the caller's to see
            error = raised
        try:
            loop.call_soon_threadsafe(tell, error)
        except RuntimeError:
            pass  # the loop has been closed: nobody waits any more

    def tell(error: BaseException | None) -> None:
        if ended.done():
            return
        if error is None:
            ended.set_result(None)
        else:
            ended.set_exception(error)

    threading.Thread(target=run, name="django_workers-wait", daemon=True).start()
    try:
        await ended
    finally:
        given_up.set()
