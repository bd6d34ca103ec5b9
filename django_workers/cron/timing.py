"""The two kinds of timing, and the two questions each answers."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from django.utils.timezone import get_default_timezone

from ..exceptions import InvalidSchedule
from .expression import parse
from .slots import latest_slot, next_slot, utc, zone_named

SHORTEST_INTERVAL_SECONDS: Final = 1.0
LONGEST_INTERVAL_SECONDS: Final = 10 * 365.25 * 86_400

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def cron(expression: str, *, timezone: str | tzinfo | None = None) -> "Cron":
    """Fire at the times a cron expression names, on the clock of a time zone.

    `expression` has five fields (minute hour day-of-month month day-of-week) or six,
    with the seconds first; or is @hourly, @daily, @midnight, @weekly, @monthly, @yearly
    or @annually. `timezone` is an IANA name; None means the setting TIME_ZONE, looked
    up when the question is asked.

    A fixed time fires once per local day: where the clock skips it, at the first
    instant after the gap; where the clock repeats it, the first time. As soon as
    seconds, minutes or hours begin with ``*``, the schedule follows elapsed time
    instead.

    Raises InvalidSchedule for an expression that cannot be read or never fires, and for
    an unknown zone.
    """
    if isinstance(timezone, tzinfo):
        timezone = getattr(timezone, "key", None) or str(timezone)
    return Cron(expression, timezone)


def every(interval: float | timedelta) -> "Every":
    """Fire again and again, `interval` seconds (or a timedelta) apart.

    Raises InvalidSchedule for less than a second or more than ten years.
    """
    seconds = interval.total_seconds() if isinstance(interval, timedelta) else interval
    return Every(seconds)


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression on the clock of a zone; see cron()."""

    expression: str
    timezone: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.expression, str):
            raise InvalidSchedule(
                f"a cron expression is a string, not {type(self.expression).__name__}."
            )
        parse(self.expression)
        if self.timezone is not None:
            zone_named(self.timezone)

    def next_after(
        self, moment: datetime, *, anchor: datetime | None = None
    ) -> datetime | None:
        """Return the first slot strictly after *moment*; None if there is none.

        `anchor` is for intervals and has no meaning here. Raises InvalidSchedule when
        the zone is no longer known, ValueError for a naive datetime.
        """
        return next_slot(parse(self.expression), moment, self._zone())

    def latest_before(
        self, moment: datetime, *, anchor: datetime | None = None
    ) -> datetime | None:
        """Return the latest slot before *moment* or at it; None if there is none.

        Raises as next_after().
        """
        return latest_slot(parse(self.expression), moment, self._zone())

    def describe(self) -> str:
        """Say in English when it fires, for a tooltip."""
        zone = f" ({self.timezone})" if self.timezone else ""
        return f"{parse(self.expression).words}{zone}"

    def _zone(self) -> tzinfo:
        if self.timezone is None:
            return get_default_timezone()
        return zone_named(self.timezone)


@dataclass(frozen=True, slots=True)
class Every:
    """An interval in seconds; see every()."""

    seconds: float

    def __post_init__(self) -> None:
        seconds = self.seconds
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
            raise InvalidSchedule(
                f"an interval is seconds or a timedelta, not {type(seconds).__name__}."
            )
        if not SHORTEST_INTERVAL_SECONDS <= seconds <= LONGEST_INTERVAL_SECONDS:
            raise InvalidSchedule("an interval lies between 1 second and 10 years.")

    def next_after(
        self, moment: datetime, *, anchor: datetime | None = None
    ) -> datetime | None:
        """Return the first slot strictly after *moment*.

        Slots are anchor, anchor + interval, anchor + 2 x interval, ...; without an
        anchor they count from 1970, the same on every host. None past the year 9999.
        Raises ValueError for a naive datetime.
        """
        start, interval = self._grid(anchor)
        passed = (utc(moment) - start) // interval
        try:
            return start + max(0, passed + 1) * interval
        except OverflowError:
            return None

    def latest_before(
        self, moment: datetime, *, anchor: datetime | None = None
    ) -> datetime | None:
        """Return the latest slot before *moment* or at it; None before the anchor.

        Raises as next_after().
        """
        start, interval = self._grid(anchor)
        passed = (utc(moment) - start) // interval
        return start + passed * interval if passed >= 0 else None

    def describe(self) -> str:
        """Say in English when it fires, for a tooltip."""
        for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
            if self.seconds % size == 0:
                return _every(int(self.seconds // size), unit)
        if self.seconds == int(self.seconds):
            return _every(int(self.seconds), "second")
        return f"Every {self.seconds:g} seconds"

    def _grid(self, anchor: datetime | None) -> tuple[datetime, timedelta]:
        start = _EPOCH if anchor is None else utc(anchor)
        return start, timedelta(seconds=self.seconds)


def _every(count: int, unit: str) -> str:
    return f"Every {unit}" if count == 1 else f"Every {count} {unit}s"
