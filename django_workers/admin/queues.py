"""Queues in the admin: how deep, how late, paused or not, and the pause itself.

The list is made of what the code, the settings and the jobs say, not of rows: a queue
has none before somebody has paused it.
"""

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import quote, unquote
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from .. import control, stats
from ..models import WAITING, Job, JobStatus, Queue
from ..task import QUEUE_PATTERN
from .base import ReadOnly, WorkersModelAdmin, actor, rows, way_back
from .declared import declared_queues, declared_tasks
from .site import address, jobs_admin

_LATEST = 10


class PauseForm(forms.Form):
    """Why a queue is paused, and until when."""

    reason = forms.CharField(
        label=_("Reason"),
        max_length=255,
        required=False,
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
    )
    until = forms.DateTimeField(
        label=_("Until"),
        required=False,
        widget=forms.DateTimeInput(
            attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"
        ),
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"],
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        text = gettext("Time zone: %(zone)s. Empty: until somebody resumes it.")
        zone = timezone.get_current_timezone_name()
        self.fields["until"].help_text = text % {"zone": zone}

    def clean_until(self) -> Any:
        """Refuse a moment that has passed."""
        until = self.cleaned_data["until"]
        if until is not None and until <= timezone.now():
            raise forms.ValidationError(_("That moment has passed."))
        return until


class QueueAdmin(ReadOnly, WorkersModelAdmin[Queue]):
    """Queues: read here, paused and resumed through control."""

    actions = None

    def has_pause_permission(self, request: HttpRequest) -> bool:
        """Whether the user may pause and resume queues."""
        return self.may(request, "pause_queue")

    # The list

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show every queue there may be; pause or resume the ticked ones."""
        self.require(self.has_view_permission(request))
        if request.method == "POST":
            return self._act_on_ticked(request)
        context = self.page_context(
            request,
            title=gettext("Queues"),
            queues=stats.queue_rows(also=declared_queues()),
            may_pause=self.has_pause_permission(request),
            form=PauseForm(auto_id="queues_%s"),
            **(extra_context or {}),
        )
        return TemplateResponse(request, "django_workers/admin/queues.html", context)

    def _act_on_ticked(self, request: HttpRequest) -> HttpResponse:
        self.require(self.has_pause_permission(request))
        names = [
            name
            for name in request.POST.getlist("queue")
            if QUEUE_PATTERN.fullmatch(name)
        ]
        back = self.url("changelist")
        if not names:
            text = gettext("Choose at least one queue.")
            self.message_user(request, text, messages.WARNING)
        elif request.POST.get("action") == "pause":
            form = PauseForm(request.POST)
            if form.is_valid():
                self._pause(request, names, **form.cleaned_data)
            else:
                self._complain(request, form)
        elif request.POST.get("action") == "resume":
            self._resume(request, names)
        return way_back(request, back)

    # One queue

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show one queue; its pause is the only thing to change."""
        self.require(self.has_view_permission(request))
        name = self._name(object_id)
        queue = _row_of(name)
        if queue is None:
            raise Http404(gettext("No queue is named %(name)s.") % {"name": name})
        jobs = jobs_admin(self.admin_site)
        visible = jobs is not None and jobs.has_view_permission(request)
        context = self.page_context(
            request,
            title=name,
            crumbs=[(gettext("Queues"), self.url("changelist"))],
            queue=queue,
            figures=[
                (status.label, queue[status.value], status.value)
                for status in (*WAITING, JobStatus.RUNNING)
            ],
            tasks=[task for task in declared_tasks() if task.queue_name == name],
            running=(
                rows(Job)
                .running()
                .filter(queue=name)
                .defer("args", "kwargs", "result", "metadata")
                .order_by("last_attempted_at")[:_LATEST]
                if visible
                else []
            ),
            jobs_url=address(self.admin_site, "job_changelist") if visible else None,
            may_pause=self.has_pause_permission(request),
            form=PauseForm(),
            pause_url=self.url("pause", quote(name)),
            resume_url=self.url("resume", quote(name)),
            **(extra_context or {}),
        )
        return TemplateResponse(request, "django_workers/admin/queue.html", context)

    @method_decorator(require_POST)
    def pause_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Pause one queue, with `reason` and `until`."""
        self.require(self.has_pause_permission(request))
        name = self._name(object_id)
        form = PauseForm(request.POST)
        if form.is_valid():
            self._pause(request, [name], **form.cleaned_data)
        else:
            self._complain(request, form)
        return way_back(request, self.url("change", quote(name)))

    @method_decorator(require_POST)
    def resume_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Resume one queue."""
        self.require(self.has_pause_permission(request))
        name = self._name(object_id)
        self._resume(request, [name])
        return way_back(request, self.url("change", quote(name)))

    @staticmethod
    def _name(object_id: str) -> str:
        name = unquote(object_id)
        if not QUEUE_PATTERN.fullmatch(name):
            raise Http404(gettext("No queue has such a name."))
        return name

    # What is done

    def _pause(
        self, request: HttpRequest, names: list[str], *, reason: str, until: Any
    ) -> None:
        for name in names:
            try:
                changed = control.pause(
                    name, reason=reason, by=actor(request), until=until
                )
            except ValueError as error:  # the database's clock may be ahead of ours
                self.message_user(request, f"{name}: {error}", messages.ERROR)
                continue
            text = (
                gettext("The queue %(name)s is paused.")
                if changed
                else gettext("The queue %(name)s was paused already.")
            )
            self._report(request, name, text, changed=changed)

    def _resume(self, request: HttpRequest, names: list[str]) -> None:
        for name in names:
            changed = control.resume(name, by=actor(request))
            text = (
                gettext("The queue %(name)s is open again.")
                if changed
                else gettext("The queue %(name)s was not paused.")
            )
            self._report(request, name, text, changed=changed)

    def _report(
        self, request: HttpRequest, name: str, text: str, *, changed: bool
    ) -> None:
        text %= {"name": name}
        level = messages.SUCCESS if changed else messages.WARNING
        self.message_user(request, text, level)
        if changed:
            self.record(request, [Queue(name=name)], text)

    def _complain(self, request: HttpRequest, form: PauseForm) -> None:
        for errors in form.errors.values():
            for error in errors:
                self.message_user(request, str(error), messages.ERROR)

    # Addresses

    def get_urls(self) -> list[URLPattern]:
        """Add the addresses of pause and resume to the model's."""
        wrap = self.admin_site.admin_view
        return [
            path(
                "<path:object_id>/pause/",
                wrap(self.pause_view),
                name="django_workers_queue_pause",
            ),
            path(
                "<path:object_id>/resume/",
                wrap(self.resume_view),
                name="django_workers_queue_resume",
            ),
            *super().get_urls(),
        ]


def _row_of(name: str) -> dict[str, Any] | None:
    """What is known of a queue; None if there is no trace of it."""
    for row in stats.queue_rows(also=declared_queues()):
        if row["name"] == name:
            return dict(row)
    # Of very many queues the list names some only.
    known = (
        rows(Queue).filter(pk=name).exists()
        or rows(Job).filter(queue=name, status=JobStatus.READY).exists()
    )
    if not known:
        return None
    return {
        "name": name,
        "ready": 0,
        "scheduled": 0,
        "running": 0,
        "blocked": 0,
        "oldest_waiting": None,
        "paused": False,
    }
