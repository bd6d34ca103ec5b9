"""Where the sun stands, and what colour the sky has: enough for a picture."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from math import asin, atan, cos, degrees, pi, radians, sin, tan
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from .png import Image

DAY_WIDTH: Final = 2
HEIGHT: Final = 288
_MINUTES: Final = 24 * 60 // HEIGHT

# The height of the sun in degrees, and the colour of the sky from there on; between
# two lines the colours are mixed.
_SKY: Final = (
    (-90, (11, 16, 38)),
    (-18, (16, 24, 56)),
    (-12, (30, 42, 92)),
    (-6, (76, 70, 132)),
    (-1, (226, 125, 96)),
    (3, (247, 189, 120)),
    (10, (250, 226, 170)),
    (30, (186, 216, 236)),
    (90, (128, 186, 226)),
)


class Sun(NamedTuple):
    """Where the sun is overhead, in degrees north and east."""

    latitude: float
    longitude: float

    def height_at(self, latitude: float, longitude: float) -> float:
        """Its height over the horizon of a place, in degrees."""
        here, there = radians(latitude), radians(self.latitude)
        hour = radians(longitude - self.longitude)
        return degrees(
            asin(sin(here) * sin(there) + cos(here) * cos(there) * cos(hour))
        )

    def rim_at(self, longitude: float) -> float:
        """The latitude at which it rises or sets on a meridian, in degrees."""
        hour = radians(longitude - self.longitude)
        # Right at an equinox the rim runs through the poles.
        there = radians(self.latitude or 1e-6)
        return degrees(atan(-cos(hour) / tan(there)))


def sun_at(moment: datetime) -> Sun:
    """Where the sun is overhead at a moment, to about a degree."""
    moment = moment.astimezone(UTC)
    minutes = moment.hour * 60 + moment.minute + moment.second / 60
    angle = 2 * pi * (moment.timetuple().tm_yday - 1 + (minutes - 720) / 1440) / 365
    # After Spencer, 1971: minutes the sun is ahead of the clock, and its declination.
    ahead = 229.18 * (
        0.000075
        + 0.001868 * cos(angle)
        - 0.032077 * sin(angle)
        - 0.014615 * cos(2 * angle)
        - 0.040849 * sin(2 * angle)
    )
    declination = degrees(
        0.006918
        - 0.399912 * cos(angle)
        + 0.070257 * sin(angle)
        - 0.006758 * cos(2 * angle)
        + 0.000907 * sin(2 * angle)
        - 0.002697 * cos(3 * angle)
        + 0.00148 * sin(3 * angle)
    )
    longitude = (720 - minutes - ahead) / 4
    return Sun(declination, (longitude + 180) % 360 - 180)


def daylight(*, zone: ZoneInfo, latitude: float, longitude: float, year: int) -> Image:
    """Draw the sky of a place: a column for each day, midnight at both ends of it.

    The clocks are the zone's own, so a change of them shows as a step.
    """
    colours = _colours()
    columns = []
    day = date(year, 1, 1)
    while day.year == year:
        midday = datetime.combine(day, time(12), zone)
        sun = sun_at(midday)
        here, there = radians(latitude), radians(sun.latitude)
        tilt, reach = sin(here) * sin(there), cos(here) * cos(there)
        column = []
        for step in range(HEIGHT):
            minutes = (step - HEIGHT // 2) * _MINUTES
            # The sun moves a degree west in four minutes.
            hour = radians(longitude - sun.longitude + minutes / 4)
            sine = tilt + reach * cos(hour)
            column.append(colours[round((sine + 1) * 1000)] * DAY_WIDTH)
        columns.append(column)
        day += timedelta(days=1)
    rows = zip(*columns, strict=True)
    pixels = b"".join(b"".join(row) for row in rows)
    return Image(len(columns) * DAY_WIDTH, HEIGHT, pixels)


def _colours() -> list[bytes]:
    """The colour of the sky for each sine of the sun's height, from -1 to 1."""
    return [
        bytes(_colour(degrees(asin(max(-1, min(1, step / 1000 - 1))))))
        for step in range(2001)
    ]


def _colour(height: float) -> Iterator[int]:
    for (low, dark), (high, bright) in pairwise(_SKY):
        if height <= high:
            share = (height - low) / (high - low)
            for a, b in zip(dark, bright, strict=True):
                yield round(a + (b - a) * share)
            return
