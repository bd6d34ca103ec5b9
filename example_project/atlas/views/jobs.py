"""Where jobs stand: the latest ones, and each by its id."""

from typing import Any
from uuid import UUID

import django
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import select_template
from django.views.decorators.http import require_GET, require_POST

from django_workers import control
from django_workers.exceptions import JobDoesNotExist
from django_workers.models import Job

if django.VERSION >= (6, 0):
    from django.tasks import default_task_backend
    from django.tasks.exceptions import TaskResultDoesNotExist
else:
    from django_tasks import default_task_backend  # type: ignore[no-redef]
    from django_tasks.exceptions import (  # type: ignore[no-redef]
        TaskResultDoesNotExist,
    )

SHOWN = 8


@transaction.non_atomic_requests
@require_GET
def latest(request: HttpRequest) -> HttpResponse:
    """Show the latest jobs; the front page fetches its list of them here."""
    return render(request, "atlas/jobs.html", latest_jobs())


def latest_jobs() -> dict[str, Any]:
    """The latest jobs, and how many there are of each kind."""
    figures = control.stats(limit=9_999)
    words = ("pending", "running", "completed", "failed", "cancelled")
    return {
        "jobs": Job.objects.order_by("-id")[:SHOWN],
        "figures": [(word, figures[word]) for word in words],
    }


@transaction.non_atomic_requests
@require_GET
def status(request: HttpRequest, job_id: UUID) -> HttpResponse:
    """Show how far a job is, and what came of it; the page asks again until it has.

    Everything here is what Django's own task results say, but for the chosen template
    and the time of the next attempt.
    """
    try:
        result: Any = default_task_backend.get_result(str(job_id))
    except TaskResultDoesNotExist as error:
        raise Http404("There is no such job.") from error
    name = result.task.key.replace(":", "/")
    outcome = select_template([f"atlas/results/{name}.html", "atlas/results/any.html"])
    row = Job.objects.filter(pk=job_id, status="scheduled").first()
    context = {
        "job": result,
        "outcome": outcome,
        "waits_until": row.run_after if row else None,
    }
    return render(request, "atlas/job.html", context)


@require_POST
def cancel(request: HttpRequest, job_id: UUID) -> HttpResponse:
    """Cancel a job, or call it back if it runs."""
    try:
        control.cancel(job_id, reason="cancelled on its page")
    except JobDoesNotExist as error:
        raise Http404("There is no such job.") from error
    return redirect("job", job_id)


@require_POST
def run_now(request: HttpRequest, job_id: UUID) -> HttpResponse:
    """Let a job that waits for its time start at once."""
    try:
        control.run_now(job_id)
    except JobDoesNotExist as error:
        raise Http404("There is no such job.") from error
    return redirect("job", job_id)
