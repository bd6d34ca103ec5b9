"""A task that runs by the clock."""

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import models, router
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from ..conf import LEVELS, priority_of, queue_refusal
from ..cron import Cron, Every, zone_named
from ..exceptions import InvalidSchedule
from .partial_indexes import PartialIndexesModel

# What can be wrong with a schedule -> the columns that make it so.
_SAID_BY: Final = {
    "cron": ("cron", "interval"),
    "interval": ("cron", "interval"),
    "timezone": ("timezone",),
    "queue": ("queue", "backend"),
    "priority": ("priority",),
}


class Schedule(PartialIndexesModel):
    """Cron or interval + task + next fire time.

    Rows with `declared` come from code and are refreshed when a worker starts, but
    what a person disabled stays disabled.

    save() refuses what cannot work. Rows that get past it, by update() or in SQL, are
    switched off when they are due.
    """

    name = models.CharField(_("name"), max_length=255, unique=True)
    task = models.CharField(_("task"), max_length=255)
    backend = models.CharField(_("backend"), max_length=64, default="default")
    args = models.JSONField(_("arguments"), default=list, blank=True)
    kwargs = models.JSONField(_("keyword arguments"), default=dict, blank=True)
    queue = models.CharField(
        _("queue"),
        max_length=128,
        blank=True,
        default="",
        help_text=_("Empty: the task's own queue."),
    )
    priority = models.SmallIntegerField(
        _("priority"), null=True, blank=True, help_text=_("Empty: the task's own.")
    )
    cron = models.CharField(
        _("cron"),
        max_length=256,
        blank=True,
        default="",
        help_text=_("Five fields, or six with seconds first, or @daily and friends."),
    )
    interval = models.FloatField(
        _("interval"),
        null=True,
        blank=True,
        help_text=_("Seconds between runs, instead of a cron expression."),
    )
    timezone = models.CharField(
        _("time zone"),
        max_length=64,
        blank=True,
        default="",
        help_text=_("Empty: the site's TIME_ZONE."),
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    disabled_reason = models.CharField(
        _("disabled because"), max_length=255, blank=True, default=""
    )
    declared = models.BooleanField(_("declared in code"), default=False, editable=False)
    # The moment an interval counts from.
    anchor_at = models.DateTimeField(null=True, blank=True, editable=False)
    next_fire_at = models.DateTimeField(
        _("next run"), null=True, blank=True, editable=False
    )
    last_fire_at = models.DateTimeField(
        _("last run"), null=True, blank=True, editable=False
    )
    last_job = models.UUIDField(_("last job"), null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("schedule")
        verbose_name_plural = _("schedules")
        ordering = ("name",)
        permissions = (("run_schedule", _("Can run schedules now")),)
        indexes = (
            models.Index(
                fields=("next_fire_at",),
                name="dw_schedule_next",
                condition=Q(enabled=True),
            ),
        )
        constraints = (
            models.CheckConstraint(
                name="dw_schedule_cron_or_interval",
                condition=(Q(interval__isnull=True) & ~Q(cron=""))
                | Q(interval__isnull=False, cron=""),
            ),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def timing(self) -> Cron | Every:
        """When the schedule fires.

        Raises InvalidSchedule when the row holds an impossible cron, interval or zone.
        """
        if self.interval is not None:
            return Every(self.interval)
        return Cron(self.cron, self.timezone or None)

    def problems(self) -> dict[str, str]:
        """What cannot work: what to say of which column; empty if all can."""
        found = {
            "timezone": self.timezone and _said(lambda: zone_named(self.timezone)),
            "queue": self.queue and queue_refusal(self.queue, backend=self.backend),
        }
        if not self._has_one_timing():
            found["cron"] = "give either a cron expression or an interval."
        elif self.interval is not None:
            found["interval"] = _said(lambda: Every(self.interval))  # type: ignore[arg-type]
        else:
            found["cron"] = _said(lambda: Cron(self.cron))
        if self.priority is not None:
            found["priority"] = _said(lambda: priority_of(self.priority))  # type: ignore[arg-type]
        return {column: text for column, text in found.items() if text}

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store the schedule. The priority may be the name of a level.

        Raises InvalidSchedule for a timing, time zone, queue or priority that cannot
        work. What the row holds already is let through, so that it can be switched off.
        """
        self._read_level()
        written = kwargs.get("update_fields")
        if written is None:
            columns = {field.attname for field in self._meta.concrete_fields}
            written = columns - self.get_deferred_fields()
        self._refuse(set(written), using=kwargs.get("using"))
        super().save(*args, **kwargs)

    def clean_fields(self, exclude: Collection[str] | None = None) -> None:
        """Refuse what cannot work, each at its field; see problems()."""
        self._read_level()
        errors: dict[str, Any] = {}
        try:
            super().clean_fields(exclude=exclude)
        except ValidationError as error:
            errors = error.update_error_dict(errors)
        found: dict[str, Any] = self.problems() if self._has_one_timing() else {}
        if not isinstance(self.args, list):
            found["args"] = _("Arguments are a JSON list.")
        if not isinstance(self.kwargs, dict):
            found["kwargs"] = _("Keyword arguments: a JSON object.")
        for column, text in found.items():
            if column not in (exclude or ()):
                errors.setdefault(column, [text])
        if errors:
            raise ValidationError(errors)

    def clean(self) -> None:
        """Refuse two timings, and none."""
        if not self._has_one_timing():
            raise ValidationError(_("Give either a cron expression or an interval."))

    def _has_one_timing(self) -> bool:
        return bool(self.cron) != (self.interval is not None)

    def _read_level(self) -> None:
        level = self.__dict__.get("priority")
        if isinstance(level, str) and level in LEVELS:
            self.priority = LEVELS[level]

    def _refuse(self, written: set[str], *, using: str | None) -> None:
        """Raise InvalidSchedule for what is written now and cannot work."""
        switched = "enabled" in written and self.enabled
        if not switched and written.isdisjoint(
            column for columns in _SAID_BY.values() for column in columns
        ):
            return
        for name, text in self.problems().items():
            columns = _SAID_BY[name]
            if (switched or not written.isdisjoint(columns)) and not self._is_stored(
                columns, using=using
            ):
                raise InvalidSchedule(f"schedule {self.name!r}, {name}: {text}")

    def _is_stored(self, columns: Collection[str], *, using: str | None) -> bool:
        """Whether the row says so already, and is not being switched on."""
        if self.pk is None:
            return False
        alias = using or router.db_for_write(type(self), instance=self)
        rows = type(self)._base_manager.using(alias).filter(pk=self.pk)
        row = rows.values("enabled", *columns).first()
        if row is None or (self.enabled and not row["enabled"]):
            return False
        return all(row[column] == getattr(self, column) for column in columns)

    def validate_constraints(self, exclude: Iterable[str] | None = None) -> None:
        """Leave the choice of cron or interval to `clean()`, which has words for it."""
        super().validate_constraints({*(exclude or ()), "cron", "interval"})

    def as_dict(self) -> dict[str, Any]:
        """What defines the schedule, for comparison with a declaration."""
        return {
            "task": self.task,
            "backend": self.backend,
            "args": self.args,
            "kwargs": self.kwargs,
            "queue": self.queue,
            "priority": self.priority,
            "cron": self.cron,
            "interval": self.interval,
            "timezone": self.timezone,
        }


def _said(build: Callable[[], object]) -> str:
    """What is said of a value that something cannot be built of."""
    try:
        build()
    except ValueError as error:
        return str(error)
    return ""
