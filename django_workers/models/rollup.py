"""Minutes of work, added up while it is done."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Rollup(models.Model):
    """What one worker did for one task of one queue in one minute.

    Written by the completion of a batch itself, in its transaction, so that charts
    and totals never count jobs. Each row has one writer.
    """

    minute = models.DateTimeField(_("minute"))
    worker = models.CharField(_("worker"), max_length=128)
    queue = models.CharField(_("queue"), max_length=128)
    task = models.CharField(_("task"), max_length=255)
    # An attempt's outcome; `successful` counts jobs, the others attempts.
    outcome = models.CharField(_("outcome"), max_length=12)
    count = models.IntegerField(_("count"), default=0)
    run_seconds = models.FloatField(_("run time, total"), default=0.0)
    run_max = models.FloatField(_("run time, longest"), default=0.0)
    wait_seconds = models.FloatField(_("wait, total"), default=0.0)
    wait_max = models.FloatField(_("wait, longest"), default=0.0)

    class Meta:
        verbose_name = _("rollup")
        verbose_name_plural = _("rollups")
        constraints = (
            models.UniqueConstraint(
                fields=("minute", "worker", "queue", "task", "outcome"),
                name="dw_rollup_once",
            ),
        )

    def __str__(self) -> str:
        return f"{self.minute:%Y-%m-%d %H:%M} {self.task} {self.outcome} {self.count}"
