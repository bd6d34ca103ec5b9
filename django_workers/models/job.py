"""One queued run of a task: the row everything turns on."""

from collections.abc import Iterable
from typing import Any, ClassVar, Self

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from ..ids import uuid7
from .partial_indexes import PartialIndexesModel
from .status import FINISHED, UNFINISHED, WAITING, JobStatus, OnCrash
from .tags import has_tag


class JobQuerySet(models.QuerySet["Job"]):
    """Jobs, by the questions one asks about them."""

    def waiting(self) -> Self:
        """Keep what has not started: scheduled, blocked or ready."""
        return self.filter(status__in=WAITING)

    def ready(self) -> Self:
        """Keep what a worker may claim now."""
        return self.filter(status=JobStatus.READY)

    def scheduled(self) -> Self:
        """Keep what waits for its time."""
        return self.filter(status=JobStatus.SCHEDULED)

    def running(self) -> Self:
        """Keep what a worker holds."""
        return self.filter(status=JobStatus.RUNNING)

    def successful(self) -> Self:
        """Keep what returned."""
        return self.filter(status=JobStatus.SUCCESSFUL)

    def failed(self) -> Self:
        """Keep what failed for good."""
        return self.filter(status=JobStatus.FAILED)

    def cancelled(self) -> Self:
        """Keep what was cancelled."""
        return self.filter(status=JobStatus.CANCELLED)

    def finished(self) -> Self:
        """Keep what has ended: successful, failed or cancelled."""
        return self.filter(status__in=FINISHED)

    def unfinished(self) -> Self:
        """Keep what has not ended; such rows are never pruned."""
        return self.filter(status__in=UNFINISHED)

    def in_queues(self, names: Iterable[str]) -> Self:
        """Keep the jobs of these queues."""
        return self.filter(queue__in=list(names))

    def tagged(self, tag: str) -> Self:
        """Keep the jobs that carry a tag. No index helps: combine it with others."""
        return self.filter(has_tag(tag, using=self.db))

    def in_claim_order(self) -> Self:
        """Order as one queue is worked off: priority first, then position."""
        return self.order_by(F("priority").desc(), "position", "id")


class Job(PartialIndexesModel):
    """One queued run of a task.

    Only the broker's verbs write these rows. The CHECK constraints refuse a row
    whose status contradicts its timestamps or its holder.
    """

    Status: ClassVar = JobStatus

    id = models.UUIDField(_("id"), primary_key=True, default=uuid7, editable=False)
    backend = models.CharField(_("backend"), max_length=64, default="default")
    task = models.CharField(_("task"), max_length=255)
    queue = models.CharField(_("queue"), max_length=128, default="default")
    priority = models.SmallIntegerField(_("priority"), default=0)
    args = models.JSONField(_("arguments"), default=list, blank=True)
    kwargs = models.JSONField(_("keyword arguments"), default=dict, blank=True)
    status = models.CharField(_("status"), max_length=12, choices=JobStatus.choices)
    # When the next attempt may start at the earliest; None means at once.
    run_after = models.DateTimeField(_("run after"), null=True, blank=True)
    # Drawn anew each time the job becomes ready; orders jobs of one priority.
    position = models.BigIntegerField(null=True, blank=True, editable=False)
    # +1 per claim, never back: with `session` the token every write must carry.
    epoch = models.IntegerField(default=0, editable=False)
    # The session that holds the job now.
    session = models.UUIDField(null=True, blank=True, editable=False)
    # The worker that ran the job last.
    worker = models.CharField(_("worker"), max_length=128, blank=True, default="")
    attempts = models.IntegerField(_("attempts"), default=0)
    crashes = models.IntegerField(_("crashes"), default=0)
    interruptions = models.IntegerField(_("interruptions"), default=0)
    max_attempts = models.IntegerField(_("maximum attempts"), default=1)
    # Seconds; None leaves it to the task and the settings.
    timeout = models.FloatField(_("timeout"), null=True, blank=True)
    on_crash = models.CharField(
        _("on crash"), max_length=8, choices=OnCrash.choices, default=OnCrash.RETRY
    )
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)
    retry_until = models.DateTimeField(_("retry until"), null=True, blank=True)
    enqueued_at = models.DateTimeField(_("enqueued at"))
    started_at = models.DateTimeField(_("started at"), null=True, blank=True)
    last_attempted_at = models.DateTimeField(
        _("last attempted at"), null=True, blank=True
    )
    finished_at = models.DateTimeField(_("finished at"), null=True, blank=True)
    # Seconds the last attempt ran, measured where it ran.
    duration = models.FloatField(_("duration"), null=True, blank=True)
    result = models.JSONField(_("result"), null=True, blank=True)
    # Why the job is blocked, failed or cancelled.
    reason = models.TextField(_("reason"), blank=True, default="")
    cancel_requested_at = models.DateTimeField(
        _("cancel requested at"), null=True, blank=True
    )
    tags = models.JSONField(_("tags"), default=list, blank=True)
    metadata = models.JSONField(_("metadata"), default=dict, blank=True)
    # No database constraint: an insert must not lock a shared schedule row.
    schedule = models.ForeignKey(
        "django_workers.Schedule",
        verbose_name=_("schedule"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        db_constraint=False,
        db_index=False,
        related_name="job_set",
    )
    slot = models.DateTimeField(_("slot"), null=True, blank=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        ordering = ("-id",)
        permissions = (
            ("cancel_job", _("Can cancel jobs")),
            ("retry_job", _("Can retry jobs")),
            ("run_job", _("Can run waiting jobs now")),
        )
        indexes = (
            models.Index(
                F("queue"),
                F("priority").desc(),
                F("position"),
                name="dw_job_ready",
                condition=Q(status="ready"),
            ),
            models.Index(
                F("task"),
                F("queue"),
                F("priority").desc(),
                F("position"),
                name="dw_job_ready_by_task",
                condition=Q(status="ready"),
            ),
            models.Index(
                fields=("run_after",),
                name="dw_job_due",
                condition=Q(status="scheduled"),
            ),
            models.Index(
                fields=("session",),
                name="dw_job_held",
                condition=Q(status="running"),
            ),
            # Rarely holds anything: parked jobs are found, and counted, without a scan.
            models.Index(
                fields=("task",),
                name="dw_job_blocked",
                condition=Q(status="blocked"),
            ),
            models.Index(
                fields=("status", "finished_at"),
                name="dw_job_finished",
                condition=Q(finished_at__isnull=False),
            ),
        )
        constraints = (
            models.CheckConstraint(
                name="dw_job_status_known",
                condition=Q(status__in=[s.value for s in JobStatus]),
            ),
            models.CheckConstraint(
                name="dw_job_held_while_running",
                condition=Q(status="running", session__isnull=False)
                | (~Q(status="running") & Q(session__isnull=True)),
            ),
            models.CheckConstraint(
                name="dw_job_ended_when_finished",
                condition=Q(
                    status__in=[s.value for s in FINISHED], finished_at__isnull=False
                )
                | Q(status__in=[s.value for s in UNFINISHED], finished_at__isnull=True),
            ),
            models.CheckConstraint(
                name="dw_job_due_when_scheduled",
                condition=~Q(status="scheduled") | Q(run_after__isnull=False),
            ),
            models.CheckConstraint(
                name="dw_job_placed_when_ready",
                condition=~Q(status="ready") | Q(position__isnull=False),
            ),
            # Its condition is about the schedule, so that it finds the jobs of one that
            # is deleted; those without a slot are as free as they would be outside.
            models.UniqueConstraint(
                fields=("schedule", "slot"),
                name="dw_job_slot_once",
                condition=Q(schedule__isnull=False),
            ),
        )

    def __str__(self) -> str:
        return f"{self.task} {self.id}"

    @property
    def is_finished(self) -> bool:
        """Whether the job has ended."""
        return self.status in FINISHED

    @property
    def call(self) -> str:
        """The call as Python would write it, shortened for a list."""
        parts = [repr(value) for value in self.args]
        parts += [f"{name}={value!r}" for name, value in self.kwargs.items()]
        text = f"{self.task}({', '.join(parts)})"
        return text if len(text) <= 200 else f"{text[:199]}…"

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The attempts that did not succeed, oldest first."""
        # From where the job was read: a router may send reads to a replica that lags.
        rows = self.attempt_set.db_manager(self._state.db)
        return [
            {"exception": attempt.exception, "traceback": attempt.traceback}
            for attempt in rows.exclude(exception="").order_by("epoch")
        ]
