"""Process-wide settings: one dict `DJANGO_WORKERS`, read lazily, checked by name.

Policy defaults of one backend (`MAX_ATTEMPTS`, `BACKOFF`, ...) stand in its own
``TASKS[alias]["OPTIONS"]``; here is what one process of `runworkers` needs to know.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Final

from django.conf import settings
from django.core.signals import setting_changed

from .exceptions import ConfigurationError

SETTING: Final = "DJANGO_WORKERS"

LEVELS: Final[dict[str, int]] = {"critical": 75, "high": 25, "normal": 0, "low": -50}


def _cpu_count() -> int:
    return (
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else (os.cpu_count() or 1)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSettings:
    """Every key of `DJANGO_WORKERS`, in lower case, with its default.

    All durations are seconds. Why each default: `docs/reference/settings.md`.
    """

    # Name of this worker in heartbeats and results; empty: host-pid.
    worker_id: str = ""
    # Child processes that run tasks; 0: one per CPU this process may use.
    processes: int = 0
    # Slots over all children; 0: five per process.
    concurrency: int = 0
    # Most jobs one claim takes.
    batch_size: int = 500
    # Hold a few milliseconds of work ahead of the slots; False: free slots only.
    prefetch: bool = True
    # Longest pause between two looks at the database when nothing wakes the worker.
    poll_interval: float = 1.0
    # How long one attempt may run when neither task nor call says.
    timeout: float | None = 3600.0
    # Upper bound over every timeout, the task's own included; None: no bound.
    max_job_duration: float | None = None
    # The lease: a worker silent for this long loses its jobs. Never an age limit.
    lock_duration: float = 10.0
    heartbeat_interval: float = 2.0
    # How often dead workers are looked for.
    stale_check_interval: float = 2.0
    # How long a draining worker waits for running jobs.
    shutdown_timeout: float = 25.0
    # How long a cancelled or timed-out task may clean up before force is used.
    cancel_grace: float = 5.0
    # Consecutive failed jobs after which the worker drains and exits; 0: never.
    max_failures: int = 0
    # Crashes of its process after which a job is quarantined (failed for good).
    max_crashes: int = 3
    # Queues in strict order; empty: every queue, none before another.
    queues: tuple[str, ...] = ()
    # Patterns of task names this worker takes; empty: every task it knows.
    tasks: tuple[str, ...] = ()
    # Module names searched for in every installed app, or dotted module paths.
    autodiscover: tuple[str, ...] = ("tasks", "workers", "worker")
    # Schedules by name: {"task": ..., "cron" or "interval": ..., ...}.
    schedules: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    # Dotted paths of context carriers.
    carriers: tuple[str, ...] = (
        "django_workers.carriers.LanguageCarrier",
        "django_workers.carriers.TimeZoneCarrier",
    )
    # True: LISTEN on the queue's own connection parameters; a DSN: there; False: poll.
    listener: bool | str = True
    # Commit claims before jobs are handed out (False survives a database crash with
    # at most a second start of the jobs just claimed).
    durable_claims: bool = True
    # Days a finished job is kept, by status; None keeps it for ever.
    retention: Mapping[str, float | None] = field(
        default_factory=lambda: {"successful": 7.0, "failed": 30.0, "cancelled": 7.0}
    )
    # Days the per-minute figures and the rows of stopped workers are kept.
    metrics_retention: float = 30.0
    # Write the per-minute figures with each batch.
    metrics_enabled: bool = True

    @property
    def process_count(self) -> int:
        """How many children run."""
        return self.processes or _cpu_count()

    @property
    def slot_count(self) -> int:
        """How many jobs run at a time on this host."""
        return self.concurrency or 5 * self.process_count

    @property
    def retention_by_status(self) -> dict[str, timedelta | None]:
        """How long finished jobs are kept."""
        return {
            status: None if days is None else timedelta(days=days)
            for status, days in self.retention.items()
        }


_KEYS: Final = {item.name.upper(): item for item in fields(RuntimeSettings)}
_POSITIVE: Final = {
    "POLL_INTERVAL",
    "LOCK_DURATION",
    "HEARTBEAT_INTERVAL",
    "STALE_CHECK_INTERVAL",
    "METRICS_RETENTION",
    "BATCH_SIZE",
    "MAX_CRASHES",
}
_COUNTS: Final = {
    "PROCESSES",
    "CONCURRENCY",
    "BATCH_SIZE",
    "MAX_FAILURES",
    "MAX_CRASHES",
}
_SECONDS: Final = {
    "POLL_INTERVAL",
    "TIMEOUT",
    "MAX_JOB_DURATION",
    "LOCK_DURATION",
    "HEARTBEAT_INTERVAL",
    "STALE_CHECK_INTERVAL",
    "SHUTDOWN_TIMEOUT",
    "CANCEL_GRACE",
    "METRICS_RETENTION",
}
_NULLABLE: Final = {"TIMEOUT", "MAX_JOB_DURATION"}
_LISTS: Final = {"QUEUES", "TASKS", "AUTODISCOVER", "CARRIERS"}
_FLAGS: Final = {"PREFETCH", "DURABLE_CLAIMS", "METRICS_ENABLED"}
_STATUSES: Final = ("successful", "failed", "cancelled")


def problems(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with a `DJANGO_WORKERS` dict, as (message, hint) pairs."""
    found: list[tuple[str, str]] = []
    if not isinstance(values, Mapping):
        return [(f"{SETTING} must be a dict.", f"It is {type(values).__name__}.")]
    for key, value in values.items():
        if key not in _KEYS:
            near = get_close_matches(str(key).upper(), _KEYS, n=1)
            hint = (
                f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(_KEYS)}."
            )
            found.append((f"{SETTING}[{key!r}] is not a setting.", hint))
            continue
        wrong = _problem_of(key, value)
        if wrong:
            found.append((f"{SETTING}[{key!r}] = {value!r}: {wrong}", ""))
    if not found:
        found += _problems_together(values)
    return found


def _problem_of(key: str, value: Any) -> str:
    if key in _COUNTS:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            return "must be a whole number, zero or more."
    elif key in _SECONDS:
        if value is None and key in _NULLABLE:
            return ""
        if not isinstance(value, (int, float)) or isinstance(value, bool) or value < 0:
            return "must be a number, zero or more."
    elif key in _LISTS:
        if isinstance(value, str) or not all(isinstance(item, str) for item in value):
            return "must be a list of strings."
    elif key in _FLAGS:
        if not isinstance(value, bool):
            return "must be True or False."
    elif key == "WORKER_ID":
        if not isinstance(value, str) or len(value) > 64:
            return "must be a string of at most 64 characters."
    elif key == "LISTENER":
        if not isinstance(value, (bool, str)):
            return "must be True, False or a connection string."
    elif key == "SCHEDULES":
        if not isinstance(value, Mapping):
            return "must be a dict of schedules by name."
    elif key == "RETENTION":
        return _problem_of_retention(value)
    if key in _POSITIVE and not value > 0:
        return "must be more than zero."
    return ""


def _problem_of_retention(value: Any) -> str:
    if not isinstance(value, Mapping):
        return f"must be a dict of days by status: {', '.join(_STATUSES)}."
    for status, days in value.items():
        if status not in _STATUSES:
            return (
                f"{status!r} is no finished status; these are: {', '.join(_STATUSES)}."
            )
        if days is not None and (not isinstance(days, (int, float)) or days <= 0):
            return f"{status!r} must be a number of days above zero, or None."
    return ""


def _problems_together(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    merged = _build(values)
    if merged.heartbeat_interval * 3 > merged.lock_duration:
        return [
            (
                (
                    f"{SETTING}: LOCK_DURATION ({merged.lock_duration:g} s) must be at "
                    "least three HEARTBEAT_INTERVALs "
                    f"({merged.heartbeat_interval:g} s each)."
                ),
                "Otherwise one late heartbeat costs a healthy worker its jobs.",
            )
        ]
    return []


def _build(values: Mapping[str, Any]) -> RuntimeSettings:
    given: dict[str, Any] = {}
    for key, value in values.items():
        given[key.lower()] = tuple(value) if key in _LISTS else value
    if "retention" in given:
        defaults = RuntimeSettings().retention
        given["retention"] = {**defaults, **given["retention"]}
    return RuntimeSettings(**given)


def build_settings(values: Mapping[str, Any]) -> RuntimeSettings:
    """The settings that a dict of upper-case keys describes.

    Raises ConfigurationError naming the first mistake and its fix.
    """
    for message, hint in problems(values):
        raise ConfigurationError(f"{message} {hint}".strip())
    return _build(values)


@lru_cache(maxsize=1)
def runtime_settings() -> RuntimeSettings:
    """The settings of this process; raises ConfigurationError on a mistake."""
    return build_settings(getattr(settings, SETTING, {}))


def priority_of(value: int | str) -> int:
    """The number of a priority or of a level by name.

    Raises ValueError for an unknown level or a number outside -100..100.
    """
    if isinstance(value, str):
        if value not in LEVELS:
            raise ValueError(
                f"{value!r} is no priority level; known: {', '.join(LEVELS)}."
            )
        return LEVELS[value]
    if isinstance(value, bool) or int(value) != value or not -100 <= value <= 100:
        raise ValueError(
            f"priority must be a whole number between -100 and 100 or a level "
            f"({', '.join(LEVELS)}), not {value!r}."
        )
    return int(value)


def level_of(priority: int) -> str:
    """The name of the level a priority belongs to.

    Each level reaches from its own number up to the next one's.
    """
    for name, floor in LEVELS.items():
        if priority >= floor:
            return name
    return "low"


def _forget(*, setting: str, **kwargs: object) -> None:
    if setting == SETTING:
        runtime_settings.cache_clear()


setting_changed.connect(_forget, dispatch_uid="django_workers.conf")
