"""Cron expressions as readings of a plain wall clock, one without a time zone.

cronsim reads the expressions and walks the calendar.
"""

import copy
from datetime import datetime, timedelta
from difflib import get_close_matches
from functools import lru_cache
from typing import Final

from cronsim import CronSim, CronSimError

from ..exceptions import InvalidSchedule

EXPRESSION_LIMIT: Final = 256

ALIASES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

_SECOND: Final = timedelta(seconds=1)
# Where searches start; a reading, not an instant.
_ORIGIN: Final = datetime(2024, 1, 1)  # noqa: DTZ001


class Times:
    """A parsed expression: the readings of a wall clock without a zone it names.

    Readings are naive datetimes in whole seconds. The methods raise StopIteration when
    fifty years hold no match.
    """

    def __init__(self, expression: str) -> None:
        self._ahead = CronSim(expression, _ORIGIN)
        self._back = CronSim(expression, _ORIGIN, reverse=True)
        times_of_day = self._ahead.parts[:3]
        self.fixed = not any(field.startswith("*") for field in times_of_day)
        self.words = _words(self._ahead, expression)

    def first_after(self, reading: datetime) -> datetime:
        """Return the first match after *reading*."""
        search = copy.copy(self._ahead)
        search.dt = reading
        return next(search)

    def first_from(self, reading: datetime) -> datetime:
        """Return the first match at *reading* or after it."""
        return self.first_after(reading - _SECOND)

    def last_until(self, reading: datetime) -> datetime:
        """Return the last match at *reading* or before it."""
        search = copy.copy(self._back)
        search.dt = reading + _SECOND
        return next(search)


@lru_cache(maxsize=1024)
def parse(expression: str) -> Times:
    """Read an expression or an alias such as @daily.

    Raises InvalidSchedule when it cannot be read or never fires.
    """
    if len(expression) > EXPRESSION_LIMIT:
        raise InvalidSchedule(
            f"a cron expression has at most {EXPRESSION_LIMIT} characters, this one "
            f"{len(expression):,}."
        )
    fields = expression.split()
    if fields and fields[0].startswith("@"):
        fields = _of_alias(expression).split()
    if len(fields) not in (5, 6):
        raise InvalidSchedule(
            f"{expression!r} has {len(fields)} fields; a cron expression has five "
            "(minute hour day month weekday), or six with the seconds first."
        )
    try:
        times = Times(" ".join(fields))
        times.first_after(_ORIGIN)
    except CronSimError as error:
        if not _could_fire_in_another_month(fields):
            raise InvalidSchedule(
                f"{expression!r} is no cron expression: {error}."
            ) from error
    except StopIteration:
        pass
    else:
        return times
    raise InvalidSchedule(f"{expression!r} never fires: its months have no such day.")


def _of_alias(name: str) -> str:
    known = ALIASES.get(name.strip().lower())
    if known is None:
        near = get_close_matches(name.lower(), ALIASES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(ALIASES)}."
        raise InvalidSchedule(f"{name!r} is no alias of a cron expression; {hint}")
    return known


def _could_fire_in_another_month(fields: list[str]) -> bool:
    """Whether only the combination is wrong, for which cronsim has no word."""
    month = fields[-2]
    try:
        CronSim(f"0 0 1 {month} *", _ORIGIN)
        CronSim(" ".join([*fields[:-2], "*", fields[-1]]), _ORIGIN)
    except CronSimError:
        return False
    return True


def _words(parsed: CronSim, expression: str) -> str:
    try:
        return parsed.explain()
    except Exception:  # a tooltip is not worth an error
        return f"Cron {expression}"
