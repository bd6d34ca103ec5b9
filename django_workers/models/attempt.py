"""How one try at running a job ended."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from .job import Job
from .status import AttemptOutcome


class Attempt(models.Model):
    """One try at running a job.

    A first attempt that succeeds has no row of its own: the job's row says it all.
    """

    job = models.ForeignKey(
        Job,
        verbose_name=_("job"),
        on_delete=models.CASCADE,
        related_name="attempt_set",
        db_index=False,  # the unique constraint below serves it
    )
    # The charged number of the attempt, from 1; uncharged ones repeat it.
    number = models.IntegerField(_("number"))
    epoch = models.IntegerField(_("epoch"))
    session = models.UUIDField(_("session"), null=True, blank=True)
    worker = models.CharField(_("worker"), max_length=128, blank=True)
    host = models.CharField(_("host"), max_length=255, blank=True)
    pid = models.IntegerField(_("process id"), null=True, blank=True)
    outcome = models.CharField(
        _("outcome"), max_length=12, choices=AttemptOutcome.choices
    )
    # Dotted path of the exception's class: text, never imported back to run.
    exception = models.CharField(_("exception"), max_length=255, blank=True)
    message = models.TextField(_("message"), blank=True)
    traceback = models.TextField(_("traceback"), blank=True)
    started_at = models.DateTimeField(_("started at"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished at"))
    duration = models.FloatField(_("duration"), null=True, blank=True)

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        ordering = ("job", "epoch")
        constraints = (
            models.UniqueConstraint(
                fields=("job", "epoch"), name="dw_attempt_epoch_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.job_id} #{self.number} {self.outcome}"
