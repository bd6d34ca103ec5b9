"""Workers in the admin: who is alive, how busy, and who fell silent."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..models import ALIVE, Job, WorkerSession
from ..templatetags import django_workers_admin as show
from .base import ReadOnly, WorkersModelAdmin, rows
from .menus import MenuChangeList, MenuFilter, labelled_column
from .site import address, jobs_admin

_HELD_SHOWN = 50


class AliveFilter(MenuFilter):
    """Workers that are alive, that fell silent, that ended."""

    title = _("state")
    parameter_name = "is"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        """Return the three."""
        return [("alive", _("alive")), ("stale", _("stale")), ("ended", _("ended"))]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Keep those."""
        now = timezone.now()
        if self.value() == "alive":
            return queryset.filter(state__in=ALIVE, lease_until__gte=now)
        if self.value() == "stale":
            return queryset.filter(state__in=ALIVE, lease_until__lt=now)
        if self.value() == "ended":
            return queryset.exclude(state__in=ALIVE)
        return queryset


class WorkerSessionAdmin(ReadOnly, WorkersModelAdmin[WorkerSession]):
    """Workers: read here; those that ended stay visible until they are pruned."""

    list_display = (
        "worker",
        "status",
        "host_name",
        "process",
        "load",
        "heartbeat",
        "queue_names",
        "release",
        "started",
        "ended",
    )
    list_filter = (AliveFilter,)
    list_per_page = 100
    search_fields = ("worker_id", "host")
    search_help_text = _("name or host")
    ordering = ("-id",)
    sortable_by = ()
    actions = None

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        """Return the list with its filters above."""
        return MenuChangeList

    @admin.display(description=_("worker"))
    def worker(self, session: WorkerSession) -> str:
        """Show its name."""
        return session.worker_id

    @admin.display(description=_("state"))
    def status(self, session: WorkerSession) -> SafeString:
        """Show its state, and that it fell silent."""
        return state_of(session)

    @labelled_column(_("host"))
    def host_name(self, session: WorkerSession) -> str:
        """Show where it runs."""
        return session.host

    @labelled_column(_("process id"))
    def process(self, session: WorkerSession) -> str:
        """Show the id of its process."""
        return str(session.pid)

    @labelled_column(_("version"))
    def release(self, session: WorkerSession) -> str:
        """Show which version of this package it runs."""
        return session.version

    @labelled_column(_("load"))
    def load(self, session: WorkerSession) -> str:
        """Show how many of its slots are taken."""
        return f"{session.running}/{session.slots}"

    @labelled_column(_("last heartbeat"))
    def heartbeat(self, session: WorkerSession) -> SafeString:
        """Show how long ago it was heard of."""
        return show.ago(session.heartbeat_at)

    @labelled_column(_("queues"))
    def queue_names(self, session: WorkerSession) -> str:
        """Show the queues it serves."""
        return queues_of(session)

    @labelled_column(_("started"))
    def started(self, session: WorkerSession) -> SafeString:
        """Show when it started."""
        return show.ago(session.started_at)

    @labelled_column(_("stopped"))
    def ended(self, session: WorkerSession) -> SafeString:
        """Show when it ended and why."""
        if session.stopped_at is None:
            return show.NOTHING
        return format_html(
            '{} <span class="dw-note">{}</span>',
            show.ago(session.stopped_at),
            session.stop_reason,
        )

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show one worker and the jobs it holds."""
        self.require(self.has_view_permission(request))
        try:
            session = rows(WorkerSession).get(pk=UUID(unquote(object_id)))
        except (ValueError, WorkerSession.DoesNotExist):
            raise Http404(gettext("No such worker.")) from None
        jobs = jobs_admin(self.admin_site)
        visible = jobs is not None and jobs.has_view_permission(request)
        context = self.page_context(
            request,
            title=session.worker_id,
            crumbs=[(gettext("Workers"), self.url("changelist"))],
            original=session,
            session=session,
            state=state_of(session),
            queues=queues_of(session),
            held=(
                rows(Job)
                .running()
                .filter(session=session.pk)
                .defer("args", "kwargs", "result", "metadata")
                .order_by("last_attempted_at")[:_HELD_SHOWN]
                if visible
                else []
            ),
            jobs_url=address(self.admin_site, "job_changelist") if visible else None,
            **(extra_context or {}),
        )
        return TemplateResponse(request, "django_workers/admin/worker.html", context)


def is_stale(session: WorkerSession) -> bool:
    """Whether a worker that should be alive has let its lease run out."""
    return session.state in ALIVE and session.lease_until < timezone.now()


def state_of(session: WorkerSession) -> SafeString:
    """Show a worker's state, and that it fell silent."""
    state = show.pill(session.state)
    if is_stale(session):
        return format_html("{} {}", state, show.pill("stale"))
    return state


def queues_of(session: WorkerSession) -> str:
    """Name the queues a worker serves."""
    return ", ".join(map(str, session.queues)) or gettext("all")
