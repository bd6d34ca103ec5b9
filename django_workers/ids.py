"""Job ids: UUIDv7, which sort by the moment they were made.

New rows land at the right edge of the primary key's index, and an id tells how old its
job is, so lists can be paged by id alone.
"""

import os
from datetime import UTC, datetime, timedelta
from random import Random
from threading import RLock
from time import time_ns
from typing import Final
from uuid import UUID

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_VERSION_7: Final = 7 << 76
_VARIANT: Final = 0b10 << 62

# Below the timestamp stand 74 free bits: 12 above the variant, 62 below.
_LOW_BITS: Final = 62
_LOW_MASK: Final = (1 << _LOW_BITS) - 1
_FREE_BITS: Final = 74
_FREE_END: Final = 1 << _FREE_BITS
# A fresh millisecond starts in the lower half, which leaves room to count upwards.
_START_MASK: Final = (1 << (_FREE_BITS - 1)) - 1
# Ids of one millisecond stand a random step apart: nobody can name a neighbour's id.
_STEP_BITS: Final = 32

# Reentrant: a finalizer that enqueues may run in the middle of uuid7().
_lock = RLock()
_millisecond = -1
_counter = 0
# Four times as fast as asking the system for each step; seeded by it.
_steps = Random()


def uuid7() -> UUID:
    """Make a UUIDv7 above every other one this process has made.

    While the clock stands still or has gone back, the last timestamp is kept and the
    random part counts upwards. Safe in threads and after a fork.
    """
    global _millisecond, _counter
    now = time_ns() // 1_000_000
    with _lock:
        if now > _millisecond:
            _millisecond = now
            _counter = int.from_bytes(os.urandom(10)) & _START_MASK
        else:
            _counter += 1 + _steps.getrandbits(_STEP_BITS)
            if _counter >= _FREE_END:
                _millisecond += 1
                _counter = int.from_bytes(os.urandom(10)) & _START_MASK
        millisecond, counter = _millisecond, _counter
    return _compose(millisecond, counter)


def uuid7_floor(moment: datetime) -> UUID:
    """Return the smallest UUIDv7 of the millisecond that *moment* lies in.

    ``id__lt=uuid7_floor(moment)`` finds what was made before it. Instants before 1970
    count as 1970. Raises ValueError for a naive datetime.
    """
    if moment.utcoffset() is None:
        raise ValueError(f"moment must be an aware datetime, not {moment!r}.")
    return _compose(max(0, (moment - _EPOCH) // _MILLISECOND), 0)


def _compose(millisecond: int, counter: int) -> UUID:
    high, low = counter >> _LOW_BITS, counter & _LOW_MASK
    return UUID(int=millisecond << 80 | _VERSION_7 | high << 64 | _VARIANT | low)


def _start_over() -> None:
    """Forget the parent's lock, which may be held, its counter and its dice."""
    global _lock, _millisecond, _counter, _steps
    _lock = RLock()
    _millisecond, _counter = -1, 0
    _steps = Random()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over)
