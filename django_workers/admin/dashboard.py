"""The task dashboard: how the queue is doing, on one page and as JSON."""

from typing import Any, Final

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from .. import stats
from ..models import ALIVE, WAITING, JobStatus
from .charts import throughput_chart
from .declared import declared_queues
from .job_list import WAITING_GROUP
from .site import (
    address,
    context_of,
    jobs_admin,
    queues_admin,
    schedules_admin,
    workers_admin,
)
from .verbs import CANCEL, RETRY, is_allowed

# Statuses are counted up to here; above it the page says "100,000+".
COUNTED: Final = 100_000
MINUTES: Final = 60
RUNNING_SHOWN: Final = 20

# Figure -> (its name, the statuses it adds up, the filter of the list it links to).
# What the JSON says of a job.
_OF_JOB: Final = ("id", "task", "queue")
_FIGURES: Final[dict[str, tuple[Any, tuple[str, ...], str]]] = {
    "pending": (_("pending"), WAITING, WAITING_GROUP),
    "running": (_("running"), (JobStatus.RUNNING,), JobStatus.RUNNING),
    "completed": (_("completed"), (JobStatus.SUCCESSFUL,), JobStatus.SUCCESSFUL),
    "failed": (_("failed"), (JobStatus.FAILED,), JobStatus.FAILED),
    "cancelled": (_("cancelled"), (JobStatus.CANCELLED,), JobStatus.CANCELLED),
    "total": (_("total"), tuple(JobStatus.values), ""),
}


class Dashboard:
    """The pages of one site that belong to no model's list."""

    def __init__(self, site: AdminSite) -> None:
        self.site = site

    @method_decorator(require_safe)
    def page(self, request: HttpRequest) -> HttpResponse:
        """Show the dashboard: what the user may see of it."""
        context = context_of(
            self.site,
            request,
            title=gettext("Task dashboard"),
            live_url=address(self.site, "live"),
            stats_url=address(self.site, "stats"),
            **self._sections(request),
        )
        return TemplateResponse(request, "django_workers/admin/dashboard.html", context)

    @method_decorator(require_safe)
    def live(self, request: HttpRequest) -> HttpResponse:
        """Send the part of the page that changes, for its script."""
        request.current_app = self.site.name
        return TemplateResponse(
            request, "django_workers/admin/dashboard_live.html", self._sections(request)
        )

    @method_decorator(require_safe)
    def stats(self, request: HttpRequest) -> HttpResponse:
        """Send the same figures as JSON."""
        seen = self._seen(request)
        answer: dict[str, Any] = {}
        if seen["jobs"]:
            counts = stats.counts(limit=COUNTED)
            for name, (_word, statuses, _filter) in _FIGURES.items():
                answer[name] = sum(counts.get(status, 0) for status in statuses)
            answer["by_status"] = counts
            # Beyond it a status is not counted further: its figure is "at least".
            answer["counted_up_to"] = COUNTED
            answer["timings"] = stats.timings()
            answer["throughput"] = stats.throughput(minutes=MINUTES)
            failed, running = (
                stats.latest_failures(10),
                stats.running_jobs(RUNNING_SHOWN),
            )
            answer["failures"] = list(failed.values(*_OF_JOB, "reason", "finished_at"))
            answer["running_jobs"] = list(
                running.values(*_OF_JOB, "worker", "last_attempted_at")
            )
        if seen["queues"]:
            answer["queues"] = stats.queue_rows(also=declared_queues())
        if seen["workers"]:
            answer["workers"] = _alive()
        if seen["schedules"]:
            fires = stats.next_fires(10).values("name", "task", "next_fire_at")
            answer["fires"] = list(fires)
        return JsonResponse(answer)

    def _seen(self, request: HttpRequest) -> dict[str, bool]:
        """Which parts the user may see; raises PermissionDenied if none."""
        admins: dict[str, Any] = {
            "jobs": jobs_admin(self.site),
            "queues": queues_admin(self.site),
            "workers": workers_admin(self.site),
            "schedules": schedules_admin(self.site),
        }
        seen = {
            name: admin is not None and admin.has_view_permission(request)
            for name, admin in admins.items()
        }
        if not any(seen.values()):
            raise PermissionDenied
        return seen

    def _sections(self, request: HttpRequest) -> dict[str, Any]:
        """The figures of each part the user may see."""
        seen = self._seen(request)
        sections: dict[str, Any] = {
            "seen": seen,
            "back_url": address(self.site, "dashboard"),
        }
        jobs = jobs_admin(self.site)
        if jobs and seen["jobs"]:
            minutes = stats.throughput(minutes=MINUTES)
            sections |= {
                "jobs_url": jobs.url("changelist"),
                "figures": self._figures(jobs.url("changelist")),
                "chart": throughput_chart(minutes),
                "timings": stats.timings(),
                "failures": list(stats.latest_failures(10)),
                "running": list(stats.running_jobs(RUNNING_SHOWN)),
                "may_cancel": is_allowed(CANCEL, jobs, request),
                "may_retry": is_allowed(RETRY, jobs, request),
            }
        if seen["queues"]:
            sections["queues"] = stats.queue_rows(also=declared_queues())
        if seen["workers"]:
            workers = _alive()
            sections["workers"] = workers
            sections["no_worker"] = all(worker["stale"] for worker in workers)
        if seen["schedules"]:
            sections["fires"] = list(stats.next_fires(10))
        return sections

    @staticmethod
    def _figures(jobs_url: str) -> list[dict[str, Any]]:
        """One tile per key of `control.stats()`, each with the list it counts."""
        counts = stats.counts(limit=COUNTED)
        tiles = []
        for name, (word, statuses, status) in _FIGURES.items():
            parts = [counts.get(part, 0) for part in statuses]
            over = any(part > COUNTED for part in parts)
            tiles.append(
                {
                    "name": name,
                    "word": word,
                    "value": COUNTED + 1 if over else sum(parts),
                    "cap": COUNTED if over else None,
                    "url": f"{jobs_url}?status={status}" if status else jobs_url,
                }
            )
        return tiles


def _alive() -> list[dict[str, Any]]:
    """The workers that have not ended, the silent ones included."""
    return [dict(row) for row in stats.session_rows() if row["state"] in ALIVE]
