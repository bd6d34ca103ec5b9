"""Draw the daylight of a zone, and make a small version of the picture."""

from datetime import UTC, datetime

from django.core.files.base import ContentFile

from django_workers import task

from .. import png, sky
from ..models import Picture, Zone

THUMBNAIL_FACTOR = 4
# Far from each other in the year, in the day and in their habits.
SHOWN = (
    "Africa/Casablanca",
    "Africa/Nairobi",
    "America/New_York",
    "America/Santiago",
    "Antarctica/Troll",
    "Arctic/Longyearbyen",
    "Asia/Kolkata",
    "Asia/Tokyo",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Europe/Lisbon",
    "Pacific/Auckland",
)


@task(name="picture:chart", queue_name="pictures")
def draw_chart(zone_name: str, year: int | None = None) -> dict[str, str]:
    """Draw a zone's year, this one unless given; then have its thumbnail made."""
    zone = Zone.objects.get(pk=zone_name)
    image = sky.daylight(
        zone=zone.tzinfo,
        latitude=zone.latitude,
        longitude=zone.longitude,
        year=year or datetime.now(UTC).year,
    )
    picture, _ = Picture.objects.get_or_create(zone=zone)
    picture.chart.save(_file_name(zone), ContentFile(png.encode(image)))
    # A task may enqueue others. Were this one to run twice, so would they: both
    # write the same file.
    thumbnail = make_thumbnail.enqueue(zone_name)
    return {"zone": zone_name, "thumbnail_job": thumbnail.id}


@task(name="picture:thumbnail", queue_name="pictures")
def make_thumbnail(zone_name: str) -> dict[str, int]:
    """Read a picture, make it four times smaller and keep that beside it."""
    picture = Picture.objects.select_related("zone").get(pk=zone_name)
    with picture.chart.open() as file:
        large = png.decode(file.read())
    small = png.shrink(large, factor=THUMBNAIL_FACTOR)
    picture.thumbnail.save(_file_name(picture.zone), ContentFile(png.encode(small)))
    return {"width": small.width, "height": small.height}


def _file_name(zone: Zone) -> str:
    return f"{zone.name.replace('/', '-')}.png"
