"""Slots: the instants at which the clock of a time zone shows a time named by cron.

A clock that is put forward leaves out readings (a gap), one that is put back shows some
of them again. cronsim has rules for both, but they leave out expressions with seconds
and lose slots where the clock moves by half an hour; so the zones are ours.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from difflib import get_close_matches
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from ..exceptions import InvalidSchedule
from .expression import Times

_SECOND: Final = timedelta(seconds=1)
# Local clocks differ by 26 hours at most, so no clock is ever moved further than this.
_FARTHEST_MOVE: Final = timedelta(hours=30)
# Two moves of one clock are further apart than this: a week at least since 1970.
_CALM: Final = timedelta(days=1)


def next_slot(times: Times, moment: datetime, zone: tzinfo) -> datetime | None:
    """Return the first slot after *moment*, in UTC; None if there is none."""
    find = _next_fixed if times.fixed else _next_flowing
    return _within_calendar(find, times, moment, zone)


def latest_slot(times: Times, moment: datetime, zone: tzinfo) -> datetime | None:
    """Return the latest slot up to *moment*, in UTC; None if there is none."""
    find = _latest_fixed if times.fixed else _latest_flowing
    return _within_calendar(find, times, moment, zone)


def zone_named(name: str) -> ZoneInfo:
    """Return the zone of that IANA name; raise InvalidSchedule for an unknown one."""
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, TypeError, OSError):
        pass
    known = {zone.lower(): zone for zone in available_timezones()}
    near = get_close_matches(str(name)[:100].lower(), known, n=1)
    hint = f" Did you mean {known[near[0]]!r}?" if near else ""
    raise InvalidSchedule(f"{str(name)[:100]!r} is no known time zone.{hint}")


def utc(moment: datetime) -> datetime:
    """Return *moment* in UTC; raise ValueError if it is naive."""
    if moment.utcoffset() is None:
        raise ValueError(f"moment must be an aware datetime, not {moment!r}.")
    return moment.astimezone(UTC)


def _within_calendar(
    find: Callable[[Times, datetime, tzinfo], datetime],
    times: Times,
    moment: datetime,
    zone: tzinfo,
) -> datetime | None:
    """Let *find* search from the whole second of *moment*; None past the years 1-9999.

    Slots are whole seconds, so none lies between that second and the moment.
    """
    try:
        return find(times, utc(moment).replace(microsecond=0), zone)
    except (StopIteration, OverflowError):
        return None


def _next_fixed(times: Times, moment: datetime, zone: tzinfo) -> datetime:
    reading = _latest_reading(moment, zone)
    while True:
        reading = times.first_after(reading)
        instant = _instant_of(reading, zone)
        if instant is None:
            reading = _day_start(reading) + timedelta(days=1) - _SECOND
        elif instant > moment:
            return instant


def _latest_fixed(times: Times, moment: datetime, zone: tzinfo) -> datetime:
    reading = _latest_reading(moment, zone)
    while True:
        reading = times.last_until(reading)
        instant = _instant_of(reading, zone)
        if instant is None:
            reading = _day_start(reading)
        elif instant <= moment:
            return instant
        reading -= _SECOND


def _latest_reading(moment: datetime, zone: tzinfo) -> datetime:
    """Return the latest reading the clock has shown up to *moment*.

    That is the one it shows, except while it repeats itself: then it is the last one
    before it was moved back.
    """
    local = moment.astimezone(zone)
    if local.fold:
        first_time = local.replace(fold=0).astimezone(UTC)
        local = (_move(zone, first_time, moment) - _SECOND).astimezone(zone)
    return local.replace(tzinfo=None)


def _instant_of(reading: datetime, zone: tzinfo) -> datetime | None:
    """Return when the clock first shows *reading* or, in a gap, something later.

    None if it skips the whole day: a day that is not has no runs.
    """
    local = reading.replace(tzinfo=zone)
    instant = local.astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == reading:
        return instant
    # In a gap, fold=0 counts with the clock before it and fold=1 with the one after.
    moved = _move(zone, local.replace(fold=1).astimezone(UTC), instant)
    day_before = (moved - _SECOND).astimezone(zone).date()
    if day_before < reading.date() < moved.astimezone(zone).date():
        return None
    return moved


def _day_start(reading: datetime) -> datetime:
    return reading.replace(hour=0, minute=0, second=0)


def _next_flowing(times: Times, moment: datetime, zone: tzinfo) -> datetime:
    at = moment + _SECOND
    while True:
        offset = _offset(zone, at)
        slot = _as_instant(times.first_from(_as_reading(at, offset)), offset)
        # While the clock stays as it is, the slot is right. A clock that is moved may
        # show a matching time earlier, but only near either end of a long wait.
        far = slot - at > 2 * _FARTHEST_MOVE
        moves = _moves(zone, at, at + _FARTHEST_MOVE if far else slot)
        moved = next(moves, None)
        if moved is not None:
            at = moved
        elif far:
            at = slot - _FARTHEST_MOVE
        else:
            return slot


def _latest_flowing(times: Times, moment: datetime, zone: tzinfo) -> datetime:
    at = moment
    while True:
        offset = _offset(zone, at)
        slot = _as_instant(times.last_until(_as_reading(at, offset)), offset)
        far = at - slot > 2 * _FARTHEST_MOVE  # as in _next_flowing
        moves = [*_moves(zone, at - _FARTHEST_MOVE if far else slot, at)]
        if moves:
            at = moves[-1] - _SECOND
        elif far:
            at = slot + _FARTHEST_MOVE
        else:
            return slot


def _moves(zone: tzinfo, start: datetime, end: datetime) -> Iterator[datetime]:
    """Yield the instants after *start*, up to *end*, at which the clock is moved."""
    while start < end:
        step = min(start + _CALM, end)
        if _offset(zone, start) != _offset(zone, step):
            yield _move(zone, start, step)
        start = step


def _move(zone: tzinfo, before: datetime, after: datetime) -> datetime:
    """Return the first instant on the clock of *after*, which *before* is not on."""
    old = _offset(zone, before)
    low, high = 0, (after - before) // _SECOND
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, before + middle * _SECOND) == old:
            low = middle
        else:
            high = middle
    return before + high * _SECOND


def _offset(zone: tzinfo, instant: datetime) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta(0)


def _as_reading(instant: datetime, offset: timedelta) -> datetime:
    return instant.replace(tzinfo=None) + offset


def _as_instant(reading: datetime, offset: timedelta) -> datetime:
    return (reading - offset).replace(tzinfo=UTC)
