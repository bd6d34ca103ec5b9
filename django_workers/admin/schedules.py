"""Schedules in the admin: edit, switch on and off, run now, see what comes next."""

from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from .. import control
from ..brokers import broker_for
from ..databases import queue_database
from ..exceptions import DjangoWorkersError, InvalidSchedule
from ..models import Job, Schedule
from ..runtime import wakeup
from ..schedules import next_fires
from ..templatetags import django_workers_admin as show
from .base import WorkersModelAdmin, actor, rows, way_back
from .menus import MenuChangeList, MenuFilter, labelled_column
from .schedule_form import ScheduleForm
from .site import address, jobs_admin

# Of a schedule that code declares, only this is for people to change.
_FREE_WHEN_DECLARED = ("enabled",)
# Arguments that nobody edits are shown by these instead.
_SHOWN = {"args": "args_shown", "kwargs": "kwargs_shown"}
_PREVIEW = 5


class EnabledFilter(MenuFilter):
    """Schedules that are on, or off."""

    title = _("state")
    parameter_name = "enabled"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        """Return on and off."""
        return [("1", _("enabled")), ("0", _("disabled"))]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Keep those."""
        value = self.value()
        return queryset.filter(enabled=value == "1") if value else queryset


class DeclaredFilter(MenuFilter):
    """Schedules that code declares, or that people made."""

    title = _("made")
    parameter_name = "declared"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        """Return the two origins."""
        return [("1", _("in code")), ("0", _("here"))]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Keep those."""
        value = self.value()
        return queryset.filter(declared=value == "1") if value else queryset


class ScheduleAdmin(WorkersModelAdmin[Schedule]):
    """Schedules: people's own ones whole, declared ones on and off."""

    form = ScheduleForm
    list_display = (
        "name",
        "task_name",
        "timing_text",
        "state",
        "next_run",
        "last_run",
        "origin",
    )
    list_filter = (EnabledFilter, DeclaredFilter)
    list_per_page = 100
    search_fields = ("name", "task")
    search_help_text = _("name or task")
    ordering = ("name",)
    sortable_by = ("name",)
    actions = ("enable_schedules", "disable_schedules", "run_schedules")
    change_form_template = "django_workers/admin/schedule.html"
    fieldsets = (
        (None, {"fields": ("name", "enabled")}),
        (_("What"), {"fields": ("task", "args", "kwargs")}),
        (_("When"), {"fields": ("cron", "timezone", "interval")}),
        (_("How"), {"fields": ("queue", "priority", "backend")}),
    )

    # Permissions

    def has_run_permission(self, request: HttpRequest) -> bool:
        """Whether the user may run schedules at once."""
        return self.may(request, "run_schedule")

    def has_delete_permission(
        self, request: HttpRequest, obj: Schedule | None = None
    ) -> bool:
        """Whether it may be deleted; a declared one would come back."""
        if obj is not None and obj.declared:
            return False
        return super().has_delete_permission(request, obj)

    def get_readonly_fields(
        self, request: HttpRequest, obj: Schedule | None = None
    ) -> list[str]:
        """Leave of a declared schedule only the switch open."""
        if obj is None or not obj.declared:
            return []
        # The fields that are shown in another way too, or the form would keep them.
        fixed = set(ScheduleForm.Meta.fields) - set(_FREE_WHEN_DECLARED)
        return [*sorted(fixed), *_SHOWN.values()]

    def get_fieldsets(self, request: HttpRequest, obj: Schedule | None = None) -> Any:
        """Show arguments that are not edited as a job's page does: some are hidden."""
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None or (
            not obj.declared and self.has_change_permission(request, obj)
        ):
            return fieldsets
        return [
            (
                title,
                {"fields": [_SHOWN.get(str(name), name) for name in shown["fields"]]},
            )
            for title, shown in fieldsets
        ]

    @admin.display(description=_("Arguments"))
    def args_shown(self, schedule: Schedule) -> SafeString:
        """Show the arguments, private values hidden."""
        return _shown(schedule.args)

    @admin.display(description=_("Keyword arguments"))
    def kwargs_shown(self, schedule: Schedule) -> SafeString:
        """Show the keyword arguments, private values hidden."""
        return _shown(schedule.kwargs)

    # The list

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        """Return the list with its filters above."""
        return MenuChangeList

    @admin.display(description=_("task"))
    def task_name(self, schedule: Schedule) -> SafeString:
        """Show the task."""
        return show.breakable(schedule.task)

    @admin.display(description=_("when"))
    def timing_text(self, schedule: Schedule) -> SafeString:
        """Say in English when it fires; the expression itself is the tooltip."""
        return format_html(
            '<span title="{}">{}</span>',
            schedule.cron or schedule.interval,
            show.words(schedule),
        )

    @admin.display(description=_("state"))
    def state(self, schedule: Schedule) -> SafeString:
        """Show whether it is on, and why not."""
        if schedule.enabled:
            return show.pill("enabled")
        return format_html(
            '{} <span class="dw-note">{}</span>',
            show.pill("disabled"),
            schedule.disabled_reason,
        )

    @labelled_column(_("next run"))
    def next_run(self, schedule: Schedule) -> SafeString:
        """Show when it fires next."""
        return show.ago(schedule.next_fire_at if schedule.enabled else None)

    @labelled_column(_("last run"))
    def last_run(self, schedule: Schedule) -> SafeString:
        """Show when it fired last, with a link to the job it made."""
        text = show.ago(schedule.last_fire_at)
        url = (
            address(self.admin_site, "job_change", quote(schedule.last_job))
            if schedule.last_job
            else None
        )
        return format_html('<a href="{}">{}</a>', url, text) if url else text

    @admin.display(description=_("declared"))
    def origin(self, schedule: Schedule) -> str:
        """Show whether it comes from code."""
        return show.pill("declared") if schedule.declared else show.NOTHING

    # Actions of the list

    @admin.action(permissions=["change"], description=_("Enable selected schedules"))
    def enable_schedules(
        self, request: HttpRequest, queryset: QuerySet[Schedule]
    ) -> None:
        """Switch on what is selected."""
        self._switch(request, list(queryset), on=True)

    @admin.action(permissions=["change"], description=_("Disable selected schedules"))
    def disable_schedules(
        self, request: HttpRequest, queryset: QuerySet[Schedule]
    ) -> None:
        """Switch off what is selected."""
        self._switch(request, list(queryset), on=False)

    @admin.action(permissions=["run"], description=_("Run selected schedules now"))
    def run_schedules(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        """Enqueue a job of each that is selected."""
        self._run(request, list(queryset))

    def _switch(
        self, request: HttpRequest, schedules: list[Schedule], *, on: bool
    ) -> None:
        self.require(self.has_change_permission(request))
        switch = control.enable_schedule if on else control.disable_schedule
        changed: list[Schedule] = []
        unchanged: list[Schedule] = []
        for schedule in schedules:
            try:
                done = switch(schedule.name, by=actor(request))
            except (DjangoWorkersError, LookupError) as error:
                self._complain(request, schedule, error)
            else:
                (changed if done else unchanged).append(schedule)
        if unchanged:
            names = ", ".join(schedule.name for schedule in unchanged)
            text = gettext("Nothing to change: %(names)s.") % {"names": names}
            self.message_user(request, text, messages.WARNING)
        if not changed:
            return
        count = len(changed)
        text = (
            ngettext("%(n)s schedule is enabled", "%(n)s schedules are enabled", count)
            if on
            else ngettext(
                "%(n)s schedule is disabled", "%(n)s schedules are disabled", count
            )
        ) % {"n": count}
        names = ", ".join(schedule.name for schedule in changed)
        self.message_user(request, f"{text}: {names}.", messages.SUCCESS)
        self.record(
            request, changed, gettext("Enabled.") if on else gettext("Disabled.")
        )

    def _run(self, request: HttpRequest, schedules: list[Schedule]) -> None:
        self.require(self.has_run_permission(request))
        jobs = jobs_admin(self.admin_site)
        for schedule in schedules:
            try:
                job_id = control.run_schedule(schedule.name, by=actor(request))
            except (DjangoWorkersError, LookupError, ValueError) as error:
                self._complain(request, schedule, error)
                continue
            text = gettext("%(name)s: job %(id)s was enqueued.") % {
                "name": schedule.name,
                "id": show.short_id(job_id),
            }
            if jobs and jobs.has_view_permission(request):
                url = jobs.url_of(Job(pk=UUID(str(job_id))))
                text = format_html('<a href="{}">{}</a>', url, text)
            self.message_user(request, text, messages.SUCCESS)
            self.record(
                request,
                [schedule],
                gettext("Run now: job %(id)s.") % {"id": job_id},
            )

    def _complain(
        self, request: HttpRequest, schedule: Schedule, error: Exception
    ) -> None:
        self.message_user(request, f"{schedule.name}: {error}", messages.ERROR)

    # One schedule

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Show the form with what the schedule has done and will do beside it."""
        own: dict[str, Any] = {}
        schedule = self._find(object_id) if object_id else None
        if schedule is not None:
            own = {
                "schedule": schedule,
                "words": show.words(schedule),
                "upcoming": upcoming(schedule),
                "zone": _zone_name(schedule),
                "last_run": on_its_clock(schedule, schedule.last_fire_at),
                "last_job_url": (
                    address(self.admin_site, "job_change", quote(schedule.last_job))
                    if schedule.last_job
                    else None
                ),
                "jobs_url": address(self.admin_site, "job_changelist"),
                "may_run": self.has_run_permission(request),
                "may_switch": self.has_change_permission(request, schedule),
                "run_url": self.url("run", quote(schedule.pk)),
                "enable_url": self.url("enable", quote(schedule.pk)),
                "disable_url": self.url("disable", quote(schedule.pk)),
            }
        return super().changeform_view(
            request, object_id, form_url, {**own, **(extra_context or {})}
        )

    def _find(self, object_id: str) -> Schedule | None:
        try:
            found: Schedule | None = (
                rows(Schedule).filter(pk=unquote(object_id)).first()
            )
        except (ValueError, ValidationError):
            return None
        return found

    def save_model(
        self, request: HttpRequest, obj: Schedule, form: Any, change: bool
    ) -> None:
        """Save what the form changed, with the moment it is due next.

        Only that: a worker may move the rest of the row at any time.
        """
        planned = form.plan(by=actor(request))
        using = queue_database()
        if change:
            fields = {name for name in form.changed_data if name in form.fields}
            obj.save(using=using, update_fields=[*fields, *planned])
        else:
            obj.save(using=using)
        wakeup.announce(broker_for(using), [wakeup.DUE])

    # Addresses of the buttons

    def get_urls(self) -> list[URLPattern]:
        """Add the addresses of the buttons to the model's."""
        wrap = self.admin_site.admin_view
        return [
            path(
                f"<path:object_id>/{name}/",
                wrap(view),
                name=f"django_workers_schedule_{name}",
            )
            for name, view in (
                ("run", self.run_view),
                ("enable", self.enable_view),
                ("disable", self.disable_view),
            )
        ] + super().get_urls()

    @method_decorator(require_POST)
    def run_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Enqueue a job of one schedule at once."""
        self.require(self.has_run_permission(request))
        schedule = self._existing(object_id)
        self._run(request, [schedule])
        return self._back(request, schedule)

    @method_decorator(require_POST)
    def enable_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Switch one schedule on."""
        self.require(self.has_change_permission(request))
        schedule = self._existing(object_id)
        self._switch(request, [schedule], on=True)
        return self._back(request, schedule)

    @method_decorator(require_POST)
    def disable_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Switch one schedule off."""
        self.require(self.has_change_permission(request))
        schedule = self._existing(object_id)
        self._switch(request, [schedule], on=False)
        return self._back(request, schedule)

    def _existing(self, object_id: str) -> Schedule:
        schedule = self._find(object_id)
        if schedule is None:
            raise Http404(gettext("No such schedule."))
        return schedule

    def _back(self, request: HttpRequest, schedule: Schedule) -> HttpResponse:
        return way_back(request, self.url("change", quote(schedule.pk)))


def _shown(value: Any) -> SafeString:
    return format_html('<pre class="dw-pre">{}</pre>', show.payload(value))


def upcoming(schedule: Schedule) -> list[Any]:
    """The next runs, on the clock of the schedule's zone."""
    try:
        return [
            on_its_clock(schedule, moment) for moment in next_fires(schedule, _PREVIEW)
        ]
    except (InvalidSchedule, LookupError, ValueError):
        return []


def on_its_clock(schedule: Schedule, moment: datetime | None) -> datetime | None:
    """An instant on the clock of the schedule's zone, the site's if it is unknown."""
    if moment is None or not timezone.is_aware(moment):
        return moment
    try:
        zone = ZoneInfo(schedule.timezone) if schedule.timezone else None
    except (LookupError, ValueError):
        zone = None
    return timezone.localtime(moment, zone or timezone.get_default_timezone())


def _zone_name(schedule: Schedule) -> str:
    return schedule.timezone or timezone.get_default_timezone_name()
