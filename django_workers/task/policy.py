"""What a task's policy may say, brought into one form."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from ..carriers import METADATA_KEY
from ..compat import InvalidTask
from ..conf import LARGEST_COUNT, LONGEST_RUN_SECONDS, QUEUE_PATTERN, priority_of
from ..cron import Cron, Every
from ..exceptions import InvalidPolicy

if TYPE_CHECKING:
    from .declared import Task

Backoff = Callable[[BaseException, Any], float | None]
Deadline = timedelta | float | datetime

NAME_PATTERN: Final = re.compile(r"[A-Za-z0-9_.:<>-]{1,255}")

_SINGLE_VALUES: Final = (
    "priority",
    "queue_name",
    "backend",
    "registered_name",
    "max_attempts",
    "timeout",
    "on_crash",
    "expires",
    "retry_until",
    "max_result_bytes",
)


def normalise(task: "Task[Any, Any]") -> None:
    """Bring a task's policy into one form, refusing what cannot work.

    Raises InvalidTask for what Django's own tasks have too, else InvalidPolicy.
    """
    put = object.__setattr__
    for name in _SINGLE_VALUES:
        value = getattr(task, name)
        if (plain := _plain(value)) is not value:
            put(task, name, plain)
    put(task, "priority", _priority(task.priority))
    put(task, "run_after", _run_after(task.run_after))
    for name in ("retry_on", "no_retry_on", "aliases", "tags"):
        put(task, name, _several(name, getattr(task, name)))
    put(task, "metadata", _metadata(task.metadata))
    _check_names(task)
    _check_retries(task)
    _check_limits(task)
    _check_tags(task)
    if task.schedule is not None and not isinstance(task.schedule, (Cron, Every)):
        raise InvalidPolicy(
            f"schedule must be cron(...) or every(...), not {task.schedule!r}."
        )


def _plain(value: Any) -> Any:
    """Return a text or a number as itself: a member of an enumeration is one too.

    A policy travels between processes, which know no projects' classes.
    """
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    return float(value) if isinstance(value, float) else value


def _priority(value: Any) -> Any:
    """Return a whole number, or what Django's own check has words for."""
    if type(value) is int or (isinstance(value, float) and value == value):
        return int(value) if isinstance(value, float) and value.is_integer() else value
    try:
        return priority_of(value)
    except ValueError as error:
        raise InvalidTask(str(error)) from error


def _run_after(value: Any) -> datetime | timedelta | None:
    if isinstance(value, str):
        return _moment(value)
    if value is None or isinstance(value, (datetime, timedelta)):
        return value
    raise InvalidTask(
        f"run_after must be an aware datetime, a timedelta or ISO 8601 text, not "
        f"{value!r}."
    )


def _moment(text: str) -> datetime:
    """Read an ISO 8601 string that carries its offset."""
    try:
        moment = parse_datetime(text)
    except ValueError as error:
        raise InvalidTask(
            f"run_after {text!r} is no possible time: {error}."
        ) from error
    if moment is None:
        raise InvalidTask(
            f"run_after {text!r} is not ISO 8601, like 2030-01-31T12:00:00+01:00."
        )
    if not timezone.is_aware(moment):
        raise InvalidTask(f"run_after {text!r} needs an offset, like +01:00 or Z.")
    return moment


def _several(name: str, value: Any) -> tuple[Any, ...]:
    """Return what may be given alone, or as several, or not at all, as a tuple."""
    if value is None:
        return ()
    if isinstance(value, (str, type)):
        value = (value,)
    try:
        return tuple(_plain(item) for item in value)
    except TypeError:
        raise InvalidPolicy(f"{name} must be a list, not {value!r}.") from None


def _metadata(value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InvalidPolicy(f"metadata must be a dict by name, not {value!r}.")
    if METADATA_KEY in value and not isinstance(value[METADATA_KEY], Mapping):
        raise InvalidPolicy(
            f"metadata[{METADATA_KEY!r}] is where carriers keep their values: use "
            "another key."
        )
    return value


def _check_names(task: "Task[Any, Any]") -> None:
    given = task.registered_name
    for name in (task.module_path if given is None else given, *task.aliases):
        if not isinstance(name, str) or not NAME_PATTERN.fullmatch(name):
            raise InvalidPolicy(
                f"{name!r} cannot name a task: use letters, digits and _.:- only, "
                "at most 255."
            )
    queue = task.queue_name
    if not isinstance(queue, str) or not QUEUE_PATTERN.fullmatch(queue):
        raise InvalidTask(
            f"{queue!r} cannot name a queue: use letters, digits and _.:- "
            "only, at most 128."
        )


def _check_retries(task: "Task[Any, Any]") -> None:
    if not _is_count_or_none(task.max_attempts):
        raise InvalidPolicy(
            f"max_attempts must be a whole number above zero, "
            f"not {task.max_attempts!r}."
        )
    if task.backoff is not None and not callable(task.backoff):
        raise InvalidPolicy(
            f"backoff must be a callable (exception, task_result) -> seconds or None, "
            f"not {task.backoff!r}."
        )
    if task.on_crash not in ("retry", "fail"):
        raise InvalidPolicy(
            f'on_crash must be "retry" or "fail", not {task.on_crash!r}.'
        )
    for item in (*task.retry_on, *task.no_retry_on):
        if not (isinstance(item, type) and issubclass(item, BaseException)):
            raise InvalidPolicy(f"{item!r} is not an exception class.")


def _check_limits(task: "Task[Any, Any]") -> None:
    timeout = task.timeout
    if timeout is not None and not (
        _is_number(timeout) and 0 < timeout <= LONGEST_RUN_SECONDS
    ):
        raise InvalidPolicy(
            f"timeout must be seconds above zero, at most ten years, not {timeout!r}."
        )
    if not _is_count_or_none(task.max_result_bytes):
        raise InvalidPolicy(
            f"max_result_bytes must be a whole number above zero, not "
            f"{task.max_result_bytes!r}."
        )
    for name in ("expires", "retry_until"):
        _check_deadline(name, getattr(task, name))


def _check_deadline(name: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, datetime):
        if not timezone.is_aware(value):
            raise InvalidPolicy(f"{name} must be an aware datetime, not {value!r}.")
        return
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not _is_number(seconds) or not 0 <= seconds <= LONGEST_RUN_SECONDS:
        raise InvalidPolicy(
            f"{name} must be an aware datetime, or a timedelta or seconds from zero to "
            f"ten years, not {value!r}."
        )


def _check_tags(task: "Task[Any, Any]") -> None:
    for tag in task.tags:
        if not isinstance(tag, str) or not 0 < len(tag) <= 128:
            raise InvalidPolicy(
                f"a tag is a string of 1 to 128 characters, not {tag!r}."
            )


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and isfinite(value)
    )


def _is_count_or_none(value: Any) -> bool:
    return value is None or (
        isinstance(value, int)
        and not isinstance(value, bool)
        and 1 <= value <= LARGEST_COUNT
    )
