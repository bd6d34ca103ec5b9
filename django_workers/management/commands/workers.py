"""`manage.py workers VERB`: look at jobs and workers, and act on them."""

import json
import sys
from argparse import RawDescriptionHelpFormatter
from collections import Counter
from collections.abc import Callable, Mapping
from getpass import getuser
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DatabaseError, connections

from ... import control, stats
from ...databases import queue_database
from ...exceptions import (
    JobDoesNotExist,
    ScheduleDoesNotExist,
    UnknownTask,
)
from ...models import Job, Schedule
from ...task import list_tasks
from .. import filters
from ..arguments import DEFAULT_LIMIT, EXIT_CODES, declare_verbs
from ..flags import as_command_error
from ..tables import (
    duration,
    health_page,
    job_dict,
    job_page,
    job_row,
    pause_text,
    table,
    task_row,
)

NOT_DONE: Final = 1
USAGE: Final = 2
# What a verb answers for a job it has left as it was.
_LEFT_ALONE: Final = {"finished first", "not finished", "successful", "not waiting"}
# Statuses and states that stand out in colour, by the style that Django has for it.
_STYLES: Final = {
    "successful": "SUCCESS",
    "healthy": "SUCCESS",
    "failed": "ERROR",
    "unhealthy": "ERROR",
    "lost": "ERROR",
    "stale": "ERROR",
    "cancelled": "WARNING",
    "degraded": "WARNING",
    "blocked": "WARNING",
    "running": "NOTICE",
}


class Command(BaseCommand):
    """Parses and prints; what is done is done by `django_workers.control`."""

    help = "Look at background jobs and workers, and act on them."

    def create_parser(
        self, prog_name: str, subcommand: str, **kwargs: Any
    ) -> CommandParser:
        """Show the exit codes below the verbs."""
        return super().create_parser(
            prog_name,
            subcommand,
            epilog=EXIT_CODES,
            formatter_class=RawDescriptionHelpFormatter,
            **kwargs,
        )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare one parser per verb."""
        declare_verbs(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Carry one verb out."""
        verb: Callable[[dict[str, Any]], bool] = getattr(
            self, f"_{options['verb'].replace('-', '_')}"
        )
        with as_command_error():
            using = options["database"] or queue_database()
        if using not in list(connections):
            raise CommandError(f"DATABASES has no {using!r}.", returncode=USAGE)
        options["database"] = using
        try:
            with as_command_error():
                done = verb(options)
        except (JobDoesNotExist, ScheduleDoesNotExist, ValueError) as error:
            raise CommandError(str(error), returncode=USAGE) from error
        except DatabaseError as error:
            raise CommandError(f"The database cannot be asked: {error}") from error
        if not done:
            sys.exit(NOT_DONE)

    def _paint(self, column: str, text: str, padded: str) -> str:
        """Give the words that matter their colour, where colours are wanted."""
        if column == "title":
            return self.style.MIGRATE_HEADING(padded)
        name = _STYLES.get(text) if column in ("status", "state") else None
        style: Callable[[str], str] = getattr(self.style, name) if name else str
        return style(padded)

    def _table(self, rows: Any, columns: tuple[str, ...]) -> str:
        return table(rows, columns, paint=self._paint)

    def _print(self, options: dict[str, Any], values: Any, text: str) -> None:
        if options["format"] == "json":
            text = json.dumps(values, cls=DjangoJSONEncoder, indent=2)
        self.stdout.write(text)

    def _note(self, text: str) -> None:
        """Say what is no part of the answer: beside it, for programs read that."""
        self.stderr.write(text, self.style.NOTICE)

    # Looking

    def _status(self, options: dict[str, Any]) -> bool:
        using = options["database"]
        values: dict[str, Any] = {
            "health": control.health(using=using),
            "counts": stats.counts(stats.COUNTED, using=using),
            "counted_up_to": stats.COUNTED,
            "queues": stats.queue_rows(using=using),
            "workers": stats.session_rows(using=using),
            "timings": stats.timings(using=using),
        }
        more = _beyond(values["counts"], stats.COUNTED)
        counts = ", ".join(
            f"{stats.COUNTED:,}+ {name}" if name in more else f"{n:,} {name}"
            for name, n in values["counts"].items()
            if n
        )
        status = values["health"]["status"]
        alive = [row for row in values["workers"] if row["stopped_at"] is None]
        workers = [
            {
                **row,
                "load": f"{row['running']}/{row['slots']}",
                "heartbeat": f"{duration(row['heartbeat_age'])} ago",
                "state": "stale" if row["stale"] else row["state"],
                "queues": row["queues"] or "all",
            }
            for row in alive
        ]
        queues = [
            {
                **row,
                "oldest_waiting": duration(row["oldest_waiting"]),
                "paused": pause_text(row),
            }
            for row in values["queues"]
        ]
        text = "\n\n".join(
            part
            for part in (
                (
                    f"{self._paint('status', status, status.capitalize())}. "
                    f"Jobs: {counts or 'none'}."
                ),
                _took(values["timings"]),
                self._table(
                    queues,
                    (
                        "name",
                        "ready",
                        "scheduled",
                        "running",
                        "blocked",
                        "oldest_waiting",
                        "paused",
                    ),
                ),
                self._table(
                    workers, ("worker_id", "state", "load", "heartbeat", "queues")
                )
                or "No worker is running: python manage.py runworkers",
            )
            if part
        )
        self._print(options, values, text)
        return True

    def _jobs(self, options: dict[str, Any]) -> bool:
        limit = _limit(options) or DEFAULT_LIMIT
        rows = [job_row(job) for job in filters.matching(options)[: limit + 1]]
        is_more = len(rows) > limit
        rows = rows[:limit]
        columns = tuple(rows[0]) if rows else ()
        self._print(options, rows, self._table(rows, columns) or "No job matches.")
        if is_more:
            self._note(f"There are more than these {limit:,}: --limit shows more.")
        return True

    def _show(self, options: dict[str, Any]) -> bool:
        values = job_dict(_job(options["id"], using=options["database"]))
        self._print(options, values, job_page(values, paint=self._paint))
        return True

    def _stats(self, options: dict[str, Any]) -> bool:
        limit = _limit(options)
        values = control.stats(limit=limit, using=options["database"])
        totals = [
            {"": name, "jobs": values[name]}
            for name in (
                "pending",
                "running",
                "completed",
                "failed",
                "cancelled",
                "total",
            )
        ]
        parts = [self._table(totals, ("", "jobs"))]
        for kind in ("by_queue", "by_task"):
            rows = [{kind[3:]: name, **row} for name, row in values[kind].items()]
            if rows:
                parts.append(self._table(rows, tuple(rows[0])))
        self._print(options, values, "\n\n".join(parts))
        if limit and (more := _beyond(values["by_status"], limit)):
            self._note(
                f"Counted up to {limit:,} of each status; there are more: "
                f"{', '.join(more)}."
            )
        return True

    def _health(self, options: dict[str, Any]) -> bool:
        values = control.health(using=options["database"])
        self._print(options, values, health_page(values, paint=self._paint))
        return bool(values["status"] != "unhealthy")

    def _tasks(self, options: dict[str, Any]) -> bool:
        rows = [task_row(task) for task in list_tasks()]
        columns = ("name", "queue", "priority", "max_attempts", "timeout", "schedule")
        shown = [{**row, "timeout": duration(row["timeout"])} for row in rows]
        self._print(
            options, rows, self._table(shown, columns) or "No task is declared."
        )
        return True

    def _schedules(self, options: dict[str, Any]) -> bool:
        if any(options[name] for name in ("run", "enable", "disable")):
            return self._change_schedule(options)
        using = options["database"]
        rows = [
            {
                "name": schedule.name,
                "task": schedule.task,
                "timing": schedule.cron or f"every {schedule.interval:g} s",
                "timezone": schedule.timezone,
                "enabled": schedule.enabled,
                "next_run": schedule.next_fire_at,
                "last_run": schedule.last_fire_at,
                "reason": schedule.disabled_reason,
            }
            for schedule in Schedule.objects.using(using).order_by("name")
        ]
        columns = (
            "name",
            "task",
            "timing",
            "enabled",
            "next_run",
            "last_run",
            "reason",
        )
        self._print(options, rows, self._table(rows, columns) or "No schedule.")
        return True

    # Acting

    def _change_schedule(self, options: dict[str, Any]) -> bool:
        using, by = options["database"], _who()
        values: dict[str, Any] = {}
        try:
            if name := options["run"]:
                values["job"] = control.run_schedule(name, by=by, using=using)
                said = f"Enqueued: job {values['job']}"
            elif name := options["enable"]:
                values["changed"] = control.enable_schedule(name, by=by, using=using)
                said = f"{'Enabled' if values['changed'] else 'Was enabled'}: {name}"
            else:
                name = options["disable"]
                values["changed"] = control.disable_schedule(
                    name, reason=options["reason"], by=by, using=using
                )
                said = f"{'Disabled' if values['changed'] else 'Was disabled'}: {name}"
        except UnknownTask as error:
            raise CommandError(str(error)) from error
        self._print(options, {"schedule": name, **values}, said)
        return True

    def _cancel(self, options: dict[str, Any]) -> bool:
        return self._act(
            options,
            lambda ids: control.cancel(
                ids, reason=options["reason"], by=_who(), using=options["database"]
            ),
        )

    def _retry(self, options: dict[str, Any]) -> bool:
        return self._act(
            options,
            lambda ids: control.retry(
                ids,
                reset_attempts=options["reset_attempts"],
                by=_who(),
                using=options["database"],
            ),
        )

    def _run_now(self, options: dict[str, Any]) -> bool:
        using = options["database"]
        return self._act(
            options, lambda ids: control.run_now(ids, by=_who(), using=using)
        )

    def _act(
        self, options: dict[str, Any], verb: Callable[[Any], dict[str, str]]
    ) -> bool:
        """Act on the ids given, or on all that match; never on everything."""
        ids, is_filtered = options["ids"], filters.are_given(options)
        if not ids and not is_filtered:
            raise CommandError(
                "Say which jobs: ids, or --status, --task, --queue, --tag.",
                returncode=USAGE,
            )
        if ids and is_filtered:
            raise CommandError("Give ids or filters, not both.", returncode=USAGE)
        jobs, limit = filters.matching(options), _limit(options)
        answers = verb(ids or (jobs if limit is None else jobs[:limit]))
        self._print(options, answers, self._answers(answers) or "No job matches.")
        if is_filtered and limit and answers:
            # The newest were taken, so what is left is older, and ids sort by age.
            if left := jobs.filter(id__lt=min(answers)).count():
                self._note(f"Left as they were: {left:,} more that match.")
        return not _LEFT_ALONE.intersection(answers.values())

    def _answers(self, answers: Mapping[str, str]) -> str:
        """Say what happened to each job, or to how many of a great number."""
        if len(answers) <= DEFAULT_LIMIT:
            rows: list[dict[str, Any]] = [
                {"id": job_id, "answer": said} for job_id, said in answers.items()
            ]
            return self._table(rows, ("id", "answer"))
        counts = Counter(answers.values()).most_common()
        rows = [{"answer": said, "jobs": count} for said, count in counts]
        return self._table(rows, ("answer", "jobs"))

    def _pause(self, options: dict[str, Any]) -> bool:
        queue = options["queue"]
        changed = control.pause(
            queue,
            reason=options["reason"],
            by=_who(),
            until=options["lasting"],
            using=options["database"],
        )
        said = "Paused" if changed else "Was paused already"
        self._print(options, {"queue": queue, "changed": changed}, f"{said}: {queue}")
        return True

    def _resume(self, options: dict[str, Any]) -> bool:
        queue = options["queue"]
        changed = control.resume(queue, by=_who(), using=options["database"])
        said = "Resumed" if changed else "Was not paused"
        self._print(options, {"queue": queue, "changed": changed}, f"{said}: {queue}")
        return True

    def _prune(self, options: dict[str, Any]) -> bool:
        count = control.prune(
            older_than=options["older_than"],
            statuses=options["status"],
            queue=options["queue"],
            using=options["database"],
        )
        jobs = "job" if count == 1 else "jobs"
        self._print(options, {"deleted": count}, f"Deleted {count:,} {jobs}.")
        return True

    def _rescue(self, options: dict[str, Any]) -> bool:
        rescued = control.rescue(dry_run=options["dry_run"], using=options["database"])
        columns = ("job_id", "task", "status", "reason")
        nothing = "Every running job has a living worker."
        self._print(options, rescued, self._table(rescued, columns) or nothing)
        return True


def _beyond(counts: Mapping[str, int], limit: int) -> list[str]:
    """Return the statuses that have more jobs than were counted."""
    return [status for status, count in counts.items() if count > limit]


def _limit(options: Mapping[str, Any]) -> int | None:
    limit: int | None = options["limit"]
    if limit is not None and limit < 1:
        raise CommandError("--limit must be above zero.", returncode=USAGE)
    return limit


def _job(job_id: str, *, using: str) -> Job:
    try:
        job = Job.objects.using(using).filter(pk=job_id).first()
    except (ValidationError, ValueError):
        job = None
    if job is None:
        raise JobDoesNotExist(f"no job has the id {job_id}")
    return job


def _took(timings: Mapping[str, float | None]) -> str:
    """Say how long jobs wait and run; "" before any has."""
    parts = [
        f"{word} {duration(timings[f'{key}_p50'])} (95 %: "
        f"{duration(timings[f'{key}_p95'])})"
        for word, key in (("waits", "wait"), ("runs", "run"))
        if timings[f"{key}_p50"] is not None
    ]
    return f"A job {' and '.join(parts)}." if parts else ""


def _who() -> str:
    """Who acts: the user of the shell."""
    try:
        return getuser()
    except (KeyError, OSError):
        return ""
