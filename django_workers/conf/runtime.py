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

from ..exceptions import ConfigurationError
from . import rules
from .rules import Rule

SETTING: Final = "DJANGO_WORKERS"


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
_STATUSES: Final = ("successful", "failed", "cancelled")

_pause: Final = rules.span(most=rules.LONGEST_PAUSE_SECONDS)
_wait: Final = rules.span(most=rules.LONGEST_PAUSE_SECONDS, above_zero=False)
_run: Final = rules.span(most=rules.LONGEST_RUN_SECONDS, optional=True)
_RULES: Final[dict[str, Rule]] = {
    "WORKER_ID": rules.worker_name,
    "PROCESSES": rules.count(most=1_000),
    "CONCURRENCY": rules.count(most=100_000),
    "BATCH_SIZE": rules.count(least=1, most=100_000),
    "PREFETCH": rules.flag,
    "POLL_INTERVAL": _pause,
    "TIMEOUT": _run,
    "MAX_JOB_DURATION": _run,
    "LOCK_DURATION": _pause,
    "HEARTBEAT_INTERVAL": _pause,
    "STALE_CHECK_INTERVAL": _pause,
    "SHUTDOWN_TIMEOUT": _wait,
    "CANCEL_GRACE": _wait,
    "MAX_FAILURES": rules.count(),
    "MAX_CRASHES": rules.count(least=1),
    "QUEUES": rules.names(rules.queue_problem),
    "TASKS": rules.names(rules.pattern_problem),
    "AUTODISCOVER": rules.names(rules.module_problem),
    "SCHEDULES": rules.schedules,
    "CARRIERS": rules.names(rules.class_problem),
    "LISTENER": rules.listener,
    "DURABLE_CLAIMS": rules.flag,
    "RETENTION": rules.days_by(_STATUSES),
    "METRICS_RETENTION": rules.span(most=rules.LONGEST_KEEPING_DAYS, unit="days"),
    "METRICS_ENABLED": rules.flag,
}
_LISTS: Final = ("QUEUES", "TASKS", "AUTODISCOVER", "CARRIERS")


def problems(values: Any) -> list[tuple[str, str]]:
    """What is wrong with a `DJANGO_WORKERS` dict, as (message, hint) pairs."""
    if not isinstance(values, Mapping):
        return [
            (
                f"{SETTING} must be a dict, not {type(values).__name__}.",
                "Leave it out, or write DJANGO_WORKERS = {} for the defaults.",
            )
        ]
    found: list[tuple[str, str]] = []
    for key, value in values.items():
        if key not in _RULES:
            found.append((f"{SETTING}[{key!r}] is not a setting.", _hint_of(key)))
        elif wrong := problem_of(key, value):
            default = getattr(RuntimeSettings(), key.lower())
            found.append(
                (
                    f"{SETTING}[{key!r}] = {_shown(key, value)}: {wrong}",
                    f"Leave it out for the default, {default!r}.",
                )
            )
    return found or _problems_together(_build(values))


def problem_of(key: str, value: Any) -> str:
    """What is wrong with the value of one setting; empty if nothing is."""
    return _RULES[key](value)


def _hint_of(key: Any) -> str:
    near = get_close_matches(str(key).upper(), _KEYS, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(_KEYS)}."


def _shown(key: str, value: Any) -> str:
    # A connection string holds a password, in whatever type it comes.
    return type(value).__name__ if key == "LISTENER" else repr(value)


def _problems_together(merged: RuntimeSettings) -> list[tuple[str, str]]:
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


def build_settings(values: Any) -> RuntimeSettings:
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


def _forget(*, setting: str, **kwargs: object) -> None:
    if setting == SETTING:
        runtime_settings.cache_clear()


setting_changed.connect(_forget, dispatch_uid="django_workers.conf")
