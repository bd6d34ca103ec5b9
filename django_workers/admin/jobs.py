"""Jobs in the admin: the list, the page of one job, and what can be done to them."""

from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from ..models import Job
from ..templatetags import django_workers_admin as show
from .base import ReadOnly, WorkersModelAdmin, rows, way_back
from .bulk import BulkPage
from .job_list import (
    LOOKUPS,
    PER_PAGE,
    JobChangeList,
    QueueFilter,
    StatusFilter,
    TagFilter,
    TaskFilter,
    search,
)
from .job_page import job_page
from .menus import labelled_column
from .verbs import (
    CANCEL,
    RETRY,
    RETRY_RESET,
    RUN_NOW,
    VERBS,
    Verb,
    carry_out,
    is_allowed,
)

_REASON_SHOWN = 90


class JobAdmin(ReadOnly, WorkersModelAdmin[Job]):
    """Jobs: read here, changed by the verbs alone."""

    list_display = (
        "job",
        "task_name",
        "state",
        "queue_name",
        "level",
        "tries",
        "enqueued",
        "started",
        "took",
    )
    list_filter = (StatusFilter, QueueFilter, TaskFilter, TagFilter)
    list_per_page = PER_PAGE
    sortable_by: ClassVar[tuple[str, ...]] = ()
    search_fields = ("id", "task", "tags")
    search_help_text = _("id, task or tag")
    actions = ("cancel_jobs", "retry_jobs", "retry_jobs_reset", "run_jobs")

    # Permissions

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Whether the user may cancel jobs."""
        return self.may(request, "cancel_job")

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Whether the user may retry jobs."""
        return self.may(request, "retry_job")

    def has_run_permission(self, request: HttpRequest) -> bool:
        """Whether the user may run scheduled jobs now."""
        return self.may(request, "run_job")

    def has_enqueue_permission(self, request: HttpRequest) -> bool:
        """Whether the user may enqueue tasks, that is, add jobs."""
        return self.may(request, "add_job")

    # The list

    def get_changelist(
        self, request: HttpRequest, **kwargs: Any
    ) -> type[JobChangeList]:
        """Return the list whose pages are cut by id."""
        return JobChangeList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        """Leave out what may be large: a list never shows arguments or results."""
        jobs: QuerySet[Job] = super().get_queryset(request)
        return jobs.defer("args", "kwargs", "result", "metadata")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Job], search_term: str
    ) -> tuple[QuerySet[Job], bool]:
        """Find jobs by id, task or tag."""
        return search(queryset, search_term), False

    def lookup_allowed(
        self, lookup: str, value: str, request: HttpRequest | None = None
    ) -> bool:
        """Allow the filters we can answer in time, and no others."""
        return lookup in LOOKUPS

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the list, with what can be done to all that it matches."""
        verbs = [verb for verb in VERBS.values() if is_allowed(verb, self, request)]
        own = {"bulk_verbs": verbs, "bulk_url": self.url("bulk")}
        return super().changelist_view(request, {**own, **(extra_context or {})})

    @admin.display(description=_("job"))
    def job(self, job: Job) -> SafeString:
        """Show the end of the id: of jobs made together the beginnings are alike."""
        return format_html('<span title="{}">…{}</span>', job.pk, str(job.pk)[-8:])

    @admin.display(description=_("task"))
    def task_name(self, job: Job) -> SafeString:
        """Show the task, its tags, and below why it is blocked, failed or cancelled.

        Most jobs have no reason: a column of its own would be empty.
        """
        tags = format_html_join(
            " ", '<span class="dw-tag">{}</span>', ((tag,) for tag in job.tags[:5])
        )
        reason = job.reason
        if len(reason) > _REASON_SHOWN:
            reason = f"{reason[:_REASON_SHOWN]}…"
        note = format_html('<div class="dw-note">{}</div>', reason) if reason else ""
        return format_html("{} {}{}", show.breakable(job.task), tags, note)

    @admin.display(description=_("status"))
    def state(self, job: Job) -> SafeString:
        """Show the status as a coloured word."""
        return show.status_of(job)

    @labelled_column(_("queue"))
    def queue_name(self, job: Job) -> SafeString:
        """Show the queue."""
        return show.breakable(job.queue)

    @labelled_column(_("priority"))
    def level(self, job: Job) -> str:
        """Show the priority with its level."""
        return show.level(job.priority)

    @labelled_column(_("attempts"))
    def tries(self, job: Job) -> str:
        """Show how many attempts were used, and of how many."""
        return f"{job.attempts}/{job.max_attempts}"

    @labelled_column(_("enqueued"))
    def enqueued(self, job: Job) -> SafeString:
        """Show when it was enqueued."""
        return show.ago(job.enqueued_at)

    @labelled_column(_("started"))
    def started(self, job: Job) -> SafeString:
        """Show when its last attempt started."""
        return show.ago(job.last_attempted_at or job.started_at)

    @labelled_column(_("duration"))
    def took(self, job: Job) -> str:
        """Show how long the last attempt ran."""
        return show.seconds(job.duration)

    # Actions of the list

    @admin.action(permissions=["cancel"], description=_("Cancel selected jobs"))
    def cancel_jobs(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        """Cancel what is selected."""
        carry_out(CANCEL, self, request, queryset)

    @admin.action(permissions=["retry"], description=_("Retry selected jobs"))
    def retry_jobs(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        """Give what is selected one more attempt."""
        carry_out(RETRY, self, request, queryset)

    @admin.action(
        permissions=["retry"], description=_("Retry selected jobs with all attempts")
    )
    def retry_jobs_reset(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        """Let what is selected start over."""
        carry_out(RETRY_RESET, self, request, queryset)

    @admin.action(permissions=["run"], description=_("Run selected jobs now"))
    def run_jobs(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        """Make what is selected ready."""
        carry_out(RUN_NOW, self, request, queryset)

    # Addresses

    def get_urls(self) -> list[URLPattern]:
        """Add the verbs' own addresses to the model's."""
        wrap = self.admin_site.admin_view
        bulk = BulkPage(self)
        return [
            path("bulk/", wrap(bulk), name="django_workers_job_bulk"),
            path(
                "<path:object_id>/cancel/",
                wrap(self.cancel_view),
                name="django_workers_job_cancel",
            ),
            path(
                "<path:object_id>/retry/",
                wrap(self.retry_view),
                name="django_workers_job_retry",
            ),
            path(
                "<path:object_id>/run/",
                wrap(self.run_view),
                name="django_workers_job_run",
            ),
            *super().get_urls(),
        ]

    def url_of(self, job: Job) -> str:
        """The address of a job's page."""
        return self.url("change", quote(job.pk))

    # One job

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show one job; there is nothing to edit."""
        self.require(self.has_view_permission(request))
        job = self._job(object_id)
        self.require(self.has_view_permission(request, job))
        context = self.page_context(
            request,
            title=job.task,
            crumbs=[(gettext("Jobs"), self.url("changelist"))],
            original=job,
            **job_page(job, self, request),
            **(extra_context or {}),
        )
        return TemplateResponse(request, "django_workers/admin/job.html", context)

    def _job(self, object_id: str) -> Job:
        """The job of an id from an address; raises Http404."""
        try:
            job_id = UUID(unquote(object_id))
            job: Job = rows(Job).get(pk=job_id)
        except (ValueError, ValidationError, Job.DoesNotExist):
            raise Http404(
                gettext("No job has the id %(id)s.") % {"id": object_id}
            ) from None
        return job

    @method_decorator(require_POST)
    def cancel_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Cancel one job; `reason` may say why."""
        return self._act(CANCEL, request, object_id)

    @method_decorator(require_POST)
    def retry_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Retry one job; with `reset_attempts` it starts over."""
        reset = bool(request.POST.get("reset_attempts"))
        return self._act(RETRY_RESET if reset else RETRY, request, object_id)

    @method_decorator(require_POST)
    def run_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Make one scheduled job ready now."""
        return self._act(RUN_NOW, request, object_id)

    def _act(self, verb: Verb, request: HttpRequest, object_id: str) -> HttpResponse:
        # Before the job is looked for: who may not act learns nothing of it.
        self.require(is_allowed(verb, self, request))
        job = self._job(object_id)
        carry_out(verb, self, request, [job])
        may_view = self.has_view_permission(request, job)
        home = reverse("admin:index", current_app=self.admin_site.name)
        return way_back(request, self.url_of(job) if may_view else home)
