"""The declared tasks and schedules (E005, E009, E010, E012, W003, I001, I002).

To know them, a check imports what a worker imports, and the URLconf.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from inspect import iscoroutinefunction
from typing import Any, Final

from django.core.checks import CheckMessage, Error, Info, Warning, register
from django.urls import get_resolver

from ..backoff import Backoff
from ..compat import InvalidTaskBackend
from ..conf import SETTING, runtime_settings
from ..databases import own_backends
from ..discovery import autodiscover
from ..exceptions import ConfigurationError, UnknownTask
from ..task import Task, list_tasks
from .backends import check_backoff
from .reach import reached_by_urls, reached_by_workers
from .settings import TAG, settings_are_sound

_NAMED: Final = 5


@register(TAG)
def check_tasks(
    app_configs: Sequence[Any] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Check what the project declares, where one of our backends is in use."""
    if not (settings_are_sound() and _is_in_use()):
        return []
    names = runtime_settings().autodiscover
    try:
        discovered = autodiscover(names)
    except Exception as error:  # whatever a project's module may raise
        return [
            Error(
                f"A module of tasks cannot be imported: {type(error).__name__}: "
                f"{error}",
                hint=(
                    "A worker does not start without it. Correct the module, or name "
                    f"the right ones in {SETTING}['AUTODISCOVER']."
                ),
                id="django_workers.E012",
            )
        ]
    _import_urlconf()
    tasks = list_tasks()
    return [
        *_check_schedules(tasks),
        *_check_backoffs(tasks),
        *check_modules(tasks, discovered=discovered),
    ]


def _import_urlconf() -> None:
    """Let the URLconf declare what it leads to, if it can be imported."""
    with suppress(Exception):  # said by Django's own check
        get_resolver().url_patterns  # noqa: B018 - reading it imports


def _is_in_use() -> bool:
    try:
        return any(True for _ in own_backends())
    except InvalidTaskBackend:
        return False  # said by Django's own check


def _check_schedules(tasks: Iterable[Task[Any, Any]]) -> Iterator[CheckMessage]:
    # Its rooms know the models, which are not there while the app is not installed.
    from ..schedules import declaration_from

    taken = {task.key for task in tasks if task.schedule is not None}
    for name, entry in runtime_settings().schedules.items():
        try:
            declaration_from(name, entry)
            if name in taken:
                raise ConfigurationError(
                    f"{SETTING}['SCHEDULES'][{name!r}]: the task of that name declares "
                    "its own schedule."
                )
        except UnknownTask as error:
            yield Error(
                f"{SETTING}['SCHEDULES'][{name!r}]: {error}",
                hint=(
                    "A schedule names a task by its registered name or module path; "
                    "the module must be one that workers import."
                ),
                id="django_workers.E010",
            )
        except ConfigurationError as error:
            yield Error(
                str(error),
                hint=(
                    "An entry is a dict of task, cron (with timezone) or interval "
                    "(seconds), and if need be args, kwargs, queue and priority."
                ),
                id="django_workers.E009",
            )


def _check_backoffs(tasks: Iterable[Task[Any, Any]]) -> Iterator[CheckMessage]:
    for task in tasks:
        if task.backoff is not None:
            yield from check_backoff(f"The back-off of task {task.key}", task.backoff)


def _tasks_if_sound() -> list[Task[Any, Any]]:
    """Every task; none where another check has the reason to say."""
    if not settings_are_sound():
        return []
    try:
        return list_tasks()
    except Exception:  # E012
        return []


@register(TAG, deploy=True)
def check_jitter(
    app_configs: Sequence[Any] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Suggest jitter for tasks that are retried; only with ``check --deploy``."""
    names = [
        task.key
        for task in _tasks_if_sound()
        if isinstance(task.backoff, Backoff)
        and task.backoff.initial > 0
        and not task.backoff.jitter
        and (task.max_attempts or 1) > 1
    ]
    if not names:
        return []
    return [
        Info(
            f"Retries without jitter: {_some(names)}.",
            hint=(
                "Jobs that failed together come back together. Spread them with "
                "backoff=exponential(...), or fixed(...) or linear(...) with "
                "jitter=0.5."
            ),
            id="django_workers.I001",
        )
    ]


@register(TAG, deploy=True)
def check_timeouts(
    app_configs: Sequence[Any] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Say what a timeout cannot do in a thread; only with ``check --deploy``."""
    names = [
        task.key
        for task in _tasks_if_sound()
        if task.timeout is not None and not iscoroutinefunction(task.func)
    ]
    if not names:
        return []
    return [
        Info(
            f"Timeouts of tasks that run in threads: {_some(names)}.",
            hint=(
                "A timeout is raised at the task's next line of Python. What sits in a "
                "C library (a query, a request) does not notice before it returns: its "
                "process is replaced CANCEL_GRACE seconds later, once its neighbours "
                "are done. Only a process of its own could be stopped hard. Give such "
                "calls a timeout of their own, or write the task as a coroutine."
            ),
            id="django_workers.I002",
        )
    ]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def check_modules(
    tasks: Iterable[Task[Any, Any]], *, discovered: Iterable[str]
) -> list[CheckMessage]:
    """Warn of tasks that the web process meets and a worker does not.

    `discovered` are the modules that a worker imports.
    """
    modules = {task.func.__module__ for task in tasks}
    within = {name.partition(".")[0] for name in modules}
    try:
        met = modules & reached_by_urls(get_resolver(), within=within)
    except Exception:  # the URLconf is wrong: said by Django's own check
        return []
    if met:
        met -= reached_by_workers(discovered, within=within)
    return [
        Warning(
            f"Workers do not import {module}, which declares tasks.",
            hint=(
                f"Import it in a module named tasks, or add {module!r} to "
                f"{SETTING}['AUTODISCOVER']. Otherwise its jobs wait for ever."
            ),
            id="django_workers.W003",
        )
        for module in sorted(met)
    ]
