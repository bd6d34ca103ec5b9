"""The map on the front page: a dot for each zone, and where it is night."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from .models import Zone
from .sky import Sun, sun_at

# Degrees; the map is so many units wide and high, two to a degree.
NORTH: Final = 84
SOUTH: Final = -60
UNITS: Final = 2
WIDTH: Final = 360 * UNITS
HEIGHT: Final = (NORTH - SOUTH) * UNITS
# The sun is up, about to be, or well down.
TWILIGHT_DEGREES: Final = -6


@dataclass(frozen=True, slots=True)
class Dot:
    """A zone on the map."""

    zone: Zone
    x: float
    y: float
    light: str


@dataclass(frozen=True, slots=True)
class Map:
    """What the template draws, in units from the top left."""

    width: int
    height: int
    dots: list[Dot]
    # The outline of the half of the earth that lies in the dark.
    night: str
    sun_x: float
    sun_y: float
    meridians: list[int]


def draw_map(zones: Iterable[Zone], moment: datetime) -> Map:
    """Place the zones on a map as it looks at a moment."""
    sun = sun_at(moment)
    return Map(
        width=WIDTH,
        height=HEIGHT,
        dots=[
            Dot(zone, _x(zone.longitude), _y(zone.latitude), _light(zone, sun))
            for zone in zones
            if zone.latitude > SOUTH
        ],
        night=_night(sun),
        sun_x=_x(sun.longitude),
        sun_y=_y(sun.latitude),
        meridians=[round(_x(longitude)) for longitude in range(-165, 180, 15)],
    )


def _light(zone: Zone, sun: Sun) -> str:
    height = sun.height_at(zone.latitude, zone.longitude)
    if height > 0:
        return "day"
    return "twilight" if height > TWILIGHT_DEGREES else "night"


def _night(sun: Sun) -> str:
    rim = [
        f"{_x(longitude):g},{_y(max(SOUTH, min(NORTH, sun.rim_at(longitude)))):.1f}"
        for longitude in range(-180, 181, 3)
    ]
    # The pole that has its night now closes the outline.
    pole = HEIGHT if sun.latitude > 0 else 0
    return f"M0,{pole} L{' '.join(rim)} L{WIDTH},{pole} Z"


def _x(longitude: float) -> float:
    return round((longitude + 180) * UNITS, 1)


def _y(latitude: float) -> float:
    return round((NORTH - latitude) * UNITS, 1)
