"""Schedules that code declares, and their rows.

They come from ``@task(schedule=...)``, named like their task, and from
``DJANGO_WORKERS["SCHEDULES"]``. A supervisor runs no user code: a child builds these
plain values and sends them over.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any, Final

from django.db.models import Q, QuerySet

from .. import codec
from ..brokers import Broker, broker_for
from ..conf import SETTING, priority_of, queue_refusal
from ..cron import Cron, Every, cron, every
from ..exceptions import ConfigurationError
from ..models import Schedule
from ..task import Deadline, Task, registry
from .reasons import CANNOT_FIRE, NOT_DECLARED, UNKNOWN_TASK
from .slots import plan_from

# What an entry of DJANGO_WORKERS["SCHEDULES"] may hold, and of which type.
KEYS: Final[dict[str, Any]] = {
    "task": str,
    "cron": str,
    "interval": (int, float, timedelta),
    "timezone": (str, type(None)),
    "args": (list, tuple),
    "kwargs": Mapping,
    "queue": (str, type(None)),
    "priority": (int, str, type(None)),
}
# What a declaration says of its row.
_COLUMNS: Final = (
    "task",
    "backend",
    "args",
    "kwargs",
    "queue",
    "priority",
    "cron",
    "interval",
    "timezone",
)
_TIMING: Final = {"cron", "interval", "timezone"}

# Plain values only: they travel between processes.
Plain = dict[str, Any]


def policies_of(tasks: Iterable[Task[Any, Any]]) -> dict[str, Plain]:
    """Tell what a scheduler must know of each task, as plain values, by name and alias.

    `tags` and `metadata` are JSON text; `expires` and `retry_until` are seconds from
    the enqueueing or an ISO 8601 instant.
    """
    policies: dict[str, Plain] = {}
    for task in tasks:
        options = getattr(task.get_backend(), "settings", None)
        policy = {
            "task": task.key,
            "queue": task.queue_name,
            "priority": task.priority,
            "max_attempts": task.max_attempts or getattr(options, "MAX_ATTEMPTS", 1),
            "timeout": task.timeout,
            "on_crash": task.on_crash,
            "expires": _plain_deadline(task.expires),
            "retry_until": _plain_deadline(task.retry_until),
            "backend": task.backend,
            "tags": codec.encode(list(task.tags), path="tags"),
            "metadata": codec.encode(dict(task.metadata), path="metadata"),
        }
        policies |= dict.fromkeys((task.key, *task.aliases), policy)
    return policies


def _plain_deadline(deadline: Deadline | None) -> float | str | None:
    if isinstance(deadline, datetime):
        return deadline.isoformat()
    if isinstance(deadline, timedelta):
        return deadline.total_seconds()
    return None if deadline is None else float(deadline)


def declared_schedules(
    tasks: Iterable[Task[Any, Any]], schedules: Mapping[str, Mapping[str, Any]]
) -> list[Plain]:
    """Return every schedule that code declares, as plain values for sync_declared().

    `schedules` is the setting ``DJANGO_WORKERS["SCHEDULES"]``. Raises
    ConfigurationError for an entry that cannot work and UnknownTask for one whose
    task has not been declared.
    """
    found: dict[str, Plain] = {}
    for task in tasks:
        if task.schedule is not None:
            found[task.key] = _declaration(task.key, task, task.schedule)
    for name, entry in schedules.items():
        if name in found:
            raise ConfigurationError(
                f"{SETTING}['SCHEDULES'][{name!r}]: the task of that name declares its "
                "own schedule; give one of them another name."
            )
        found[name] = declaration_from(name, entry)
    return list(found.values())


def declaration_from(name: str, entry: Mapping[str, Any]) -> Plain:
    """Return the declaration that an entry of the setting SCHEDULES makes.

    Raises ConfigurationError naming the key that cannot work, and UnknownTask for a
    task that has not been declared.
    """
    where = f"{SETTING}['SCHEDULES'][{name!r}]"
    _check_entry(where, name, entry)
    task = registry.get(entry["task"])
    try:
        declaration = _declaration(
            name,
            task,
            _timing_of(entry),
            args=list(entry.get("args", ())),
            kwargs=dict(entry.get("kwargs", {})),
        )
        if entry.get("priority") is not None:
            declaration["priority"] = priority_of(entry["priority"])
        queue = entry.get("queue") or ""
        if queue and (wrong := queue_refusal(queue, backend=task.backend)):
            raise ConfigurationError(f"{where}: {wrong}")
        return {**declaration, "queue": queue}
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"{where}: {error}") from error


def _check_entry(where: str, name: Any, entry: Any) -> None:
    if not isinstance(name, str) or not 0 < len(name) <= 255:
        raise ConfigurationError(f"{where}: a name is a string of 1 to 255 characters.")
    if not isinstance(entry, Mapping):
        raise ConfigurationError(f"{where} must be a dict with: {', '.join(KEYS)}.")
    for key, value in entry.items():
        if key not in KEYS:
            near = get_close_matches(str(key), KEYS, n=1)
            hint = (
                f"did you mean {near[0]!r}?" if near else f"known: {', '.join(KEYS)}."
            )
            raise ConfigurationError(f"{where}: {key!r} is not known; {hint}")
        if not isinstance(value, KEYS[key]):
            raise ConfigurationError(f"{where}: {key!r} cannot be {value!r}.")
    if "task" not in entry:
        raise ConfigurationError(f"{where} needs 'task', the name of a task.")
    if ("cron" in entry) == ("interval" in entry):
        raise ConfigurationError(f"{where} needs either 'cron' or 'interval'.")
    if "interval" in entry and entry.get("timezone"):
        raise ConfigurationError(f"{where}: an interval has no 'timezone'.")


def _timing_of(entry: Mapping[str, Any]) -> Cron | Every:
    if "interval" in entry:
        return every(entry["interval"])
    return cron(entry["cron"], timezone=entry.get("timezone") or None)


def _declaration(
    name: str,
    task: Task[Any, Any],
    timing: Cron | Every,
    *,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Plain:
    settings = getattr(task.get_backend(), "settings", None)
    if isinstance(timing, Every):
        when: Plain = {"cron": "", "interval": timing.seconds, "timezone": ""}
    else:
        zone = timing.timezone or ""
        when = {"cron": timing.expression, "interval": None, "timezone": zone}
    return {
        "name": name,
        "task": task.key,
        "backend": task.backend,
        # None under a backend whose jobs are no rows: nothing to schedule there.
        "database": getattr(settings, "DATABASE", None),
        # As they come back from the database, so that they compare equal.
        "args": codec.decode(codec.encode(list(args), path="args")),
        "kwargs": codec.decode(codec.encode(dict(kwargs or {}), path="kwargs")),
        "queue": "",
        "priority": None,
        **when,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """What sync_declared() changed: the names of schedules."""

    created: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    disabled: tuple[str, ...] = ()


def sync_declared(
    using: str, declared: Iterable[Mapping[str, Any]], *, known: Iterable[str]
) -> Synced:
    """Bring the schedules that code declares into their table.

    `declared` comes from declared_schedules(); what belongs to another database than
    `using` is left out. `known` are the names of the tasks this worker has the code
    of. Safe to call on every host at every start:

    - a new declaration becomes a row, first due at its next slot from now;
    - a changed one changes its row (a row of the same name made by a person becomes
      the declaration's), and what a person has switched off stays off;
    - a row that code declares no longer is switched off and kept, unless another
      living worker has its task and this one has not;
    - a row switched off for want of its task is switched on once the task is known.
    """
    broker = broker_for(using)
    wanted = {
        str(item["name"]): {name: item[name] for name in _COLUMNS}
        for item in declared
        if item["database"] == using
    }
    names = {*known, *(item["task"] for item in wanted.values())}
    rows = {
        row.name: row
        for row in Schedule.objects.using(using).filter(
            Q(name__in=list(wanted))
            | Q(declared=True)
            | Q(disabled_reason__startswith=UNKNOWN_TASK)
        )
    }
    now = broker.now()
    created = [
        name
        for name, declaration in wanted.items()
        if name not in rows and _create(using, name, declaration, now)
    ]
    changed = [
        name
        for name, row in rows.items()
        if (
            _refresh(row, wanted[name], now)
            if name in wanted
            else _welcome_back(row, names)
        )
    ]
    disabled = [
        name
        for name, row in rows.items()
        if name not in wanted and _abandon(broker, row, names)
    ]
    return Synced(
        created=tuple(created), changed=tuple(changed), disabled=tuple(disabled)
    )


def _create(using: str, name: str, declaration: Plain, now: datetime) -> bool:
    row = Schedule(name=name, declared=True, **declaration)
    plan_from(row, now)
    _, created = Schedule.objects.using(using).get_or_create(
        name=name,
        defaults={
            **declaration,
            "declared": True,
            "anchor_at": row.anchor_at,
            "next_fire_at": row.next_fire_at,
        },
    )
    return created


def _refresh(row: Schedule, declaration: Plain, now: datetime) -> bool:
    """Make a row what code says; return whether that changed anything."""
    changes = {
        name: value
        for name, value in {**declaration, "declared": True}.items()
        if getattr(row, name) != value
    }
    reason = row.disabled_reason
    if not row.enabled and (
        reason.startswith((NOT_DECLARED, UNKNOWN_TASK))
        or (changes and reason.startswith(CANNOT_FIRE))
    ):
        changes |= {"enabled": True, "disabled_reason": ""}
    if not changes:
        return False
    for name, value in changes.items():
        setattr(row, name, value)
    if _TIMING & changes.keys() or reason.startswith(NOT_DECLARED):
        plan_from(row, now)
        changes |= {"anchor_at": row.anchor_at, "next_fire_at": row.next_fire_at}
    _rows(row).update(**changes)
    return True


def _welcome_back(row: Schedule, names: Container[str]) -> bool:
    """Switch a row on again that was off for want of its task; it is due as before."""
    if row.declared or row.enabled or row.task not in names:
        return False
    return bool(_rows(row).update(enabled=True, disabled_reason=""))


def _abandon(broker: Broker, row: Schedule, names: Container[str]) -> bool:
    """Switch off a row that code declares no longer."""
    if not (row.declared and row.enabled):
        return False
    if row.task not in names and broker.known_elsewhere(row.task):
        return False
    return bool(_rows(row).update(enabled=False, disabled_reason=NOT_DECLARED))


def _rows(row: Schedule) -> QuerySet[Schedule]:
    return Schedule.objects.using(row._state.db).filter(pk=row.pk)
