"""A page of memory a child and its supervisor share, without locks.

Word 0: every frame number up to here is revoked unless it has started. Word 1 + n: the
last frame number slot n has started. The child writes its slots and reads word 0, the
supervisor the other way round, and each writes before it reads; so that of a frame that
is recalled just as it starts, at least one side learns. It works while the child's
interpreter is held by C code, when no message would be answered.
"""

import mmap
import os
import tempfile
import time
from typing import Final

_WORD: Final = 8

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
        words, mine = self._words, 1 + slot
        if number <= words[0]:
            return False
        before = words[mine]
        words[mine] = number
        if number > words[0]:
            return True
        words[mine] = before
        return False

    def revoke(self, number: int) -> int:
        """Revoke every frame up to `number` that has not started.

        Returns the highest number that has: frames are started in order, so all above
        it will never run.
        """
        self._words[0] = number
        time.sleep(SETTLE_SECONDS)
        return self.highest_started()

    def highest_started(self) -> int:
        """The highest frame number any slot has started."""
        return max(self._words[1 : 1 + self.slots])

    def started(self) -> list[int]:
        """The last frame number each slot has started; 0: none yet."""
        return list(self._words[1 : 1 + self.slots])

    def close(self) -> None:
        """Unmap the page."""
        self._words.release()
        self._map.close()


def page_bytes(slots: int) -> int:
    """The size of the page for a number of slots."""
    return _WORD * (1 + slots)


def new_page(slots: int) -> int:
    """Make an empty page; returns its descriptor, which no exec inherits."""
    with tempfile.TemporaryFile() as file:
        file.truncate(page_bytes(slots))
        return os.dup(file.fileno())
