"""Tasks in the admin: what the code declares, how it fares, a form to enqueue it."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django import forms
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.contrib.admin.models import ADDITION
from django.core.exceptions import PermissionDenied
from django.db.models import Q, Sum
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods, require_safe

from ..backend import effective
from ..compat import InvalidTask
from ..exceptions import DjangoWorkersError
from ..models import AttemptOutcome, Job, OnCrash, Queue, Rollup, Schedule
from ..stats import FAILURES as FAILED_OUTCOMES
from ..task import QUEUE_PATTERN, Task
from ..templatetags.django_workers_admin import short_id
from .backoffs import backoff_in_words
from .base import record, rows
from .declared import current_names, declared_task, declared_tasks, discover
from .json_field import StrictJSONField
from .priority_field import PriorityField
from .signatures import bind, call_text
from .site import address, context_of, jobs_admin

# The figures of a task are those of the last hour; its last failure is looked for among
# so many of the newest ones of all tasks.
WINDOW: Final = timedelta(hours=1)
FAILURES: Final = 500
_LATEST: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """A declared task and how it fared of late."""

    task: Task[Any, Any]
    url: str | None
    max_attempts: int
    # Seconds; None without a limit.
    timeout: float | None
    successful: int = 0
    failed: int = 0
    # Seconds; None when nothing ran.
    mean: float | None = None
    last_failure: Job | None = None


class EnqueueForm(forms.Form):
    """The arguments of one job, and what may differ from the task's own policy."""

    args = StrictJSONField(
        kind=list, label=_("Arguments"), help_text=_('A JSON list, like [42, "eu"].')
    )
    kwargs = StrictJSONField(
        kind=dict,
        label=_("Keyword arguments"),
        help_text=_('A JSON object, like {"copies": 2}.'),
    )
    delay = forms.FloatField(
        label=_("Start after"),
        required=False,
        min_value=0,
        max_value=10 * 365 * 86_400,
        help_text=_("Seconds from now. Empty: at once."),
    )
    queue = forms.CharField(label=_("Queue"), required=False, max_length=128)
    priority = PriorityField()

    def __init__(self, task: Task[Any, Any], data: Any = None) -> None:
        self.task = task
        super().__init__(data, initial={"args": [], "kwargs": {}})
        self.fields["queue"].widget.attrs["placeholder"] = task.queue_name
        self.fields["priority"].widget.attrs["placeholder"] = str(task.priority)

    def clean_queue(self) -> str | None:
        """Refuse what cannot name a queue."""
        queue = self.cleaned_data["queue"]
        if queue and not QUEUE_PATTERN.fullmatch(queue):
            raise forms.ValidationError(
                _("A queue's name has letters, digits and _.:- only, at most 128.")
            )
        return queue or None

    def clean(self) -> dict[str, Any]:
        """Refuse arguments the function does not take."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if {"args", "kwargs"} <= cleaned.keys():
            wrong = bind(self.task, cleaned["args"], cleaned["kwargs"])
            for name, error in wrong.items():
                self.add_error(name, error)
        return cleaned

    def enqueue(self) -> Any:
        """Enqueue the task; return its result. Raises what `Task.enqueue()` raises."""
        cleaned = self.cleaned_data
        task = self.task.using(
            queue_name=cleaned["queue"], priority=cleaned["priority"]
        )
        if cleaned["delay"]:
            task = task.using(run_after=timedelta(seconds=cleaned["delay"]))
        return task.enqueue(*cleaned["args"], **cleaned["kwargs"])


class TaskPages:
    """The pages of one site about tasks, which are code and no rows."""

    def __init__(self, site: AdminSite) -> None:
        self.site = site

    @method_decorator(require_safe)
    def listing(self, request: HttpRequest) -> HttpResponse:
        """Show every task declared in the code of this site."""
        self._require_view(request)
        problem = discover()
        failures = _last_failures()
        fares = _fares()
        context = context_of(
            self.site,
            request,
            title=gettext("Tasks"),
            problem=problem,
            rows=[
                TaskRow(
                    task=task,
                    **effective(task)._asdict(),
                    url=address(self.site, "task_change", task.key),
                    last_failure=failures.get(task.key),
                    **fares.get(task.key, {}),
                )
                for task in declared_tasks()
            ],
            jobs_url=address(self.site, "job_changelist"),
        )
        return TemplateResponse(request, "django_workers/admin/tasks.html", context)

    @method_decorator(require_safe)
    def page(self, request: HttpRequest, name: str) -> HttpResponse:
        """Show one task, with the form that enqueues it."""
        self._require_view(request)
        task = self._task(name)
        return self._render(request, task, EnqueueForm(task))

    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    def enqueue(self, request: HttpRequest, name: str) -> HttpResponse:
        """Enqueue one declared task with the given arguments.

        A form with mistakes is shown again at this address: read anew, it leads to the
        page of the task.
        """
        if request.method != "POST":
            return HttpResponseRedirect(address(self.site, "task_change", name) or "")
        jobs = jobs_admin(self.site)
        if jobs is None or not jobs.has_enqueue_permission(request):
            raise PermissionDenied
        task = self._task(name)
        form = EnqueueForm(task, request.POST)
        if not form.is_valid():
            return self._render(request, task, form)
        try:
            result = form.enqueue()
        except (DjangoWorkersError, InvalidTask, ValueError, TypeError) as error:
            form.add_error(None, str(error))
            return self._render(request, task, form)
        self._report(request, task, str(result.id))
        self._warn_of_pause(request, form.cleaned_data["queue"] or task.queue_name)
        back = address(self.site, "task_change", task.key)
        return HttpResponseRedirect(back or "")

    def _report(self, request: HttpRequest, task: Task[Any, Any], job_id: str) -> None:
        text = gettext("Job %(id)s was enqueued.") % {"id": short_id(job_id)}
        jobs = jobs_admin(self.site)
        try:
            job = Job(pk=UUID(job_id), task=task.key)
        except ValueError:  # the id of a backend that is not ours
            job = None
        if job is not None:
            record(request, [job], gettext("Enqueued by hand."), flag=ADDITION)
            if jobs and jobs.has_view_permission(request):
                text = format_html('<a href="{}">{}</a>', jobs.url_of(job), text)
        messages.success(request, text)

    @staticmethod
    def _warn_of_pause(request: HttpRequest, queue: str) -> None:
        paused = rows(Queue).filter(name=queue, paused_at__isnull=False)
        over = Q(paused_until__isnull=False, paused_until__lte=timezone.now())
        if paused.exclude(over).exists():
            text = gettext("The queue %(name)s is paused: the job waits there.")
            messages.warning(request, text % {"name": queue})

    def _render(
        self,
        request: HttpRequest,
        task: Task[Any, Any],
        form: EnqueueForm,
    ) -> HttpResponse:
        jobs = jobs_admin(self.site)
        may_view = jobs is not None and jobs.has_view_permission(request)
        names = {task.key, *task.aliases}
        context = context_of(
            self.site,
            request,
            title=task.key,
            crumbs=[(gettext("Tasks"), address(self.site, "task_changelist"))],
            task=task,
            call=call_text(task),
            backoff=backoff_in_words(task.backoff) if task.backoff else "",
            exceptions=_exceptions(task),
            **effective(task)._asdict(),
            on_crash=OnCrash(task.on_crash).label,
            doc=(task.func.__doc__ or "").strip(),
            fare=_fares().get(task.key, {}),
            failures=(
                [job for job in _failed_jobs() if job.task in names][:_LATEST]
                if may_view
                else []
            ),
            schedules=rows(Schedule).filter(task__in=names).order_by("name")[:20],
            form=form,
            may_enqueue=jobs is not None and jobs.has_enqueue_permission(request),
            enqueue_url=address(self.site, "task_enqueue", task.key),
            jobs_url=address(self.site, "job_changelist") if may_view else None,
        )
        return TemplateResponse(request, "django_workers/admin/task.html", context)

    def _require_view(self, request: HttpRequest) -> None:
        jobs = jobs_admin(self.site)
        if jobs is None or not (
            jobs.has_view_permission(request) or jobs.has_enqueue_permission(request)
        ):
            raise PermissionDenied

    @staticmethod
    def _task(name: str) -> Task[Any, Any]:
        task = declared_task(name)
        if task is None:
            raise Http404(gettext("No task is named %(name)s.") % {"name": name})
        return task


def _exceptions(task: Task[Any, Any]) -> list[tuple[str, str]]:
    """Which exceptions are retried, if the task says so."""
    told = (
        (gettext("Retried on"), task.retry_on),
        (gettext("Never retried on"), task.no_retry_on),
    )
    return [
        (name, ", ".join(kind.__qualname__ for kind in kinds))
        for name, kinds in told
        if kinds
    ]


def _fares() -> dict[str, dict[str, Any]]:
    """How each task fared in the last hour, by the name jobs are stored under."""
    since = timezone.now() - WINDOW
    names = current_names()
    found: dict[str, dict[str, Any]] = defaultdict(
        lambda: {"successful": 0, "failed": 0}
    )
    seconds: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for row in (
        rows(Rollup)
        .filter(minute__gte=since)
        .values("task", "outcome")
        .annotate(times=Sum("count"), run=Sum("run_seconds"))
        .order_by()
    ):
        task = names.get(row["task"], row["task"])
        if row["outcome"] == AttemptOutcome.SUCCESSFUL:
            found[task]["successful"] += row["times"]
        elif row["outcome"] in FAILED_OUTCOMES:
            found[task]["failed"] += row["times"]
        else:
            continue
        seconds[task][0] += row["run"]
        seconds[task][1] += row["times"]
    for task, (run, times) in seconds.items():
        found[task]["mean"] = run / times if times else None
    return found


def _failed_jobs() -> list[Job]:
    """The newest failures of all tasks, as far as we look."""
    failed: list[Job] = list(
        rows(Job)
        .filter(status=Job.Status.FAILED, finished_at__isnull=False)
        .order_by("-finished_at")
        .only("pk", "task", "queue", "finished_at", "reason")[:FAILURES]
    )
    return failed


def _last_failures() -> Mapping[str, Job]:
    """The newest failure of each task."""
    names = current_names()
    last: dict[str, Job] = {}
    for job in _failed_jobs():
        last.setdefault(names.get(job.task, job.task), job)
    return last
