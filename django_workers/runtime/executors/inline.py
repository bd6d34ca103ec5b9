"""Run jobs in the caller's thread, one after another."""

from collections.abc import Iterable

from .base import Executor, Work


class InlineExecutor(Executor):
    """The executor for tests: put() returns when everything has run."""

    def put(self, work: Iterable[Work]) -> None:
        """Run the work here and now."""
        for number, payload in work:
            self._report([self._perform(self.slots[0], number, payload)])
