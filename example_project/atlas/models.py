"""What the site knows: zones and their changes, and what its tasks make of them."""

from datetime import datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from django.db import models
from django.urls import reverse
from django.utils import formats


class Zone(models.Model):
    """One time zone of the IANA database."""

    name = models.CharField(max_length=64, primary_key=True)
    country = models.CharField(max_length=64)
    latitude = models.FloatField(help_text="Degrees north.")
    longitude = models.FloatField(help_text="Degrees east.")

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("zone", args=[self.name])

    @property
    def city(self) -> str:
        """The last part of the name, as people write it."""
        return self.name.rpartition("/")[2].replace("_", " ")

    @property
    def region(self) -> str:
        """The first part of the name: a continent or an ocean."""
        return self.name.partition("/")[0]

    @property
    def tzinfo(self) -> ZoneInfo:
        """What turns UTC into this zone's time."""
        return ZoneInfo(self.name)

    @property
    def now(self) -> datetime:
        """The time there. A template would turn it into the site's own; see `clock`."""
        return datetime.now(self.tzinfo)

    @property
    def clock(self) -> str:
        """What the clocks there show."""
        return self.now.strftime("%H:%M")

    @property
    def day(self) -> str:
        """What day it is there."""
        return formats.date_format(self.now.date(), "l, j F")


class Transition(models.Model):
    """One change of a zone's clocks; a zone's first row says how they stood."""

    zone = models.ForeignKey(Zone, models.CASCADE, related_name="transitions")
    at = models.DateTimeField()
    offset_before = models.IntegerField(help_text="Seconds ahead of UTC.")
    offset_after = models.IntegerField(help_text="Seconds ahead of UTC.")
    abbreviation = models.CharField(max_length=16)

    class Meta:
        ordering = ("at",)
        constraints = (
            # Also what makes importing the same rows twice harmless.
            models.UniqueConstraint(fields=["zone", "at"], name="one_change_at_a_time"),
        )

    def __str__(self) -> str:
        return f"{self.zone_id}, {self.at:%Y-%m-%d}: {self.abbreviation}"

    @property
    def shift(self) -> timedelta:
        """How far the clocks are put forward."""
        return timedelta(seconds=self.offset_after - self.offset_before)

    @property
    def written_before(self) -> str:
        """What the clocks show when they are changed, as a template should write it."""
        moment = self.at.astimezone(_fixed(self.offset_before))
        return f"{formats.date_format(moment.date(), 'j M Y')}, {moment:%H:%M}"

    @property
    def clock_after(self) -> datetime:
        """What they show afterwards."""
        return self.at.astimezone(_fixed(self.offset_after))


class Picture(models.Model):
    """The daylight of a zone over one year, and a small version of it."""

    zone = models.OneToOneField(Zone, models.CASCADE, primary_key=True)
    chart = models.FileField(upload_to="charts")
    thumbnail = models.FileField(upload_to="thumbnails", blank=True)
    drawn_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("zone",)

    def __str__(self) -> str:
        return f"Daylight in {self.zone_id}"


class Subscription(models.Model):
    """Somebody who wants to know when the clocks of a zone change."""

    email = models.EmailField()
    zone = models.ForeignKey(Zone, models.CASCADE)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.email}: {self.zone_id}"


class Report(models.Model):
    """All changes of clocks in the coming days, as somebody asked for it."""

    title = models.CharField(max_length=80)
    days = models.PositiveSmallIntegerField()
    asked_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    text = models.TextField(blank=True, help_text="Comma separated.")

    class Meta:
        ordering = ("-asked_at",)

    def __str__(self) -> str:
        return self.title


class HealthReport(models.Model):
    """What one health check found."""

    checked_at = models.DateTimeField(auto_now_add=True)
    healthy = models.BooleanField()
    findings = models.JSONField(default=dict)

    class Meta:
        ordering = ("-checked_at",)

    def __str__(self) -> str:
        word = "healthy" if self.healthy else "not healthy"
        return f"{self.checked_at:%Y-%m-%d %H:%M}: {word}"


def _fixed(seconds: int) -> tzinfo:
    return timezone(timedelta(seconds=seconds))
