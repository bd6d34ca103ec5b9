"""Ask for a report, to be written in an hour."""

from datetime import timedelta

from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods

from django_workers.models import Job

from ..forms import ReportForm
from ..models import Report
from ..tasks.reports import write_report

DELAY = timedelta(hours=1)
SHOWN = 20
# Reports carry this host's time, jobs the database's.
LEEWAY = timedelta(minutes=1)


@require_http_methods(["GET", "POST"])
def page(request: HttpRequest) -> HttpResponse:
    """Show the reports, or save one and enqueue the writing of it.

    ATOMIC_REQUESTS makes that one transaction: if anything fails on the way, neither
    the report nor its job has ever been there.
    """
    form = ReportForm(request.POST or None)
    if form.is_valid():
        report = form.save()
        result = write_report.using(run_after=DELAY).enqueue(report.pk)
        return redirect("job", result.id)
    context = {"form": form, "reports": latest_reports()}
    return render(
        request, "atlas/reports.html", context, status=422 if form.errors else 200
    )


def latest_reports() -> list[tuple[Report, Job | None]]:
    """The latest reports, each with the job that writes it unless that is pruned."""
    reports = list(Report.objects.all()[:SHOWN])
    if not reports:
        return []
    jobs = Job.objects.filter(
        task=write_report.key, enqueued_at__gte=reports[-1].asked_at - LEEWAY
    )
    job_of = {job.args[0]: job for job in jobs.order_by("id")}
    return [(report, job_of.get(report.pk)) for report in reports]


@transaction.non_atomic_requests
@require_GET
def download(request: HttpRequest, pk: int) -> HttpResponse:
    """Send a report as a file."""
    report = get_object_or_404(Report, pk=pk)
    if report.finished_at is None:
        raise Http404("The report has not been written yet.")
    headers = {"Content-Disposition": f'attachment; filename="report-{pk}.csv"'}
    return HttpResponse(report.text, content_type="text/csv", headers=headers)
