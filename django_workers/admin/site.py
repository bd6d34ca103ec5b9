"""How our pages hang on an AdminSite, whichever it is and whatever it is called.

Most pages belong to a model and come with its ModelAdmin. The dashboard and the list of
tasks belong to no model: their addresses and their lines on the index come from two
public hooks of AdminSite, `get_urls` and `get_app_list`, which only a subclass could
override. A project chooses its site's class, so we extend the one object instead, when
the first of our ModelAdmins is registered with it.
"""

from typing import TYPE_CHECKING, Any, Final, cast
from weakref import WeakSet

import django
from django.contrib.admin import AdminSite, ModelAdmin
from django.contrib.admin.exceptions import NotRegistered
from django.db.models import Model
from django.http import HttpRequest
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils.translation import gettext

from ..models import Job, Queue, Schedule, WorkerSession

if TYPE_CHECKING:
    from .jobs import JobAdmin
    from .queues import QueueAdmin
    from .schedules import ScheduleAdmin

APP: Final = "django_workers"
# Seconds between two refreshes of a page by its script.
REFRESH_SECONDS: Final = 5
# The order in which a newcomer needs them, where Django's would be alphabetical.
_ORDER: Final = ("Dashboard", "Task", "Job", "Schedule", "Queue", "WorkerSession")
_extended: Final[WeakSet[AdminSite]] = WeakSet()


def extend(site: AdminSite) -> None:
    """Give *site* the dashboard, the list of tasks and their lines on its index.

    Does nothing the second time.
    """
    if site in _extended:
        return
    _extended.add(site)
    get_urls, get_app_list = site.get_urls, site.get_app_list

    def urls_with_ours() -> list[Any]:
        # First, because the site's own catch-all comes last and its plain index of
        # the app has the address that the dashboard takes over.
        return [*_urls(site), *get_urls()]

    def app_list_with_ours(
        request: HttpRequest, app_label: str | None = None
    ) -> list[Any]:
        apps = get_app_list(request, app_label)
        for app in apps:
            if app["app_label"] == APP:
                _add_lines(site, request, cast("dict[str, Any]", app))
        return apps

    site.get_urls = urls_with_ours  # type: ignore[method-assign]
    site.get_app_list = app_list_with_ours  # type: ignore[method-assign]


def _urls(site: AdminSite) -> list[URLPattern]:
    from .dashboard import Dashboard
    from .tasks import TaskPages

    dashboard, tasks = Dashboard(site), TaskPages(site)

    def page(route: str, view: Any, name: str) -> Any:
        return path(f"{APP}/{route}", site.admin_view(view), name=f"{APP}_{name}")

    return [
        page("", dashboard.page, "dashboard"),
        page("live/", dashboard.live, "live"),
        page("stats.json", dashboard.stats, "stats"),
        page("task/", tasks.listing, "task_changelist"),
        page("task/<str:name>/", tasks.page, "task_change"),
        page("task/<str:name>/enqueue/", tasks.enqueue, "task_enqueue"),
    ]


def _add_lines(site: AdminSite, request: HttpRequest, app: dict[str, Any]) -> None:
    """Add the dashboard and the tasks to our app's models, and put all in order."""
    dashboard = address(site, "dashboard") or ""
    if request.path != dashboard:
        # Django marks a line as the current page when the page's path contains its
        # address, as every page of ours would; with a fragment it does not.
        dashboard += "#content-start"
    lines = [_line("Dashboard", gettext("Task dashboard"), dashboard)]
    jobs = jobs_admin(site)
    if jobs and jobs.has_view_permission(request):
        tasks = address(site, "task_changelist") or ""
        lines.append(_line("Task", gettext("Tasks"), tasks))
    models = [*lines, *app["models"]]
    app["models"] = sorted(models, key=lambda line: _place(line["object_name"]))


def _line(name: str, title: str, url: str) -> dict[str, Any]:
    """A line as AdminSite.get_app_list() makes them for models."""
    return {
        "model": Job,
        "name": title,
        "object_name": name,
        "perms": {"add": False, "change": False, "delete": False, "view": True},
        "admin_url": url,
        "add_url": None,
        "view_only": True,
    }


def _place(name: str) -> int:
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


def address(site: AdminSite, name: str, *args: object) -> str | None:
    """The URL of one of our pages on *site*; None where the site has no such page."""
    try:
        return reverse(f"admin:{APP}_{name}", args=args, current_app=site.name)
    except NoReverseMatch:
        return None


def context_of(site: AdminSite, request: HttpRequest, **own: object) -> dict[str, Any]:
    """The context of a page that belongs to no model, crumbs included.

    `crumbs` are (title, address) pairs between the app and the page itself.
    """
    request.current_app = site.name
    return {
        **site.each_context(request),
        "subtitle": None,
        "app_label": APP,
        "refresh_seconds": REFRESH_SECONDS,
        "dashboard_url": address(site, "dashboard"),
        "crumbs_are_a_list": django.VERSION >= (6, 1),
        **own,
    }


def jobs_admin(site: AdminSite) -> "JobAdmin | None":
    """What manages jobs on *site*, if anything of ours does."""
    from .jobs import JobAdmin

    found = _admin_of(site, Job)
    return found if isinstance(found, JobAdmin) else None


def queues_admin(site: AdminSite) -> "QueueAdmin | None":
    """What manages queues on *site*, if anything of ours does."""
    from .queues import QueueAdmin

    found = _admin_of(site, Queue)
    return found if isinstance(found, QueueAdmin) else None


def schedules_admin(site: AdminSite) -> "ScheduleAdmin | None":
    """What manages schedules on *site*, if anything of ours does."""
    from .schedules import ScheduleAdmin

    found = _admin_of(site, Schedule)
    return found if isinstance(found, ScheduleAdmin) else None


def workers_admin(site: AdminSite) -> "ModelAdmin[Any] | None":
    """What shows workers on *site*, if anything does."""
    return _admin_of(site, WorkerSession)


def _admin_of(site: AdminSite, model: type[Model]) -> "ModelAdmin[Any] | None":
    try:
        return site.get_model_admin(model)
    except NotRegistered:
        return None
