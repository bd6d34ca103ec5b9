"""The heartbeat of one running worker."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from ..ids import uuid7
from .status import ALIVE, SessionState


class WorkerSessionQuerySet(models.QuerySet["WorkerSession"]):
    """Workers, by the questions one asks about them."""

    def alive(self) -> "WorkerSessionQuerySet":
        """Keep those that have not stopped and were not found dead."""
        return self.filter(state__in=ALIVE)


class WorkerSession(models.Model):
    """One start of `runworkers` on one host: its identity, lease and load."""

    id = models.UUIDField(_("id"), primary_key=True, default=uuid7, editable=False)
    worker_id = models.CharField(_("worker id"), max_length=128)
    cluster = models.CharField(_("cluster"), max_length=128, blank=True, default="")
    host = models.CharField(_("host"), max_length=255)
    pid = models.IntegerField(_("process id"))
    version = models.CharField(_("version"), max_length=32)
    state = models.CharField(
        _("state"),
        max_length=12,
        choices=SessionState.choices,
        default=SessionState.STARTING,
    )
    queues = models.JSONField(_("queues"), default=list, blank=True)
    # The names this worker can run; a job of another name is left to others.
    tasks = models.JSONField(_("tasks"), default=list, blank=True)
    slots = models.IntegerField(_("slots"), default=0)
    children = models.IntegerField(_("children"), default=0)
    running = models.IntegerField(_("running jobs"), default=0)
    started_at = models.DateTimeField(_("started at"))
    heartbeat_at = models.DateTimeField(_("last heartbeat"))
    lease_until = models.DateTimeField(_("lease until"))
    stopped_at = models.DateTimeField(_("stopped at"), null=True, blank=True)
    stop_reason = models.CharField(
        _("stop reason"), max_length=255, blank=True, default=""
    )

    objects = WorkerSessionQuerySet.as_manager()

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        ordering = ("-id",)

    def __str__(self) -> str:
        return self.worker_id
