"""A page of memory a child and its supervisor share, without locks.

The first word: every frame number up to here is revoked unless it has started. The
second: the child's pulse. Then, for each slot, the last frame number it has started and
the moment its body must end. The child writes all but the first word, which it reads,
the supervisor the other way round, and each writes before it reads; so that of a frame
that is recalled just as it starts, at least one side learns. It works while the child's
interpreter is held by C code, when no message would be answered.
"""

import mmap
import os
import tempfile
import time
from typing import Final

_WORD: Final = 8
_REVOKED: Final = 0
_PULSE: Final = 1
_FIRST_SLOT: Final = 2

# Longer than a store takes to become visible to another core, by far.
SETTLE_SECONDS: Final = 0.001


class SharedPage:
    """The page, from either side."""

    def __init__(self, fd: int, slots: int) -> None:
        """Map the page behind a descriptor; `slots` is how many the child has."""
        self.slots = slots
        self._map = mmap.mmap(fd, page_bytes(slots))
        self._words = memoryview(self._map).cast("Q")

    def start(self, slot: int, number: int) -> bool:
        """Note that a slot starts a frame; False if the frame was revoked.

        What was revoked leaves no trace: a whole queue of it may be dropped before the
        supervisor looks, and none of it must seem to have started.
        """
        words, mine = self._words, _FIRST_SLOT + slot
        if number <= words[_REVOKED]:
            return False
        words[mine + self.slots] = 0
        before = words[mine]
        words[mine] = number
        if number > words[_REVOKED]:
            return True
        words[mine] = before
        return False

    def must_end(self, slot: int, deadline: float) -> None:
        """Note by when the body in a slot must end, on the monotonic clock."""
        self._words[_FIRST_SLOT + self.slots + slot] = int(deadline * 1_000)

    def beat(self) -> None:
        """Show that the child's interpreter still runs other threads than a task's."""
        self._words[_PULSE] += 1

    def revoke(self, number: int) -> int:
        """Revoke every frame up to `number` that has not started.

        Returns the highest number that has: frames are started in order, so all above
        it will never run.
        """
        self._words[_REVOKED] = number
        time.sleep(SETTLE_SECONDS)
        return self.highest_started()

    def highest_started(self) -> int:
        """The highest frame number any slot has started."""
        return max(self.started())

    def started(self) -> list[int]:
        """The last frame number each slot has started; 0: none yet."""
        return list(self._words[_FIRST_SLOT : _FIRST_SLOT + self.slots])

    def overdue(self, moment: float) -> list[int]:
        """The last frames of the slots whose bodies had to end before that moment."""
        ends = self._words[_FIRST_SLOT + self.slots : _FIRST_SLOT + 2 * self.slots]
        return [
            number
            for number, end in zip(self.started(), ends, strict=True)
            if 0 < end < moment * 1_000
        ]

    @property
    def pulse(self) -> int:
        """A number that grows for as long as the child's interpreter works."""
        return int(self._words[_PULSE])

    def close(self) -> None:
        """Unmap the page."""
        self._words.release()
        self._map.close()


def page_bytes(slots: int) -> int:
    """The size of the page for a number of slots."""
    return _WORD * (_FIRST_SLOT + 2 * slots)


def new_page(slots: int) -> int:
    """Make an empty page; returns its descriptor, which no exec inherits."""
    with tempfile.TemporaryFile() as file:
        file.truncate(page_bytes(slots))
        return os.dup(file.fileno())
