"""What an executor owes the child that uses it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, ClassVar

# One job as it arrives: its frame number and the rest, which executors do not read.
Work = tuple[int, Any]


@dataclass(slots=True)
class Slot:
    """Room for one running job, and what the watchdog needs to know of it."""

    index: int
    # The frame number being run; 0: none.
    number: int = 0
    # time.monotonic() at which the attempt times out; None: never.
    deadline: float | None = None
    # What stops the body: injects an exception class, or cancels a coroutine.
    stop: Callable[[type[BaseException]], None] | None = None
    # time.monotonic() at which a cancelled body gets its exception; None: not asked.
    cancel_at: float | None = None
    # The exception class the body was asked to end with, and when first.
    asked: type[BaseException] | None = None
    asked_at: float = 0.0
    # Told to the supervisor that the body ignores us.
    reported: bool = False
    lock: Lock = field(default_factory=Lock)

    def ask(self, error: type[BaseException], *, now: float) -> None:
        """Ask the body, if one is running, to end with this exception.

        Once: a second one would hit it while it cleans up.
        """
        with self.lock:
            if self.stop is not None and self.asked is None:
                self.asked, self.asked_at = error, now
                self.stop(error)

    def open(
        self,
        stop: Callable[[type[BaseException]], None],
        *,
        deadline: float | None,
    ) -> None:
        """The body starts and can be stopped from now on."""
        with self.lock:
            self.stop = stop
            self.deadline = deadline
            self.cancel_at = None
            self.asked = None
            self.reported = False

    def close(self) -> None:
        """The body has ended: nobody may stop it any more."""
        with self.lock:
            self.stop = None
            self.deadline = None
            self.cancel_at = None


class Executor:
    """Runs work in slots by calling `run(slot, payload)`, which never raises.

    Reports are handed to `report` in batches; `start` is asked right before each run
    and says whether the work may still start.
    """

    # Can a sync task be stopped against its will?
    can_stop_sync: ClassVar[bool] = False
    # Can a coroutine be cancelled?
    can_cancel_async: ClassVar[bool] = False
    # Does it run several jobs at a time?
    is_concurrent: ClassVar[bool] = False

    def __init__(
        self,
        *,
        slots: int,
        run: Callable[[Slot, Any], Any],
        start: Callable[[int, int], bool],
        dropped: Callable[[int], Any],
        report: Callable[[list[Any]], None],
    ) -> None:
        """Prepare `slots` slots; start nothing."""
        self.slots = [Slot(index) for index in range(slots)]
        self._run = run
        self._start = start
        self._dropped = dropped
        self._report = report

    def put(self, work: Iterable[Work]) -> None:
        """Take work, in order."""
        raise NotImplementedError

    def stop(self) -> None:
        """End the slots once they are idle. The default has nothing to end."""

    def _perform(self, slot: Slot, number: int, payload: Any) -> Any:
        """Run one piece of work in a slot, unless it was revoked; its report."""
        if not self._start(slot.index, number):
            return self._dropped(number)
        slot.number = number
        try:
            return self._run(slot, payload)
        finally:
            slot.number = 0
