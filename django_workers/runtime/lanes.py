"""Which lanes a worker claims from, in which order, and from which position on.

A lane is a (queue, priority) with ready jobs. Its floor is a lower bound on position:
under somebody's open snapshot the index keeps an entry for every job claimed since, and
a claim without a floor reads them all. But a position is drawn when a job is inserted
and seen when its transaction commits, so the floor trails: the highest position a claim
took becomes the floor once every transaction that claim could not see has ended. A
floor is a hint; a rescan from zero finds whatever slipped below one.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from ..brokers import Claim, Lane

# When the oldest open transaction stands still for this long, older marks are used.
STILL_SECONDS: Final = 1.0
# A lane is rescanned from zero at most this often, and all rescans together take at
# most this share of time.
RESCAN_SECONDS: Final = 1.0
RESCAN_SHARE: Final = 0.05
# But not less often than this, whatever one of them took: it may have waited for a
# database that was away.
MOST_RESCAN_PAUSE_SECONDS: Final = 10.0
# More marks than this are thinned out.
MOST_MARKS: Final = 1_000
# How long an empty lane is remembered, for the sake of its floor.
MEMORY_SECONDS: Final = 60.0


@dataclass(slots=True)
class _Mark:
    """A claim's reach: `high` is safe once all transactions below `xmax` ended."""

    xmax: int
    high: int
    at: float


@dataclass(slots=True)
class _LaneState:
    floor: int = 0
    high: int = 0
    marks: deque[_Mark] = field(default_factory=deque)
    # The last claim found nothing here.
    empty: bool = False
    # When the lane last had jobs; its floor is worth keeping for a while.
    seen_at: float = 0.0
    # The number of the last claim that took jobs here.
    served: int = 0
    # When a claim last looked at it from zero on.
    rescanned_at: float = 0.0


class Lanes:
    """The lanes one worker knows. Not thread-safe: one thread owns it."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        queues: Sequence[str] = (),
        excluded_queues: Collection[str] = (),
    ) -> None:
        """Know no lane yet.

        `queues` are strict in the order given, and the only ones; none given: every
        queue but the excluded ones, none before another.
        """
        self._clock = clock
        self._rank = {queue: place for place, queue in enumerate(queues)}
        self._excluded = frozenset(excluded_queues)
        self._paused: frozenset[str] = frozenset()
        self._states: dict[Lane, _LaneState] = {}
        self._turn = 0
        self._xmin = 0
        self._xmin_since = 0.0
        self._next_rescan_at = 0.0

    def serves(self, queue: str) -> bool:
        """Whether the worker takes jobs of this queue at all."""
        return (queue in self._rank) if self._rank else queue not in self._excluded

    def pause(self, queues: Iterable[str]) -> None:
        """Leave these queues alone, and only these."""
        self._paused = frozenset(queues)

    def hear(self, lane: Lane) -> None:
        """A hint says that a lane has ready jobs."""
        if self.serves(lane.queue):
            self._state(lane).empty = False

    def discovered(self, lanes: Iterable[Lane]) -> None:
        """These lanes, and no others, have ready jobs now.

        One that a claim had found empty hides jobs below its floor: the floor goes.
        """
        now = self._clock()
        found = {lane for lane in lanes if self.serves(lane.queue)}
        for lane, state in list(self._states.items()):
            if lane in found:
                continue
            state.empty = True
            if now - state.seen_at > MEMORY_SECONDS:
                del self._states[lane]
        for lane in found:
            if lane in self._states and self._states[lane].empty:
                del self._states[lane]
            self._state(lane)

    def handed_back(self, lanes: Iterable[Lane]) -> None:
        """Jobs returned to their old places, perhaps below the floor."""
        for lane in lanes:
            if self.serves(lane.queue):
                self._states.pop(lane, None)
                self._state(lane)

    def forget(self) -> None:
        """Know no lane; the next discovery starts afresh."""
        self._states.clear()

    def _state(self, lane: Lane) -> _LaneState:
        state = self._states.get(lane)
        if state is None:
            now = self._clock()
            state = self._states[lane] = _LaneState(seen_at=now, rescanned_at=now)
        return state

    @property
    def any_open(self) -> bool:
        """Whether some lane may have jobs, as far as is known."""
        return any(
            not state.empty and lane.queue not in self._paused
            for lane, state in self._states.items()
        )

    def in_claim_order(self) -> list[tuple[Lane, int]]:
        """The lanes to claim from with their floors.

        Queue order first where it is strict, then priority; of equal lanes the one
        that has been waiting longest for its turn.
        """
        lanes = [
            lane
            for lane, state in self._states.items()
            if not state.empty and lane.queue not in self._paused
        ]
        lanes.sort(key=lambda lane: (*self.rank_of(lane), self._states[lane].served))
        self._turn += 1
        now = self._clock()
        return [(lane, self._floor_of(lane, now)) for lane in lanes]

    def _floor_of(self, lane: Lane, now: float) -> int:
        """The lane's floor; zero when a rescan is due."""
        state = self._states[lane]
        is_due = now - state.rescanned_at >= RESCAN_SECONDS
        return 0 if is_due and now >= self._next_rescan_at else state.floor

    def rank_of(self, lane: Lane) -> tuple[int, int]:
        """Sorts jobs of several lanes as a claim would have met them."""
        return (self._rank.get(lane.queue, 0), -lane.priority)

    def claimed(
        self,
        asked: Sequence[tuple[Lane, int]],
        claim: Claim,
        *,
        limit: int,
        seconds: float,
    ) -> None:
        """Learn from a claim: which lanes are empty, how far the others reach."""
        now = self._clock()
        by_task = bool(asked and asked[0][0].task)
        reach: dict[Lane, int] = {}
        for job in claim.jobs:
            lane = Lane(job.queue, job.priority, job.task if by_task else "")
            reach[lane] = max(reach.get(lane, 0), job.position)
        cut = len(claim.jobs) >= limit
        last = next((lane for lane, _ in reversed(asked) if lane in reach), None)
        self._note_snapshot(claim, now)
        for lane, floor in asked:
            state = self._states.get(lane)
            if state is None:
                continue
            if floor == 0:
                state.rescanned_at = now
            if floor < state.floor:
                pause = min(MOST_RESCAN_PAUSE_SECONDS, seconds / RESCAN_SHARE)
                self._next_rescan_at = now + pause
                if cut and lane == last and reach[lane] < state.floor:
                    # More jobs slipped below the floor than one claim can take.
                    self._start_afresh(state)
            if lane not in reach:
                state.empty = True
            else:
                state.seen_at, state.served = now, self._turn
                self._advance(
                    state,
                    claim,
                    reach=reach[lane],
                    whole=not (cut and lane == last),
                    now=now,
                )
            if cut and lane == last:
                break

    def _start_afresh(self, state: _LaneState) -> None:
        """Let the lane's floor begin to trail again from zero."""
        state.floor = state.high = 0
        state.marks.clear()

    def _note_snapshot(self, claim: Claim, now: float) -> None:
        if claim.xmin is not None and claim.xmin != self._xmin:
            self._xmin, self._xmin_since = claim.xmin, now

    def _advance(
        self, state: _LaneState, claim: Claim, *, reach: int, whole: bool, now: float
    ) -> None:
        if claim.xmin is None or claim.xmax is None:
            return
        state.high = max(state.high, reach)
        state.marks.append(_Mark(claim.xmax, state.high, now))
        stands_still = now - self._xmin_since >= STILL_SECONDS
        # A claim that its limit cut short has only emptied the lane up to its reach.
        safe = state.high if whole else reach
        while state.marks:
            mark = state.marks[0]
            ended = mark.xmax <= claim.xmin
            old = stands_still and now - mark.at >= STILL_SECONDS
            if not (ended or old) or mark.high > safe:
                break
            state.floor = max(state.floor, state.marks.popleft().high)
        if len(state.marks) > MOST_MARKS:
            # Not the oldest ones: they are the next to be used.
            state.marks = deque(islice(state.marks, 0, None, 2))
