"""The words for where a job, an attempt and a worker stand, and who may follow whom."""

from typing import Final

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _


class JobStatus(TextChoices):
    """Where a job stands; at Django's boundary the first three read READY."""

    SCHEDULED = "scheduled", _("scheduled")
    BLOCKED = "blocked", _("blocked")
    READY = "ready", _("ready")
    RUNNING = "running", _("running")
    SUCCESSFUL = "successful", _("successful")
    FAILED = "failed", _("failed")
    CANCELLED = "cancelled", _("cancelled")


WAITING: Final = (JobStatus.SCHEDULED, JobStatus.BLOCKED, JobStatus.READY)
FINISHED: Final = (JobStatus.SUCCESSFUL, JobStatus.FAILED, JobStatus.CANCELLED)
UNFINISHED: Final = (*WAITING, JobStatus.RUNNING)

# Which status may follow which. Only the broker's verbs move a job.
TRANSITIONS: Final[dict[JobStatus, frozenset[JobStatus]]] = {
    JobStatus.SCHEDULED: frozenset(
        {JobStatus.READY, JobStatus.BLOCKED, JobStatus.CANCELLED}
    ),
    JobStatus.BLOCKED: frozenset(
        {JobStatus.READY, JobStatus.SCHEDULED, JobStatus.CANCELLED}
    ),
    JobStatus.READY: frozenset(
        {
            JobStatus.RUNNING,
            JobStatus.SCHEDULED,
            JobStatus.BLOCKED,
            JobStatus.CANCELLED,
        }
    ),
    JobStatus.RUNNING: frozenset(
        {
            JobStatus.SUCCESSFUL,
            JobStatus.FAILED,
            JobStatus.CANCELLED,
            JobStatus.READY,
            JobStatus.SCHEDULED,
            JobStatus.BLOCKED,
        }
    ),
    JobStatus.SUCCESSFUL: frozenset(),
    JobStatus.FAILED: frozenset({JobStatus.READY}),
    JobStatus.CANCELLED: frozenset({JobStatus.READY}),
}


class OnCrash(TextChoices):
    """What becomes of a job whose worker died while it may have been running."""

    RETRY = "retry", _("run again")
    FAIL = "fail", _("fail")


class AttemptOutcome(TextChoices):
    """How one attempt ended."""

    SUCCESSFUL = "successful", _("successful")
    FAILED = "failed", _("failed")
    TIMED_OUT = "timed_out", _("timed out")
    CRASHED = "crashed", _("crashed")
    LOST = "lost", _("lost")
    INTERRUPTED = "interrupted", _("interrupted")
    SNOOZED = "snoozed", _("snoozed")
    CANCELLED = "cancelled", _("cancelled")
    EXPIRED = "expired", _("expired")


class SessionState(TextChoices):
    """Where a worker stands; `lost` is written by whoever found it dead."""

    INITIALIZED = "initialized", _("initialized")
    STARTING = "starting", _("starting")
    RUNNING = "running", _("running")
    PAUSING = "pausing", _("pausing")
    PAUSED = "paused", _("paused")
    RESUMING = "resuming", _("resuming")
    STOPPING = "stopping", _("stopping")
    STOPPED = "stopped", _("stopped")
    LOST = "lost", _("lost")


ALIVE: Final = (
    SessionState.INITIALIZED,
    SessionState.STARTING,
    SessionState.RUNNING,
    SessionState.PAUSING,
    SessionState.PAUSED,
    SessionState.RESUMING,
    SessionState.STOPPING,
)
