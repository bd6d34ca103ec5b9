"""A child as its supervisor sees it: what it holds, how fast it works."""

import socket
import time
from dataclasses import dataclass, field
from typing import Any, Final

from ..brokers import ClaimedJob
from . import wire
from .page import SharedPage
from .wire import Wire

# A child holds its free slots and at most this much work beyond them.
AHEAD_SECONDS: Final = 0.010
# Without a report for so long, what waits behind the slots is taken back.
STALL_SECONDS: Final = 0.025
# A child that runs jobs shows a sign of life twenty times a second.
SILENCE_SECONDS: Final = 1.0
# What a job costs a child beside its body: arguments, signals, report. (Measured: 15 to
# 25 us; taken generously, since it only bounds the look-ahead.)
OVERHEAD_SECONDS: Final = 0.000_030
# Weight of the latest report in the mean run time.
_WEIGHT: Final = 0.2


@dataclass(slots=True)
class Speed:
    """How long a job of a child takes, and so how many are a few milliseconds' work.

    It does not look at how many jobs finish per second: that would only say how many
    were sent, and a slow database would talk the look-ahead down to nothing.
    """

    # Mean run time of a job, in seconds; None: unknown.
    duration: float | None = None

    def finished(self, count: int, seconds: float) -> None:
        """`count` jobs have finished after `seconds` of run time in all."""
        mean = seconds / count
        self.duration = (
            mean
            if self.duration is None
            else self.duration + _WEIGHT * (mean - self.duration)
        )

    def ahead(self) -> int:
        """How many jobs are AHEAD_SECONDS of work; none where jobs run longer."""
        if self.duration is None or self.duration > AHEAD_SECONDS:
            return 0
        return int(AHEAD_SECONDS / (self.duration + OVERHEAD_SECONDS))

    def stalled(self) -> None:
        """Work stands still: forget the speed."""
        self.duration = None


@dataclass(slots=True, kw_only=True)
class ChildLink:
    """One child: its wire, its page, and the jobs it has been sent."""

    index: int
    pid: int
    slots: int
    wire: Wire
    page: SharedPage
    prefetch: bool = True
    # It has said hello.
    ready: bool = False
    # It gets no more jobs and is killed once it is empty.
    retiring: bool = False
    # It is kept for jobs that must run alone.
    alone: bool = False
    # Killed on purpose: what it was running was interrupted, it did not crash.
    killed: bool = False
    # The jobs sent and not reported, by frame number, in order.
    held: dict[int, ClaimedJob] = field(default_factory=dict)
    # Jobs given up on: their bodies still run but no report will count.
    abandoned: set[int] = field(default_factory=set)
    speed: Speed = field(default_factory=Speed)
    reported_at: float = field(default_factory=time.monotonic)
    # When somebody asked for a job to be cancelled, by frame number.
    cancels: dict[int, float] = field(default_factory=dict)
    _pulse: int = -1
    _pulse_at: float = 0.0
    _number: int = 0

    @classmethod
    def adopt(
        cls, *, index: int, pid: int, slots: int, sock: socket.socket, page_fd: int
    ) -> "ChildLink":
        """Take over the ends of a child that has just been started."""
        return cls(
            index=index,
            pid=pid,
            slots=slots,
            wire=Wire(sock, waits=False),
            page=SharedPage(page_fd, slots),
        )

    @property
    def takes_jobs(self) -> bool:
        """Whether it takes part in the sharing out of jobs."""
        return self.ready and not self.retiring and not self.alone

    @property
    def is_empty(self) -> bool:
        """Whether nothing runs or waits there."""
        return not self.held and not self.abandoned

    @property
    def free_slots(self) -> int:
        """Slots nothing has been sent for."""
        if not self.takes_jobs:
            return 0
        return max(0, self.slots - len(self.held) - len(self.abandoned))

    @property
    def room(self) -> int:
        """How many more jobs it may hold, look-ahead included."""
        if not self.takes_jobs:
            return 0
        ahead = self.speed.ahead() if self.prefetch else 0
        return max(0, self.slots + ahead - len(self.held) - len(self.abandoned))

    def send(self, jobs: list[tuple[ClaimedJob, Any]]) -> None:
        """Send jobs with their histories; raises OSError when the child is gone."""
        frame = []
        for job, history in jobs:
            self._number += 1
            self.held[self._number] = job
            frame.append((self._number, tuple(job), history))
        if len(self.held) == len(frame):
            self.reported_at = time.monotonic()  # it had nothing to report before
        self.wire.send(wire.JOBS, frame)

    def overdue(self, now: float, *, grace: float) -> dict[int, bool]:
        """The jobs of a child that shows no sign of life and must end them by now.

        By frame number: True if the job's time is up, False if it is to be cancelled.
        A child that lives minds them itself; one whose interpreter is held by C code,
        or that is stopped, cannot.
        """
        pulse = self.page.pulse
        if pulse != self._pulse or not self.held:
            self._pulse, self._pulse_at = pulse, now
            return {}
        if now - self._pulse_at < SILENCE_SECONDS:
            return {}
        late = dict.fromkeys(self.page.overdue(now - grace), True)
        asked = [n for n, at in self.cancels.items() if now - at > grace]
        found = {**dict.fromkeys(asked, False), **late}
        return {number: found[number] for number in found if number in self.held}

    def is_stalled(self, now: float) -> bool:
        """Whether jobs wait behind slots that have not moved for a while."""
        return len(self.held) > self.slots and now - self.reported_at > STALL_SECONDS

    def recall(self) -> list[ClaimedJob]:
        """Take back what has not started; the child will not run it."""
        if not self.held:
            return []
        highest = self.page.revoke(self._number)
        numbers = [number for number in self.held if number > highest]
        return [self.held.pop(number) for number in numbers]

    def split(self) -> tuple[list[ClaimedJob], list[ClaimedJob]]:
        """What it still held when it died: (started, never started)."""
        highest = self.page.highest_started()
        started = [job for number, job in self.held.items() if number <= highest]
        unstarted = [job for number, job in self.held.items() if number > highest]
        self.held.clear()
        return started, unstarted

    def close(self) -> None:
        """Close both ends."""
        self.wire.close()
        self.page.close()
