"""Run jobs in threads, woken one at a time.

Threads that all wake each other fight over the interpreter: the same machine gives 18
to 58 thousand no-op jobs a second, different in every run. So there is one hot thread:
arriving work wakes a single thread, and a watchdog wakes the next one only when no job
has finished for a while. That would starve slots whose jobs wait for something, so
the executor watches how many jobs take longer than a switch of threads costs; when
many do, it goes wide and wakes a thread per job.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final

from ..tame import log_exception
from .base import Executor, Slot, Work

logger = logging.getLogger("django_workers.worker")

# No job finished for so long: the hot thread is waiting for something, wake another.
STALL_SECONDS: Final = 0.002
# A body that takes longer is worth a thread of its own.
SLOW_SECONDS: Final = 0.000_1
# Share of slow jobs above which every job gets a thread at once.
WIDE_SHARE: Final = 0.2
# Weight of the latest job in that share.
_WEIGHT: Final = 0.05
# Reports are sent when so many have gathered, or when the thread has nothing to do.
FLUSH_AT: Final = 100
# A thread that has been idle for so long is told, to close what it holds open.
IDLE_SECONDS: Final = 30.0
# How often deadlines are looked at.
WATCH_SECONDS: Final = 0.05


class ThreadsExecutor(Executor):
    """One thread per slot, one watchdog for all."""

    can_stop_sync: ClassVar[bool] = True
    can_cancel_async: ClassVar[bool] = True
    is_concurrent: ClassVar[bool] = True

    def __init__(
        self,
        *,
        slots: int,
        run: Callable[[Slot, Any], Any],
        start: Callable[[int, int], bool],
        dropped: Callable[[int], Any],
        report: Callable[[list[Any]], None],
        watch: Callable[[], None] = lambda: None,
        on_idle: Callable[[Slot], None] = lambda slot: None,
    ) -> None:
        """Start the threads.

        `watch` is called every 50 ms while jobs run; `on_idle` with a slot, in its
        thread, when it has had nothing to do for half a minute.
        """
        super().__init__(
            slots=slots, run=run, start=start, dropped=dropped, report=report
        )
        self._watch = watch
        self._on_idle = on_idle
        self._waiting: deque[Work] = deque()
        self._reports: deque[Any] = deque()
        self._idle: deque[threading.Lock] = deque()
        self._sending = threading.Lock()
        self._busy = threading.Event()
        self._finished = 0
        self._finished_at = 0.0
        self._slow_share = 0.0
        self._stopped = False
        for slot in self.slots:
            threading.Thread(
                target=self._work, args=(slot,), name=f"slot-{slot.index}", daemon=True
            ).start()
        threading.Thread(target=self._keep_watch, name="watchdog", daemon=True).start()

    def put(self, work: Iterable[Work]) -> None:
        """Take work, in order; wake as many threads as it is worth."""
        fresh = list(work)
        self._waiting.extend(fresh)
        self._busy.set()
        if self._slow_share > WIDE_SHARE:
            for _ in fresh:
                self._wake()
        elif self._stalled:
            self._wake()

    def stop(self) -> None:
        """Let every thread end when it next has nothing to do."""
        self._stopped = True
        self._busy.set()
        while self._idle:
            self._wake()

    @property
    def _stalled(self) -> bool:
        """Whether no thread is running through the work."""
        return (
            len(self._idle) == len(self.slots)
            or time.monotonic() - self._finished_at > STALL_SECONDS / 2
        )

    def _work(self, slot: Slot) -> None:
        park = threading.Lock()
        park.acquire()
        while (item := self._next(slot, park)) is not None:
            try:
                self._work_on(slot, item)
            except BaseException:
                log_exception(logger, "A slot goes on after an error of its own")

    def _work_on(self, slot: Slot, item: Work) -> None:
        number, payload = item
        began = time.perf_counter()
        report = self._perform(slot, number, payload)
        took = time.perf_counter() - began
        self._slow_share += _WEIGHT * ((took > SLOW_SECONDS) - self._slow_share)
        self._finished += 1
        self._finished_at = time.monotonic()
        self._reports.append(report)
        if len(self._reports) >= FLUSH_AT or not self._waiting:
            self._flush()

    def _next(self, slot: Slot, park: threading.Lock) -> Work | None:
        """The next piece of work; waits for it. None: stop."""
        patience = IDLE_SECONDS
        while True:
            try:
                return self._waiting.popleft()
            except IndexError:
                pass
            if self._stopped:
                return None
            self._idle.append(park)
            # Work may have come between the look and the announcement.
            if self._waiting:
                self._withdraw(park)
            elif not park.acquire(timeout=patience) and self._withdraw(park):
                patience = -1
                self._rest(slot)

    def _rest(self, slot: Slot) -> None:
        try:
            self._on_idle(slot)
        except Exception:
            log_exception(logger, "A slot could not tidy up")

    def _withdraw(self, park: threading.Lock) -> bool:
        """Take back the announcement that a thread is idle.

        False: it was woken just then, and that wake-up is used up now.
        """
        try:
            self._idle.remove(park)
        except ValueError:
            park.acquire()
            return False
        return True

    def _wake(self) -> None:
        try:
            self._idle.pop().release()
        except IndexError:
            pass

    def _flush(self) -> None:
        """Send what has gathered; whoever finds another thread sending leaves it."""
        while self._reports and self._sending.acquire(blocking=False):
            try:
                batch: list[Any] = []
                while self._reports and len(batch) < 1_000:
                    batch.append(self._reports.popleft())
                if batch:
                    self._report(batch)
            finally:
                self._sending.release()

    def _keep_watch(self) -> None:
        finished, watched_at = -1, 0.0
        while not self._stopped:
            running = any(slot.number for slot in self.slots)
            if not (self._waiting or self._reports or running):
                self._busy.wait()
                self._busy.clear()
            pressing = self._waiting or self._reports
            time.sleep(STALL_SECONDS if pressing else WATCH_SECONDS)
            try:
                if self._reports:
                    self._flush()
                if time.monotonic() - watched_at >= WATCH_SECONDS:
                    watched_at = time.monotonic()
                    self._watch()
            except Exception:
                log_exception(logger, "The watchdog goes on after an error of its own")
            if self._waiting and self._finished == finished:
                self._wake()
            finished = self._finished
