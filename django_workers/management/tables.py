"""Plain text for terminals: tables, durations, one job in full."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from django.utils import timezone

from ..backend import effective
from ..models import Job
from ..task import Task

# (column, cell, cell with its padding) -> what to print; the column "title" is above.
Paint = Callable[[str, str, str], str]

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))


def plain(column: str, text: str, padded: str) -> str:
    """Paint nothing."""
    return padded


def table(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, paint: Paint = plain
) -> str:
    """Lay rows out in columns, numbers to the right; "" without rows."""
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    if not cells:
        return ""
    titles = [column.replace("_", " ") for column in columns]
    widths = [
        max(len(title), *(len(line[place]) for line in cells))
        for place, title in enumerate(titles)
    ]
    numeric = [
        all(_is_number(line[place]) for line in cells) for place in range(len(columns))
    ]
    last = len(columns) - 1

    def line(names: Sequence[str], texts: Sequence[str]) -> str:
        padded = [
            text.rjust(width) if right else text.ljust(width if place < last else 0)
            for place, (text, width, right) in enumerate(
                zip(texts, widths, numeric, strict=True)
            )
        ]
        return "  ".join(map(paint, names, texts, padded)).rstrip()

    head = line(["title"] * len(columns), titles)
    return "\n".join([head, *(line(columns, texts) for texts in cells)])


def duration(seconds: float | None) -> str:
    """Show seconds as a person would say them."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def job_row(job: Job) -> dict[str, Any]:
    """One job as a line of a list."""
    return {
        "id": str(job.pk),
        "status": job.status,
        "task": job.task,
        "queue": job.queue,
        "priority": job.priority,
        "attempts": f"{job.attempts}/{job.max_attempts}",
        "enqueued": job.enqueued_at,
        "reason": _shortened(job.reason),
    }


def task_row(task: Task[Any, Any]) -> dict[str, Any]:
    """One declared task as a line of a list, with the defaults it leaves to others."""
    return {
        "name": task.key,
        "queue": task.queue_name,
        "priority": task.priority,
        **effective(task)._asdict(),
        "schedule": task.schedule.describe() if task.schedule else None,
        "aliases": list(task.aliases),
    }


def pause_text(queue: Mapping[str, Any]) -> str:
    """Say whether a queue is paused, until when and why."""
    if not queue["paused"]:
        return "no"
    until, reason = queue["paused_until"], _shortened(queue["pause_reason"])
    text = f"until {_cell(until)}" if until else "yes"
    return f"{text}: {reason}" if reason else text


def job_dict(job: Job) -> dict[str, Any]:
    """One job in full, attempts included, as JSON can hold it."""
    values = {
        field.attname: getattr(job, field.attname)
        for field in job._meta.concrete_fields
    }
    values["attempt_rows"] = [
        {
            field.attname: getattr(attempt, field.attname)
            for field in attempt._meta.concrete_fields
            if field.attname not in ("id", "job_id")
        }
        for attempt in job.attempt_set.db_manager(job._state.db).order_by("epoch")
    ]
    return values


def health_page(values: Mapping[str, Any], *, paint: Paint = plain) -> str:
    """Show what health() says, for people."""
    last = values["last_job_completed"]
    shown = {
        **values,
        "last_job_completed": last and datetime.fromisoformat(last),
        "uptime": duration(values["uptime"]),
        "failure_rate": f"{values['failure_rate']:.1%}",
    }
    return _page(shown.items(), paint)


def job_page(values: Mapping[str, Any], *, paint: Paint = plain) -> str:
    """One job in full, for people."""
    shown = [
        (name, value)
        for name, value in values.items()
        if name not in ("attempt_rows", "args", "kwargs", "result")
        and value not in (None, "", [], {})
    ]
    shown += [
        ("arguments", json.dumps(values["args"])),
        ("keyword arguments", json.dumps(values["kwargs"])),
    ]
    if values["status"] == "successful":
        shown.append(("result", json.dumps(values["result"])))
    lines = [_page(shown, paint)]
    for attempt in values["attempt_rows"]:
        worker, took = attempt["worker"] or "-", duration(attempt["duration"])
        title = f"Attempt {attempt['number']}: {attempt['outcome']} on {worker}, {took}"
        lines += ("", title, attempt["traceback"].rstrip() or attempt["message"])
    return "\n".join(lines)


def _page(items: Iterable[tuple[str, Any]], paint: Paint) -> str:
    return "\n".join(
        f"{name.replace('_', ' '):>20}  {paint(name, _cell(value), _cell(value))}"
        for name, value in items
    )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return timezone.localtime(value).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "-"
    return str(value)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).replace("-", "", 1).isdigit() or text == "-"


def _shortened(text: str) -> str:
    line = text.splitlines()[0] if text else ""
    return line if len(line) <= 60 else f"{line[:59]}…"
