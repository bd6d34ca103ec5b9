"""Which chore is due when."""

import logging
import random
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from django.db import DatabaseError

from ...brokers import Broker, is_locked
from ...conf import RuntimeSettings
from ..lease import Trust, paused_queues
from .promoter import Promoter
from .pruner import Pruner
from .rescuer import Rescuer
from .scheduler import Scheduler

logger = logging.getLogger("django_workers.worker")

# The keeper looks at due times at least this often.
TICK_SECONDS: Final = 1.0
PRUNE_SECONDS: Final = 60.0
# A worker admits at its start. Another one may have looked for it just before, in vain,
# and park a job of its tasks just after.
ADMIT_SECONDS: Final = 10.0
# Half a second of deleting in two: with some thousands of jobs in each half second,
# retention keeps up with what a worker finishes.
PRUNE_AGAIN_SECONDS: Final = 1.5


class Chores:
    """All chores of one supervisor; the keeper's thread runs them."""

    def __init__(
        self,
        broker: Broker,
        *,
        session: UUID,
        settings: RuntimeSettings,
        tell: Callable[..., Any],
    ) -> None:
        """Run nothing yet; `tell` has signals sent where user code may run."""
        self._broker = broker
        self._settings = settings
        self._promoter = Promoter(broker)
        self._scheduler = Scheduler(broker, tell)
        self._rescuer = Rescuer(broker, session=session, tell=tell)
        self._pruner = Pruner(broker, settings)
        self._paused: list[str] = []
        self._due: dict[str, float] = {
            "rescue": 0.0,
            "admit": time.monotonic() + _jittered(ADMIT_SECONDS),
            "prune": time.monotonic() + _jittered(PRUNE_SECONDS),
        }

    def promoted_nothing_since(self, moment: float) -> bool:
        """Whether since then nothing was due, and nothing will be soon."""
        return self._promoter.found_nothing_since(moment)

    def declare(
        self, schedules: Sequence[Mapping[str, Any]], *, known: Iterable[str]
    ) -> None:
        """Bring the schedules that code declares into their table."""
        self._scheduler.declare(schedules, known=known)

    def schedule_count(self) -> int:
        """How many schedules are enabled."""
        return self._scheduler.count()

    def paused_queues(self) -> list[str]:
        """The queues nobody may claim from now, as far as it can be told."""
        self._patiently(self._look_for_pauses)
        return self._paused

    def _look_for_pauses(self) -> int:
        with self._broker.transaction():
            self._paused = paused_queues(self._broker)
        return len(self._paused)

    def run(
        self, trust: Trust, *, policies: Mapping[str, Any], names: Collection[str]
    ) -> bool:
        """Run what is due; `names` are the tasks this worker can run.

        Returns whether jobs became ready.
        """
        moved = self._patiently(lambda: self._scheduler.fire(policies)) > 0
        moved = self._patiently(self._promoter.promote) > 0 or moved
        if self._is_due("rescue", self._settings.stale_check_interval):
            moved = self._patiently(lambda: self._rescue(trust)) > 0 or moved
        if names and self._is_due("admit", ADMIT_SECONDS):
            moved = self._patiently(lambda: self._admit(names)) > 0 or moved
        if self._is_due("prune", PRUNE_SECONDS):
            self._patiently(self._prune)
        return moved

    def _rescue(self, trust: Trust) -> int:
        rescued, is_more = self._rescuer.rescue(trust)
        if is_more:
            self._due["rescue"] = 0.0
        return rescued

    def _admit(self, names: Collection[str]) -> int:
        """Release what was parked while this worker was still unknown to the parker."""
        with self._broker.transaction():
            return self._broker.admit(sorted(names))

    def _prune(self) -> int:
        if self._pruner.prune():
            self._due["prune"] = time.monotonic() + PRUNE_AGAIN_SECONDS
        return 0

    @staticmethod
    def _patiently(chore: Callable[[], int]) -> int:
        """Run a chore; if somebody holds a row it needs, leave it for the next time."""
        try:
            return chore()
        except DatabaseError as error:
            if not is_locked(error):
                raise
            logger.info("A chore waits for a locked row: %s", error)
            return 0

    def expect(self, seconds: float) -> bool:
        """Note that a job is due so soon; whether the keeper should look up."""
        return seconds < TICK_SECONDS and self._promoter.expect(seconds)

    def pause(self, most: float) -> float:
        """Seconds until the keeper is needed again, at most `most`."""
        rescue = self._due["rescue"] - time.monotonic()
        dues = (rescue, self._promoter.next_due, self._scheduler.next_due)
        return max(
            0.001, min(TICK_SECONDS, most, *(due for due in dues if due is not None))
        )

    def _is_due(self, chore: str, interval: float) -> bool:
        now = time.monotonic()
        if now < self._due[chore]:
            return False
        self._due[chore] = now + _jittered(interval)
        return True


def _jittered(interval: float) -> float:
    """The interval with some jitter, so that hosts do not march in step."""
    return interval * random.uniform(0.75, 1.25)
