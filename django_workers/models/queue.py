"""A named lane of jobs, and whether it is paused."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Queue(models.Model):
    """What is known of a queue besides its jobs: its pause.

    Jobs need no such row. It appears when somebody first pauses the queue.
    """

    name = models.CharField(_("name"), max_length=128, primary_key=True)
    paused_at = models.DateTimeField(_("paused at"), null=True, blank=True)
    paused_by = models.CharField(_("paused by"), max_length=150, blank=True, default="")
    pause_reason = models.CharField(_("reason"), max_length=255, blank=True, default="")
    # The pause ends by itself at this moment; None means when somebody resumes it.
    paused_until = models.DateTimeField(_("paused until"), null=True, blank=True)

    class Meta:
        verbose_name = _("queue")
        verbose_name_plural = _("queues")
        ordering = ("name",)
        permissions = (("pause_queue", _("Can pause and resume queues")),)

    def __str__(self) -> str:
        return self.name

    @property
    def is_paused(self) -> bool:
        """Whether workers leave the queue alone.

        An elapsed pause still counts until a worker has ended it.
        """
        return self.paused_at is not None
