"""The chart of the dashboard: numbers in, coordinates out; the template draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

WIDTH: Final = 600
HEIGHT: Final = 120
# Share of a minute's width that is left empty between two bars.
_GAP: Final = 0.2
# What is there at all is never thinner than this.
_LEAST: Final = 1.5
# Share of the height that a number beside it takes.
_LINE: Final = 0.12


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One minute: successes rise from the baseline, failures hang below it."""

    minute: datetime
    successful: int
    failed: int
    # Where the minute's column begins, and its bar within it.
    column: float
    x: float
    top: float
    up: float
    down: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A number beside the chart, and how far down it stands, in percent."""

    number: int
    percent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart in a box of WIDTH by HEIGHT, both halves on one scale."""

    bars: list[Bar]
    column_width: float
    bar_width: float
    baseline: float
    # Numbers at the upper and the lower end of the scale.
    most_successful: int
    most_failed: int
    successful: int
    failed: int
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def marks(self) -> list[Mark]:
        """Zero at the baseline, and the ends of the scale that stand clear of it."""
        ends = (self.most_successful, 0.0), (self.most_failed, float(self.height))
        zero = Mark(number=0, percent=round(100 * self.baseline / self.height, 2))
        return [zero] + [
            Mark(number=number, percent=100 * y / self.height)
            for number, y in ends
            if number and abs(y - self.baseline) > _LINE * self.height
        ]

    @property
    def scale_width(self) -> float:
        """What the longest number takes, in em: a digit is narrower than one."""
        return round(0.65 * len(f"{max(self.most_successful, self.most_failed):,}"), 2)

    @property
    def busy_minutes(self) -> list[Bar]:
        """The minutes in which anything ended, newest first: the table beside it."""
        return [bar for bar in reversed(self.bars) if bar.successful or bar.failed]


def throughput_chart(minutes: Sequence[Mapping[str, Any]]) -> Chart:
    """Draw what `stats.throughput()` returns."""
    most_successful = _round_up(max((row["successful"] for row in minutes), default=0))
    most_failed = _round_up(max((row["failed"] for row in minutes), default=0))
    scale = HEIGHT / ((most_successful + most_failed) or 1)
    baseline = most_successful * scale if most_successful or most_failed else HEIGHT
    column = WIDTH / (len(minutes) or 1)
    bars = []
    for number, row in enumerate(minutes):
        up = _length(row["successful"], scale)
        bars.append(
            Bar(
                minute=row["minute"],
                successful=row["successful"],
                failed=row["failed"],
                column=round(number * column, 2),
                x=round((number + _GAP / 2) * column, 2),
                top=round(max(0.0, baseline - up), 2),
                up=up,
                down=_length(row["failed"], scale),
            )
        )
    return Chart(
        bars=bars,
        column_width=round(column, 2),
        bar_width=round(column * (1 - _GAP), 2),
        baseline=round(baseline, 2),
        most_successful=most_successful,
        most_failed=most_failed,
        successful=sum(row["successful"] for row in minutes),
        failed=sum(row["failed"] for row in minutes),
    )


def _length(count: int, scale: float) -> float:
    return round(max(_LEAST, count * scale), 2) if count else 0.0


def _round_up(number: int) -> int:
    """The next number of one round digit and zeros."""
    if number <= 0:
        return 0
    size = 1
    while True:
        for step in (1, 2, 3, 4, 5, 6, 8):
            if number <= step * size:
                return step * size
        size *= 10
