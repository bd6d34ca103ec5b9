"""The jobs that the filters of `manage.py workers` leave."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from ..models import FINISHED, UNFINISHED, Job, JobQuerySet, JobStatus

FILTERS: Final = ("status", "task", "queue", "tag")
# What a verb can change. Without a --status of its own it looks at nothing else: the
# history may be a thousand times as long.
CHANGED_BY: Final[Mapping[str, Collection[str]]] = {
    "cancel": UNFINISHED,
    "retry": [status for status in FINISHED if status != JobStatus.SUCCESSFUL],
    "run-now": [JobStatus.SCHEDULED],
}


def are_given(options: Mapping[str, Any]) -> bool:
    """Whether any filter was given."""
    return any(options[name] for name in FILTERS)


def matching(options: Mapping[str, Any]) -> JobQuerySet:
    """Find the jobs that match the filters, newest first.

    Without --status a verb that acts finds those only that it can change.
    """
    jobs: JobQuerySet = Job.objects.using(options["database"]).order_by("-id")
    status = options["status"]
    if status == "waiting":
        jobs = jobs.waiting()
    elif status:
        jobs = jobs.filter(status=status)
    elif changed := CHANGED_BY.get(options["verb"]):
        jobs = jobs.filter(status__in=changed)
    if options["task"]:
        jobs = jobs.filter(task=options["task"])
    if options["queue"]:
        jobs = jobs.filter(queue=options["queue"])
    if options["tag"]:
        jobs = jobs.tagged(options["tag"])
    return jobs
