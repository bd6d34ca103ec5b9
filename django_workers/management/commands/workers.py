"""`manage.py workers VERB`: look at jobs and workers, and act on them."""

import json
import sys
from argparse import RawDescriptionHelpFormatter
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
from ...models import Job, JobQuerySet, Schedule
from ...task import list_tasks
from ..arguments import EXIT_CODES, declare_verbs
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

    # Looking

    def _status(self, options: dict[str, Any]) -> bool:
        using = options["database"]
        values: dict[str, Any] = {
            "health": control.health(using=using),
            "counts": stats.counts(using=using),
            "queues": stats.queue_rows(using=using),
            "workers": stats.session_rows(using=using),
            "timings": stats.timings(using=using),
        }
        counts = ", ".join(f"{n:,} {name}" for name, n in values["counts"].items() if n)
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
        rows = [job_row(job) for job in self._filtered(options)]
        columns = tuple(rows[0]) if rows else ()
        self._print(options, rows, self._table(rows, columns) or "No job matches.")
        return True

    def _show(self, options: dict[str, Any]) -> bool:
        values = job_dict(_job(options["id"], using=options["database"]))
        self._print(options, values, job_page(values, paint=self._paint))
        return True

    def _stats(self, options: dict[str, Any]) -> bool:
        values = control.stats(using=options["database"])
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
        self, options: dict[str, Any], verb: Callable[[list[Any]], dict[str, str]]
    ) -> bool:
        """Act on the ids given, or on what the filters leave; never on everything."""
        ids = options["ids"]
        filters = [options[name] for name in ("status", "task", "queue", "tag")]
        if not ids and not any(filters):
            raise CommandError(
                "Say which jobs: ids, or --status, --task, --queue, --tag.",
                returncode=USAGE,
            )
        if ids and any(filters):
            raise CommandError("Give ids or filters, not both.", returncode=USAGE)
        chosen = ids or [job.pk for job in self._filtered(options)]
        answers = verb(chosen)
        rows = [{"id": job_id, "answer": said} for job_id, said in answers.items()]
        self._print(
            options, answers, self._table(rows, ("id", "answer")) or "No job matches."
        )
        return not _LEFT_ALONE.intersection(answers.values())

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

    def _filtered(self, options: dict[str, Any]) -> JobQuerySet:
        jobs: JobQuerySet = Job.objects.using(options["database"]).order_by("-id")
        if options["status"] == "waiting":
            jobs = jobs.waiting()
        elif options["status"]:
            jobs = jobs.filter(status=options["status"])
        if options["task"]:
            jobs = jobs.filter(task=options["task"])
        if options["queue"]:
            jobs = jobs.filter(queue=options["queue"])
        if options["tag"]:
            jobs = jobs.tagged(options["tag"])
        if options["limit"] < 1:
            raise CommandError("--limit must be above zero.", returncode=USAGE)
        return jobs[: options["limit"]]


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
