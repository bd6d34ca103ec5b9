"""A task that runs by the clock."""

from collections.abc import Iterable
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from ..cron import Cron, Every
from ..exceptions import InvalidSchedule
from .partial_indexes import PartialIndexesModel


class Schedule(PartialIndexesModel):
    """Cron or interval + task + next fire time.

    Rows with `declared` come from code and are refreshed when a worker starts, but
    what a person disabled stays disabled.
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

    def clean(self) -> None:
        """Refuse a timing that can never fire."""
        if bool(self.cron) == (self.interval is not None):
            raise ValidationError(_("Give either a cron expression or an interval."))
        try:
            self.timing  # noqa: B018 - building it is the check
        except InvalidSchedule as error:
            raise ValidationError(str(error)) from error
        if not isinstance(self.args, list):
            raise ValidationError({"args": _("Arguments are a JSON list.")})
        if not isinstance(self.kwargs, dict):
            raise ValidationError({"kwargs": _("Keyword arguments: a JSON object.")})

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
