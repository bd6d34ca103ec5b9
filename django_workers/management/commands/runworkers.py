"""`manage.py runworkers`: run the jobs of this project on this host."""

import os
import socket
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor

import django_workers

from ...backend import DatabaseBackend
from ...compat import task_backends
from ...conf import SETTING, RuntimeSettings, build_settings
from ...discovery import autodiscover
from ...exceptions import ConfigurationError
from ...ids import uuid7
from ...runtime.child import ChildOptions
from ...runtime.launcher import Launcher
from ...runtime.lease import Identity
from ...runtime.processes import say
from ...runtime.reload import code_watcher, restart
from ...runtime.supervisor import SupervisorOptions

EXIT_CODES = """
exit codes:
  0  stopped as asked: jobs finished or handed back
  1  it could not start (settings, migrations)
  2  wrong usage
  3  no process became ready: the project's code does not start
  4  MAX_FAILURES jobs in a row have failed
  5  the database was away when the worker had to stop
  6  the supervisor kept dying
"""

# A flag that is also a setting: the flag wins over DJANGO_WORKERS, that over the
# default. docs/reference/settings.md has the table.
_SETTING_FLAGS: dict[str, dict[str, Any]] = {
    "worker_id": {"metavar": "NAME", "help": "name in heartbeats and results"},
    "processes": {"type": int, "help": "child processes (default: one per CPU)"},
    "concurrency": {
        "type": int,
        "help": "slots over all children (default: five per process)",
    },
    "batch_size": {"type": int, "help": "most jobs one claim takes"},
    "poll_interval": {"type": float, "help": "longest pause between two looks"},
    "timeout": {"type": float, "help": "seconds an attempt may run by default"},
    "max_job_duration": {"type": float, "help": "upper bound over every timeout"},
    "lock_duration": {"type": float, "help": "the lease, in seconds"},
    "heartbeat_interval": {"type": float, "help": "seconds between heartbeats"},
    "stale_check_interval": {
        "type": float,
        "help": "seconds between two searches for dead workers",
    },
    "shutdown_timeout": {
        "type": float,
        "help": "seconds a drain waits for running jobs",
    },
    "max_failures": {
        "type": int,
        "help": "stop after so many failed jobs in a row (0: never)",
    },
}


class Command(BaseCommand):
    """Parses, prints who it is, and lets the launcher run."""

    help = "Run background jobs: claims, runs, retries, schedules, recovers."
    # The launcher must not open a connection of its own before it forks; pending
    # migrations are looked for by hand below.
    requires_migrations_checks = False

    def create_parser(
        self, prog_name: str, subcommand: str, **kwargs: Any
    ) -> CommandParser:
        """Show the exit codes below the options."""
        return super().create_parser(
            prog_name,
            subcommand,
            epilog=EXIT_CODES,
            formatter_class=RawDescriptionHelpFormatter,
            **kwargs,
        )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the flags."""
        parser.add_argument(
            "--queues",
            type=_names,
            help="only these queues, comma separated, strictly in this order",
        )
        parser.add_argument(
            "--exclude-queues", type=_names, default=(), help="every queue but these"
        )
        parser.add_argument(
            "--tasks", type=_names, help='only these tasks, like "email:*,report:*"'
        )
        parser.add_argument(
            "--backend", default="default", help="alias in TASKS (default: default)"
        )
        for name, options in _SETTING_FLAGS.items():
            parser.add_argument(f"--{name.replace('_', '-')}", **options)
        parser.add_argument(
            "--no-prefetch",
            action="store_true",
            help="claim for free slots only, never ahead",
        )
        parser.add_argument(
            "--no-schedules", action="store_true", help="do not fire schedules"
        )
        parser.add_argument(
            "--burst", action="store_true", help="exit when nothing is left to run"
        )
        parser.add_argument(
            "--max-jobs", type=int, default=0, help="exit after this many jobs"
        )
        parser.add_argument(
            "--reload",
            action="store_true",
            default=None,
            help="restart when code changes (default under DEBUG)",
        )
        parser.add_argument(
            "--no-reload", action="store_false", dest="reload", help="do not"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until stopped."""
        backend = self._backend(options["backend"])
        using = backend.settings.DATABASE
        runtime = self._runtime(options)
        self._refuse_pending_migrations(using)
        self.stdout.write(
            self.style.MIGRATE_HEADING(f"django_workers {django_workers.__version__}")
        )
        self.stdout.flush()
        autodiscover(runtime.autodiscover)
        reloads = settings.DEBUG if options["reload"] is None else options["reload"]
        launcher = self._launcher(using, runtime, options, reloads=reloads)
        code = launcher.run()
        if launcher.changed:
            say(f"{launcher.changed} has changed: restarting")
            restart()
        if code:
            sys.exit(code)

    def _backend(self, alias: str) -> DatabaseBackend:
        try:
            backend = task_backends[alias]
        except Exception as error:
            raise CommandError(
                f"TASKS has no backend {alias!r}: {error}", returncode=2
            ) from error
        if not isinstance(backend, DatabaseBackend):
            raise CommandError(
                f"TASKS[{alias!r}] is {type(backend).__module__}."
                f"{type(backend).__qualname__}, which has no queue to work on. Set "
                'TASKS = {"default": {"BACKEND": '
                '"django_workers.backend.DatabaseBackend"}}.'
            )
        return backend

    def _runtime(self, options: dict[str, Any]) -> RuntimeSettings:
        given = {
            name.upper(): options[name]
            for name in (*_SETTING_FLAGS, "queues", "tasks")
            if options[name] is not None
        }
        if options["no_prefetch"]:
            given["PREFETCH"] = False
        try:
            return build_settings({**getattr(settings, SETTING, {}), **given})
        except ConfigurationError as error:
            raise CommandError(str(error)) from error

    def _refuse_pending_migrations(self, using: str) -> None:
        """Say at once what would otherwise fail later.

        A database that is away is no reason not to start.
        """
        connection = connections[using]
        try:
            executor = MigrationExecutor(connection)
            plan = executor.migration_plan(
                [
                    leaf
                    for leaf in executor.loader.graph.leaf_nodes()
                    if leaf[0] == "django_workers"
                ]
            )
        except DatabaseError as error:
            text = str(error).strip().splitlines()[0]
            self.stderr.write(
                self.style.WARNING(f"The database is away ({text}); waiting for it.")
            )
            return
        finally:
            connection.close()
        if plan:
            database = "" if using == "default" else f" --database {using}"
            raise CommandError(
                f"The tables of django_workers are missing or old in the database "
                f"{using!r}. Run: python manage.py migrate django_workers{database}"
            )

    def _launcher(
        self,
        using: str,
        runtime: RuntimeSettings,
        options: dict[str, Any],
        *,
        reloads: bool,
    ) -> Launcher:
        identity = _identity(runtime)
        slots = _spread(runtime.slot_count, runtime.process_count)
        supervisor = SupervisorOptions(
            using=using,
            children=len(slots),
            identity=identity,
            settings=runtime,
            excluded_queues=options["exclude_queues"],
            burst=options["burst"],
            max_jobs=options["max_jobs"],
            schedules=not options["no_schedules"],
        )
        child = ChildOptions(worker_id=identity.worker_id, slots=1, settings=runtime)
        return Launcher(
            supervisor,
            child,
            slots=slots,
            renew=lambda old: _renewed(old, runtime),
            start_method=os.environ.get("DJANGO_WORKERS_START_METHOD", "auto"),
            watch=code_watcher(say) if reloads else None,
        )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _identity(runtime: RuntimeSettings) -> Identity:
    host, pid = socket.gethostname(), os.getpid()
    return Identity(
        session=uuid7(),
        worker_id=runtime.worker_id or f"{host}-{pid}"[-64:],
        host=host,
        pid=pid,
        queues=runtime.queues,
    )


def _renewed(old: SupervisorOptions, runtime: RuntimeSettings) -> SupervisorOptions:
    values = {name: getattr(old, name) for name in old.__dataclass_fields__}
    values["predecessors"] = (*old.predecessors, old.identity.session)
    return SupervisorOptions(**{**values, "identity": _identity(runtime)})


def _spread(slots: int, processes: int) -> list[int]:
    """Spread slots over processes as evenly as whole numbers allow.

    Fewer slots than processes start fewer processes.
    """
    processes = min(slots, processes)
    base, extra = divmod(slots, processes)
    return [base + (number < extra) for number in range(processes)]
