"""Write the two files the site imports, from Python's own time zone database.

    python -m example_project.atlas.data.generate

`zones.csv` has one row per IANA zone: its country and where on earth it is.
`transitions.csv` has one row per change of its clocks: the instant, the offsets from
UTC in seconds before and after it, and what the new time is called. A zone's first row
says how its clocks stood when the period begins: a zone that never changes has one too.

Needs the files `zone.tab` and `iso3166.tab` that come with the system's time zones.
"""

import csv
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent
FIRST = datetime(2016, 1, 1, tzinfo=UTC)
LAST = datetime(2031, 1, 1, tzinfo=UTC)
# Shorter than the shortest time between two changes of any clock in the period.
STEP = timedelta(days=1)
EXACT = timedelta(seconds=1)


class Clock(NamedTuple):
    """How the clocks of a zone stand."""

    offset: int
    abbreviation: str


class Place(NamedTuple):
    """A row of zone.tab."""

    zone: str
    country: str
    latitude: float
    longitude: float


def clock(moment: datetime, zone: zoneinfo.ZoneInfo) -> Clock:
    """Read the clocks of *zone* at a moment in UTC."""
    local = moment.astimezone(zone)
    offset = local.utcoffset()
    assert offset is not None
    return Clock(int(offset.total_seconds()), local.tzname() or "")


def transitions(name: str) -> Iterator[list[Any]]:
    """Find a zone's changes: look once a day, then halve the day until it is exact."""
    zone = zoneinfo.ZoneInfo(name)
    moment, before = FIRST, clock(FIRST, zone)
    yield [name, written(FIRST), before.offset, before.offset, before.abbreviation]
    while moment < LAST:
        after = clock(moment + STEP, zone)
        if after != before:
            change = first_moment_of(after, zone, moment, moment + STEP)
            yield [name, written(change), before.offset, *after]
            before = after
        moment += STEP


def first_moment_of(
    wanted: Clock, zone: zoneinfo.ZoneInfo, early: datetime, late: datetime
) -> datetime:
    """Return the first second, after *early* and up to *late*, of the wanted clock."""
    while late - early > EXACT:
        middle = early + timedelta(seconds=(late - early) // EXACT // 2)
        if clock(middle, zone) == wanted:
            late = middle
        else:
            early = middle
    return late


def places() -> list[Place]:
    """Read zone.tab: which zones there are, in which country, and where."""
    countries = dict(table("iso3166.tab"))
    found = [
        Place(name, countries[code], *coordinates(where))
        for code, where, name, *_ in table("zone.tab")
    ]
    return sorted(found)


def table(name: str) -> Iterator[list[str]]:
    """Read a tab-separated file of the system's time zones."""
    for folder in map(Path, zoneinfo.TZPATH):
        if (folder / name).exists():
            for line in (folder / name).read_text(encoding="utf-8").splitlines():
                if line and not line.startswith("#"):
                    yield line.split("\t")
            return
    raise SystemExit(f"{name} is in none of {', '.join(zoneinfo.TZPATH)}.")


def coordinates(text: str) -> tuple[float, float]:
    """Read ISO 6709, ±DDMM±DDDMM or ±DDMMSS±DDDMMSS: degrees north, degrees east."""
    split = max(text.rfind("+"), text.rfind("-"))
    return degrees(text[:split], 2), degrees(text[split:], 3)


def degrees(text: str, digits: int) -> float:
    """Read a sign, so many digits of degrees, minutes and perhaps seconds."""
    whole, rest = text[1 : 1 + digits], text[1 + digits :].ljust(4, "0")
    value = int(whole) + int(rest[:2]) / 60 + int(rest[2:]) / 3600
    return round(-value if text[0] == "-" else value, 3)


def written(moment: datetime) -> str:
    """Write an instant as the file has it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def write(name: str, header: list[str], rows: list[Any]) -> None:
    """Write one of the files and say how long it is."""
    with (FOLDER / name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([header, *rows])
    print(f"{name}: {len(rows)} rows")


def main() -> None:
    """Write both files."""
    found = places()
    write("zones.csv", ["zone", "country", "latitude", "longitude"], found)
    write(
        "transitions.csv",
        ["zone", "at", "offset_before", "offset_after", "abbreviation"],
        [row for place in found for row in transitions(place.zone)],
    )


if __name__ == "__main__":
    main()
