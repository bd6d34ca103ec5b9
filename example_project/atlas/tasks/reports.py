"""Write down which clocks will change."""

import csv
import io
from datetime import timedelta

from django.utils import timezone

from django_workers import Cancel, task

from ..models import Report, Transition


@task(name="report:changes", max_attempts=2)
def write_report(report_id: int) -> dict[str, int]:
    """Fill in a report with all changes in the days it asks for."""
    report = Report.objects.filter(pk=report_id).first()
    if report is None:
        raise Cancel("the report is no longer wanted")
    now = timezone.now()
    changes = Transition.objects.filter(
        at__gt=now, at__lte=now + timedelta(days=report.days)
    ).order_by("at", "zone")
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["instant", "zone", "minutes forward", "then called"])
    for change in changes:
        minutes = int(change.shift.total_seconds() // 60)
        writer.writerow(
            [change.at.isoformat(), change.zone_id, minutes, change.abbreviation]
        )
    report.text, report.finished_at = text.getvalue(), now
    report.save()
    return {"report": report_id, "changes": len(changes)}
