"""The parts of the example site that need no database: files, pictures, the sun."""

import struct
import zlib
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from example_project.atlas import catalogue, png, sky
from example_project.atlas.data import generate

BLACK, WHITE = bytes(3), bytes([255] * 3)
CHECKED = png.Image(4, 4, (WHITE + BLACK) * 4 + (BLACK + WHITE) * 4)


def file_of(rows: list[bytes], width: int, *, kind=(8, 2, 0, 0, 0)) -> bytes:
    """Return a PNG file of rows that begin with the number of their filter."""

    def chunk(name: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + checksum

    header = struct.pack(">IIBBBBB", width, len(rows), *kind)
    body = zlib.compress(b"".join(rows))
    return png.SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", body)


def test_a_picture_survives_its_file():
    assert png.decode(png.encode(CHECKED)) == CHECKED


@pytest.mark.parametrize(
    ("filtered", "row"),
    [
        (b"\x00" + bytes([9, 9, 9, 8, 8, 8]), bytes([9, 9, 9, 8, 8, 8])),
        (b"\x01" + bytes([9, 9, 9, 255, 255, 255]), bytes([9, 9, 9, 8, 8, 8])),
        (b"\x02" + bytes([1] * 6), bytes([11, 21, 31, 41, 51, 61])),
        (b"\x03" + bytes([1] * 6), bytes([6, 11, 16, 24, 31, 39])),
        (b"\x04" + bytes([1] * 6), bytes([11, 21, 31, 41, 51, 61])),
    ],
)
def test_every_filter_of_the_format_is_read(filtered, row):
    first = bytes([10, 20, 30, 40, 50, 60])

    read = png.decode(file_of([b"\x00" + first, filtered], 2))

    assert read.pixels == first + row


@pytest.mark.parametrize(
    "data",
    [
        b"GIF89a",
        png.SIGNATURE,
        png.encode(CHECKED)[:60],
        file_of([b"\x09" + bytes(6)], 2),
        file_of([b"\x00" + bytes(2)], 2, kind=(8, 0, 0, 0, 0)),
    ],
)
def test_what_is_no_picture_of_this_kind_is_refused(data):
    with pytest.raises(png.NotReadable):
        png.decode(data)


def test_shrinking_takes_the_mean_of_squares_and_cuts_what_is_left_over():
    small = png.shrink(CHECKED, factor=3)

    assert (small.width, small.height) == (1, 1)
    # Five of nine are white above, and the other way round below.
    assert small.pixels[0] in range(113, 143)


@pytest.mark.parametrize(
    ("moment", "latitude", "longitude"),
    [
        ("2026-06-21T12:00", 23.4, 0),
        ("2026-12-21T00:00", -23.4, 180),
        ("2026-03-20T18:00", 0, -88),
    ],
)
def test_the_sun_stands_where_almanacs_say(moment, latitude, longitude):
    sun = sky.sun_at(datetime.fromisoformat(moment).replace(tzinfo=UTC))

    assert sun.latitude == pytest.approx(latitude, abs=1)
    assert (sun.longitude - longitude + 180) % 360 - 180 == pytest.approx(0, abs=1.5)


def test_there_is_a_midnight_sun_in_summer_and_none_in_winter():
    zone = ZoneInfo("Arctic/Longyearbyen")
    year = sky.daylight(zone=zone, latitude=78, longitude=16, year=2026)

    midnight = next(year.rows())
    june, december = midnight[171 * 6], midnight[355 * 6]

    assert (year.width, year.height) == (730, 288)
    assert june > 180 > 40 > december


def test_the_change_of_clocks_shows_as_a_step():
    zone = ZoneInfo("Europe/Berlin")
    year = sky.daylight(zone=zone, latitude=52.5, longitude=13.4, year=2026)

    # About sunrise, on the days before and after the last Sunday of March.
    morning = list(year.rows())[6 * 12]
    before, after = morning[86 * 6], morning[88 * 6]

    assert before - after > 60


def test_the_shipped_file_is_what_its_generator_finds():
    shipped = [
        row
        for row in catalogue.transitions(0, catalogue.transition_count())
        if row.zone == "Europe/Berlin"
    ]

    found = list(generate.transitions("Europe/Berlin"))

    assert [[row.zone, row.offset_before, row.offset_after] for row in shipped] == [
        [name, before, after] for name, _, before, after, _ in found
    ]
    assert [generate.written(row.at) for row in shipped] == [row[1] for row in found]


def test_the_shipped_file_holds_a_few_thousand_changes_of_every_zone():
    rows = catalogue.transitions(0, catalogue.transition_count())

    assert 4_000 < len(rows) < 6_000
    assert {row.zone for row in rows} == set(catalogue.zones())
    assert len({(row.zone, row.at) for row in rows}) == len(rows)


def test_chunks_cover_the_file_without_overlap():
    assert [
        *catalogue.transitions(0, 3),
        *catalogue.transitions(3, 7),
    ] == catalogue.transitions(0, 7)
