"""`manage.py load_sample`: fill an empty site, mostly by jobs."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction

from ... import catalogue
from ...models import Report, Subscription, Zone
from ...tasks.health import check_health
from ...tasks.imports import import_everything
from ...tasks.mail import send_almanac
from ...tasks.pictures import SHOWN, draw_chart
from ...tasks.reports import write_report
from ...tasks.trials import ask_time_server, visit_nowhere


class Command(BaseCommand):
    """Leaves a site alone that has zones already."""

    help = "Fill an empty site: the zones at once, the rest by jobs for a worker."

    def handle(self, *args: Any, **options: Any) -> None:
        if Zone.objects.exists():
            self.stdout.write("The sample is there already.")
            return
        with transaction.atomic():
            rows = catalogue.zones().values()
            Zone.objects.bulk_create([Zone(**row._asdict()) for row in rows])
            report = Report.objects.create(title="The next season", days=180)
            reader = Subscription.objects.create(
                email="reader@example.com", zone_id="Pacific/Auckland"
            )
        jobs = [
            *import_everything(),
            *draw_chart.enqueue_many([((name,), {}) for name in SHOWN]),
            check_health.enqueue(),
            send_almanac.enqueue(reader.pk),
            write_report.using(run_after=timedelta(hours=1)).enqueue(report.pk),
            # One that fails and one that is tried again, for something to look at.
            visit_nowhere.enqueue(),
            ask_time_server.enqueue(),
        ]
        self.stdout.write(f"{len(jobs)} jobs wait for a worker.")
