"""The two files that come with the site; `data/generate.py` has written them."""

import csv
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "data"


class ZoneRow(NamedTuple):
    """A line of zones.csv."""

    name: str
    country: str
    latitude: float
    longitude: float


class TransitionRow(NamedTuple):
    """A line of transitions.csv; offsets are seconds ahead of UTC."""

    zone: str
    at: datetime
    offset_before: int
    offset_after: int
    abbreviation: str


@cache
def zones() -> dict[str, ZoneRow]:
    """Every zone by its name."""
    return {
        name: ZoneRow(name, country, float(latitude), float(longitude))
        for name, country, latitude, longitude in _lines("zones.csv")
    }


@cache
def transition_count() -> int:
    """How many changes there are."""
    return sum(1 for _ in _lines("transitions.csv"))


def transitions(start: int, stop: int) -> list[TransitionRow]:
    """The changes of the lines from *start* up to *stop*, which is left out."""
    return [
        TransitionRow(
            zone, datetime.fromisoformat(at), int(before), int(after), abbreviation
        )
        for zone, at, before, after, abbreviation in islice(
            _lines("transitions.csv"), start, stop
        )
    ]


def _lines(name: str) -> Iterator[list[str]]:
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        next(lines)
        yield from lines
