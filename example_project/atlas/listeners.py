"""What the site does when jobs end, whoever enqueued them."""

import logging
from typing import Any

from django.core.mail import mail_admins
from django.dispatch import receiver

from django_workers.signals import job_completed, job_failed

logger = logging.getLogger(__name__)


@receiver(job_completed, dispatch_uid="atlas.log_duration")
def log_duration(sender: Any, *, job: Any, duration: float, **kwargs: Any) -> None:
    """Write down how long it took."""
    logger.info("%s took %.3f s (job %s)", name_of(job), duration, job.id)


@receiver(job_failed, dispatch_uid="atlas.alert_admins")
def alert_admins(
    sender: Any, *, job: Any, error: Any, will_retry: bool, **kwargs: Any
) -> None:
    """Write to the admins about a job that has failed for good."""
    if will_retry:
        return
    name = name_of(job)
    logger.warning("%s has failed for good (job %s): %s", name, job.id, error)
    mail_admins(f"{name} has failed", f"Job {job.id}\n{error!r}\n")


def name_of(job: Any) -> str:
    """What the task of a job is called."""
    return str(getattr(job.task, "key", job.task.module_path))
