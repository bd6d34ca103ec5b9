"""The one room that tells Django's own tasks from the `django-tasks` backport.

Django 6.0 and newer carry the framework as `django.tasks`; on Django 5.2 the
distribution `django-tasks` supplies the same classes as `django_tasks`.
"""

from typing import TYPE_CHECKING, Final

import django

CORE_TASKS: Final = django.VERSION >= (6, 0)

if TYPE_CHECKING or CORE_TASKS:
    from django.tasks import checks as task_checks
    from django.tasks import signals as task_signals
    from django.tasks import task_backends
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.backends.dummy import DummyBackend
    from django.tasks.backends.immediate import ImmediateBackend
    from django.tasks.base import (
        DEFAULT_TASK_BACKEND_ALIAS,
        DEFAULT_TASK_PRIORITY,
        DEFAULT_TASK_QUEUE_NAME,
        TASK_MAX_PRIORITY,
        TASK_MIN_PRIORITY,
        TASK_REFRESH_ATTRS,
        Task,
        TaskContext,
        TaskError,
        TaskResult,
        TaskResultStatus,
    )
    from django.tasks.exceptions import (
        InvalidTask,
        InvalidTaskBackend,
        TaskResultDoesNotExist,
        TaskResultMismatch,
    )

    TASKS_APP = "django.tasks"
    TASKS_LOGGER = "django.tasks"
else:
    try:
        from django_tasks import checks as task_checks
        from django_tasks import signals as task_signals
        from django_tasks import task_backends
        from django_tasks.backends.base import BaseTaskBackend
        from django_tasks.backends.dummy import DummyBackend
        from django_tasks.backends.immediate import ImmediateBackend
        from django_tasks.base import (
            DEFAULT_TASK_BACKEND_ALIAS,
            DEFAULT_TASK_PRIORITY,
            DEFAULT_TASK_QUEUE_NAME,
            TASK_MAX_PRIORITY,
            TASK_MIN_PRIORITY,
            TASK_REFRESH_ATTRS,
            Task,
            TaskContext,
            TaskError,
            TaskResult,
            TaskResultStatus,
        )
        from django_tasks.exceptions import (
            TaskResultDoesNotExist,
            TaskResultMismatch,
        )
    except ModuleNotFoundError as error:
        from .exceptions import ConfigurationError

        raise ConfigurationError(
            "django_workers on Django 5.2 needs the package django-tasks: "
            "python -m pip install django-tasks"
        ) from error
    try:
        from django_tasks.exceptions import InvalidTask, InvalidTaskBackend
    except ImportError:  # released up to 0.12 under the older names
        from django_tasks.exceptions import (
            InvalidTaskBackendError as InvalidTaskBackend,
        )
        from django_tasks.exceptions import InvalidTaskError as InvalidTask

    TASKS_APP = "django_tasks"
    TASKS_LOGGER = "django_tasks"

task_enqueued = task_signals.task_enqueued
task_started = task_signals.task_started
task_finished = task_signals.task_finished

__all__ = [
    "CORE_TASKS",
    "DEFAULT_TASK_BACKEND_ALIAS",
    "DEFAULT_TASK_PRIORITY",
    "DEFAULT_TASK_QUEUE_NAME",
    "TASKS_APP",
    "TASKS_LOGGER",
    "TASK_MAX_PRIORITY",
    "TASK_MIN_PRIORITY",
    "TASK_REFRESH_ATTRS",
    "BaseTaskBackend",
    "DummyBackend",
    "ImmediateBackend",
    "InvalidTask",
    "InvalidTaskBackend",
    "Task",
    "TaskContext",
    "TaskError",
    "TaskResult",
    "TaskResultDoesNotExist",
    "TaskResultMismatch",
    "TaskResultStatus",
    "task_backends",
    "task_checks",
    "task_enqueued",
    "task_finished",
    "task_signals",
    "task_started",
]
