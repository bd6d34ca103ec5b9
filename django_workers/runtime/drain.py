"""The end of a worker: finish what runs, give back the rest, or be quick about it."""

import threading
import time
from collections.abc import Callable
from typing import Final

from . import exits
from .completer import Completer
from .dispatcher import Dispatcher
from .keeper import Keeper
from .nursery import Nursery
from .status import Status

# How long a database may take at the end to answer what it is still asked.
CLOSE_SECONDS: Final = 5.0


class Drain:
    """Begun by `begin`, from any thread; minded by the main thread until it is over."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        completer: Completer,
        keeper: Keeper,
        nursery: Nursery,
        *,
        status: Status,
        patience: float,
        say: Callable[[str], None],
    ) -> None:
        """Let running jobs have `patience` seconds once the drain begins."""
        self._dispatcher = dispatcher
        self._completer = completer
        self._keeper = keeper
        self._nursery = nursery
        self._status = status
        self._patience = patience
        self._say = say
        self._hurry = False
        self._until = 0.0
        self._give_up_at: float | None = None
        self._lock = threading.Lock()

    def begin(self, reason: str) -> None:
        """Take nothing more, finish what runs, then stop."""
        with self._lock:
            if self._status.stopping.is_set():
                return
            self._until = time.monotonic() + self._patience
            self._keeper.stop_reason = reason
            self._status.stopping.set()
            self._dispatcher.hand_back_all()
        self._nursery.say_stopping()
        running = self._dispatcher.running_count
        if running:
            self._say(
                f"Draining: waiting up to {self._patience:g} s for "
                f"{running} running job{'s' if running != 1 else ''}. "
                "Ctrl+C again stops now."
            )
        self._status.keeper_event.set()
        self._dispatcher.room_event.set()

    def hurry(self) -> None:
        """Wait for running jobs no longer."""
        self._hurry = True

    def mind(self) -> None:
        """End the drain: cleanly, or by force once its time is up."""
        with self._lock:
            self._mind()

    def _mind(self) -> None:
        now = time.monotonic()
        # Not while a claim is under way: what it brings must go back first.
        idle = not self._status.claiming.locked()
        if idle and not self._dispatcher.held_count:
            self._finish()
        elif self._hurry or now > self._until:
            self._use_force(now)
        if self._give_up_at is not None and now > self._give_up_at:
            self._status.exit_code = exits.DATABASE
            self._say(
                "The database did not answer: what could not be recorded runs again "
                "once this worker's lease has run out."
            )
            self._status.done.set()

    def _use_force(self, now: float) -> None:
        # Whoever had all the time of the drain need not be asked again.
        away = self._completer.is_waiting and not self._hurry
        self._hurry, self._until = False, now  # only the database can hold us up now
        for link in self._dispatcher.links:
            if not link.killed:
                self._nursery.kill(link)
        if self._give_up_at is None:
            self._give_up_at = now + (0.0 if away else CLOSE_SECONDS)

    def _finish(self) -> None:
        """Nothing is held any more: give up the lease and end."""
        if self._give_up_at is None:
            self._give_up_at = time.monotonic() + CLOSE_SECONDS
        if self._status.registered.is_set() and not self._status.closed.is_set():
            self._status.closing.set()
            self._status.keeper_event.set()
            return
        self._say(
            f"Stopped: {self._completer.finished} finished, "
            f"{self._dispatcher.handed_back} handed back."
        )
        self._status.done.set()
