"""The list of jobs: filters, search and pages that cost the same on any history.

Pages are cut by id, not by number: "older than this one", so that nothing is counted
and nothing is skipped over. What no index answers is looked for among a fixed number
of jobs at a time; the link to older ones goes on where the look ended.
"""

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.db.models import Q
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from .. import stats
from ..codec.error_text import UNSTORABLE
from ..models import WAITING, Job, JobStatus, Queue
from ..models.tags import has_tag
from .base import rows
from .declared import declared_tasks
from .menus import MenuChangeList, MenuFilter

if TYPE_CHECKING:
    from .jobs import JobAdmin

PER_PAGE: Final = 50
# How many jobs one page looks at when no index leads to the right ones.
WINDOW: Final = 100_000
# How far the figures above the list are counted.
COUNTED: Final = 10_000
# A filter offers so many choices, as a menu can be searched by typing; the others are
# reached by search or by address.
CHOICES: Final = 1_000

BEFORE: Final = "before"
AFTER: Final = "after"
VERB: Final = "verb"

# Found through the index of finished jobs. Successful ones are not: most jobs are, and
# looking among the newest beats sorting all of them.
_RARE_ENDS: Final = (JobStatus.FAILED, JobStatus.CANCELLED)
# The only parameters a filter of the list may have: what we can answer in time.
LOOKUPS: Final = frozenset(
    {"status", "queue", "task", "tag", "session", "schedule", "worker"}
)
WAITING_GROUP: Final = "waiting"

_UUID_DIGITS: Final = 32
# The longest number that any database takes for the key of a schedule.
_KEY_DIGITS: Final = 18
_SHORTEST_PREFIX: Final = 4
_HEX: Final = re.compile(r"[0-9a-f]{1,32}")


class StatusFilter(MenuFilter):
    """Jobs by status; `waiting` stands for the three that have not started."""

    title = _("status")
    parameter_name = "status"
    # Shown as tabs.
    is_menu = False

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[Any]:
        """Return every status, and the group."""
        return [(WAITING_GROUP, _("waiting")), *JobStatus.choices]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Keep the jobs of the status, in words that match its partial index."""
        return in_status(queryset, self.value())


def in_status(jobs: Any, status: str | None) -> Any:
    """Keep the jobs of a status or of the group `waiting`; all of them without one."""
    if not status:
        return jobs
    if status == WAITING_GROUP:
        # One arm for each partial index; `status IN (...)` would match none of them.
        ready, scheduled, blocked = (Q(status=waiting) for waiting in WAITING)
        return jobs.filter(ready | scheduled | blocked)
    jobs = jobs.filter(status=status)
    if status in _RARE_ENDS:
        # What the index of finished jobs asks for.
        return jobs.filter(finished_at__isnull=False)
    return jobs


class QueueFilter(MenuFilter):
    """Jobs by queue."""

    title = _("queue")
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[Any]:
        """Return the queues that have been seen and those of the declared tasks."""
        seen = rows(Queue).values_list("name", flat=True)[:CHOICES]
        declared = {task.queue_name for task in declared_tasks()}
        return [(name, name) for name in sorted({*seen, *declared})[:CHOICES]]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Keep the jobs of the queue."""
        return queryset.filter(queue=self.value()) if self.value() else queryset


class TaskFilter(MenuFilter):
    """Jobs by task."""

    title = _("task")
    parameter_name = "task"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[Any]:
        """Return the declared tasks."""
        return [(task.key, task.key) for task in declared_tasks()[:CHOICES]]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Keep the jobs stored under the task's name."""
        return queryset.filter(task=self.value()) if self.value() else queryset


class TagFilter(MenuFilter):
    """Jobs by tag."""

    title = _("tag")
    parameter_name = "tag"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[Any]:
        """Return the tags that tasks are declared with."""
        tags = sorted({tag for task in declared_tasks() for tag in task.tags})
        return [(tag, tag) for tag in tags[:CHOICES]]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Keep the jobs that carry the tag."""
        tag = self.value()
        return queryset.tagged(tag) if tag else queryset


def search(jobs: Any, term: str) -> Any:
    """Keep the jobs that a term names: an id or its beginning, a task, a tag.

    A full id and a beginning of eight digits or more are ids and nothing else. Of a
    task's name a part is enough if the task is declared here; nothing is a pattern.
    """
    term = term.strip()
    if not term:
        return jobs
    digits = term.lower().replace("-", "")
    by_id = _id_range(digits)
    if by_id is not None and len(digits) >= 8:
        return jobs.filter(by_id)
    names = {term, *_tasks_like(term)}
    found = jobs.filter(Q(task__in=names) | Q(has_tag(term, using=jobs.db)))
    if by_id is None:
        return found
    return jobs.filter(by_id | Q(task__in=names) | Q(has_tag(term, using=jobs.db)))


def _id_range(digits: str) -> Q | None:
    if len(digits) < _SHORTEST_PREFIX or not _HEX.fullmatch(digits):
        return None
    lowest = UUID(digits.ljust(_UUID_DIGITS, "0"))
    highest = UUID(digits.ljust(_UUID_DIGITS, "f"))
    return Q(id__gte=lowest, id__lte=highest)


def _tasks_like(term: str) -> list[str]:
    wanted = term.lower()
    return [
        name
        for task in declared_tasks()
        for name in (task.key, *task.aliases)
        if wanted in name.lower()
    ]


class JobChangeList(MenuChangeList):
    """A change list whose pages are cut by id."""

    # Filled by get_results().
    older: str | None = None
    newer: str | None = None
    # The look ended before the page was full: there may be more among older jobs.
    looked_at: int | None = None

    model_admin: "JobAdmin"
    no_filters = (BEFORE, AFTER, VERB)

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        self._before = as_id(request.GET.get(BEFORE))
        self._after = None if self._before else as_id(request.GET.get(AFTER))
        super().__init__(request, *args, **kwargs)

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Return what the filters keep: nothing if no job can have such a value."""
        asked = self.filter_params
        self.filter_params = {
            name: values
            for name, values in asked.items()
            if all(not text or _VALUES.get(name, bool)(text) for text in values)
        }
        found = super().get_queryset(request, *args, **kwargs)
        possible = self.filter_params == asked and not any(
            UNSTORABLE.search(text)
            for texts in request.GET.lists()
            for text in texts[1]
        )
        self.filter_params = asked
        return found if possible else found.none()

    def get_query_string(self, new_params: Any = None, remove: Any = None) -> str:
        """Write the filters as a query; another filter begins at its newest job."""
        text = super().get_query_string(new_params, [*(remove or []), *self.no_filters])
        return str(text)

    def get_ordering(self, request: HttpRequest, queryset: Any) -> list[Any]:
        """Order by id alone: that is by age, and every page can be found by it."""
        return ["-id"]

    @property
    def status(self) -> str | None:
        """The status or group the list shows; None for all."""
        return self.params.get("status")

    @property
    def needs_window(self) -> bool:
        """Whether the filter is one that no index answers."""
        filters = {**self.get_filters_params()}
        filters.pop("status", None)
        if self.status == JobStatus.RUNNING:
            # What runs is few: as many as there are slots.
            return False
        if self.query:
            digits = self.query.strip().lower().replace("-", "")
            if len(digits) >= 8 and _id_range(digits) is not None:
                return False
        return bool(filters or self.query) or self.status == JobStatus.SUCCESSFUL

    def get_results(self, request: HttpRequest) -> None:
        """Fetch one page and find out where the next ones begin."""
        jobs = self.queryset
        if self._after:
            rows = self._page_after(jobs, self._after)
        else:
            rows = self._page_before(jobs, self._before)
        self.result_list = rows
        # Django's templates ask for these; there is one page, the one we show.
        self.result_count = len(rows)
        self.full_result_count = None
        self.show_full_result_count = False
        self.show_admin_actions = True
        self.can_show_all = False
        self.multi_page = False
        self.paginator = self.model_admin.get_paginator(
            request,
            rows,  # type: ignore[arg-type]
            PER_PAGE,
        )

    def _page_before(self, jobs: Any, before: UUID | None) -> list[Job]:
        """The newest jobs older than *before*."""
        if before:
            jobs = jobs.filter(id__lt=before)
        end = self.window_end(before) if self.needs_window else None
        if end:
            jobs = jobs.filter(id__gte=end)
        rows = list(jobs[: PER_PAGE + 1])
        if len(rows) > PER_PAGE:
            rows.pop()
            self.older = self._link(BEFORE, rows[-1].pk)
        elif end:
            self.looked_at = WINDOW
            self.older = self._link(BEFORE, end)
        if before:
            self.newer = (
                self._link(AFTER, rows[0].pk) if rows else self.get_query_string()
            )
        return rows

    def _page_after(self, jobs: Any, after: UUID) -> list[Job]:
        """The oldest jobs newer than *after*, newest first."""
        jobs = jobs.filter(id__gt=after).order_by("id")
        end = self.window_start(after) if self.needs_window else None
        if end:
            jobs = jobs.filter(id__lte=end)
        rows = list(jobs[: PER_PAGE + 1])
        if len(rows) > PER_PAGE:
            rows.pop()
            self.newer = self._link(AFTER, rows[-1].pk)
        elif end:
            self.looked_at = WINDOW
            self.newer = self._link(AFTER, end)
        else:
            # The newest page: show it full, as one who comes fresh would see it.
            return self._page_before(self.queryset, None)
        rows.reverse()
        self.older = self._link(BEFORE, rows[-1].pk) if rows else None
        return rows

    def window_end(self, before: UUID | None = None) -> UUID | None:
        """The id at which a look from *before* (or now) towards older jobs ends."""
        ids = self.root_queryset.order_by("-id").values_list("id", flat=True)
        if before:
            ids = ids.filter(id__lt=before)
        return next(iter(ids[WINDOW - 1 : WINDOW]), None)

    def window_start(self, after: UUID) -> UUID | None:
        """The id at which a look from *after* towards newer jobs ends."""
        ids = self.root_queryset.order_by("id").values_list("id", flat=True)
        return next(iter(ids.filter(id__gt=after)[WINDOW - 1 : WINDOW]), None)

    def _link(self, name: str, job_id: object) -> str:
        query = self.get_query_string()
        return f"{query}{'&' if len(query) > 1 else ''}{name}={job_id}"

    def status_tabs(self) -> list[dict[str, Any]]:
        """Every status with how many jobs have it, counted up to a bound."""
        counts = stats.counts(limit=COUNTED)
        waiting = sum(counts.get(status, 0) for status in WAITING)
        tabs: list[tuple[str | None, Any, int]] = [
            (None, _("all"), sum(counts.values())),
            (WAITING_GROUP, _("waiting"), waiting),
        ]
        tabs += [
            (value, word, counts.get(value, 0)) for value, word in JobStatus.choices
        ]
        return [
            {
                "value": value or "all",
                "word": word,
                "count": count,
                "cap": COUNTED if count > COUNTED else None,
                "selected": self.status == value,
                "part": value in WAITING,
                "url": self.get_query_string({"status": value}),
            }
            for value, word, count in tabs
        ]


def as_id(text: str | None) -> UUID | None:
    """The id that a text is; None if it is none."""
    try:
        return UUID(text) if text else None
    except ValueError:
        return None


def _is_key(text: str) -> bool:
    return text.isdecimal() and len(text) <= _KEY_DIGITS


# What the values of a filter must be, for the database to compare with them.
_VALUES: Final[dict[str, Callable[[str], object]]] = {
    "session": as_id,
    "schedule": _is_key,
}
