"""`manage.py runworkers`: run the jobs of this project on this host."""

import os
import socket
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from typing import Any, Final

from django.conf import settings
from django.core.checks import Tags
from django.core.management.base import (
    BaseCommand,
    CommandError,
    CommandParser,
    SystemCheckError,
)
from django.db import DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor

import django_workers

from ...backend import DatabaseBackend
from ...brokers import broker_for
from ...compat import DEFAULT_TASK_BACKEND_ALIAS, task_backends
from ...conf import RuntimeSettings, unknown_queues
from ...databases import own_backends
from ...discovery import autodiscover
from ...exceptions import ConfigurationError, UnknownTask
from ...ids import uuid7
from ...runtime.banner import laid_out, rows_of
from ...runtime.child import ChildOptions
from ...runtime.launcher import Launcher
from ...runtime.lease import Identity
from ...runtime.processes import keep_streams, say
from ...runtime.reload import code_watcher, restart
from ...runtime.supervisor import SupervisorOptions
from ...task import registry
from ..flags import USAGE, as_command_error, declare_flags, settings_from
from ..preview import rows_of_start, schedule_count, task_count

EXIT_CODES = """
exit codes:
  0  stopped as asked: jobs finished or handed back
  1  it could not start (settings, migrations); --check: it could not
  2  wrong usage
  3  no process became ready: the project's code does not start
  4  MAX_FAILURES jobs in a row have failed
  5  the database was away when the worker had to stop
  6  the supervisor kept dying
"""

START_METHOD_VARIABLE: Final = "DJANGO_WORKERS_START_METHOD"
START_METHODS: Final = ("auto", "fork", "spawn")


class Command(BaseCommand):
    """Parses, prints who it is, and lets the launcher run."""

    help = "Run background jobs: claims, runs, retries, schedules, recovers."
    # The launcher must not open a connection of its own before it forks; pending
    # migrations are looked for by hand below.
    requires_migrations_checks = False

    def __init__(self, *args: Any, **options: Any) -> None:
        keep_streams()  # before Django takes hold of them
        super().__init__(*args, **options)

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
        declare_flags(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until stopped."""
        backend = self._backend(options["backend"])
        using = backend.database
        runtime = settings_from(options)
        if not options["check"]:
            self._refuse_pending_migrations(using)
        say(self.style.MIGRATE_HEADING(f"django_workers {django_workers.__version__}"))
        with as_command_error(returncode=USAGE if options["autodiscover"] else 1):
            autodiscover(runtime.autodiscover)
        self._warn_of_idle_patterns(runtime.tasks)
        # Those of the settings have had their check.
        self._warn_of_unknown_queues(
            [*(options["queues"] or ()), *options["exclude_queues"]], using
        )
        if options["check"]:
            self._check_start(using, runtime, options)
            return
        reloads = settings.DEBUG if options["reload"] is None else options["reload"]
        launcher = self._launcher(using, runtime, options, reloads=reloads)
        code = launcher.run()
        if launcher.changed:
            restart()
        if code:
            sys.exit(code)

    def _backend(self, alias: str) -> DatabaseBackend:
        returncode = 1 if alias == DEFAULT_TASK_BACKEND_ALIAS else USAGE
        try:
            backend = task_backends[alias]
        except Exception as error:
            raise CommandError(
                f"TASKS has no backend {alias!r}: {error}", returncode=returncode
            ) from error
        if not isinstance(backend, DatabaseBackend):
            raise CommandError(
                f"TASKS[{alias!r}] is {type(backend).__module__}."
                f"{type(backend).__qualname__}, which has no queue to work on. Set "
                'TASKS = {"default": {"BACKEND": '
                '"django_workers.backend.DatabaseBackend"}}.',
                returncode=returncode,
            )
        with as_command_error():
            backend.database  # noqa: B018 - reading it checks it
        return backend

    def _warn(self, text: str) -> None:
        try:
            self.stderr.write(self.style.WARNING(text))
        except OSError:
            pass  # nobody reads it

    def _warn_of_idle_patterns(self, patterns: Sequence[str]) -> None:
        """Say which patterns of TASKS no task here has a name for.

        No reason not to start: the code of another release may know one.
        """
        for pattern in patterns:
            if not registry.names([pattern]):
                self._warn(f"No task of this project matches {pattern!r}.")

    def _warn_of_unknown_queues(self, queues: Sequence[str], using: str) -> None:
        """Say which queues no backend of this database takes jobs for.

        No reason not to start: another release may know one.
        """
        if not queues:
            return
        with as_command_error():
            backends = [b.alias for b in own_backends() if using == b.settings.DATABASE]
        for queue in unknown_queues(queues, backends=backends):
            self._warn(f"No backend in TASKS takes jobs for the queue {queue!r}.")

    def _refuse_pending_migrations(self, using: str) -> None:
        """Say at once what would otherwise fail later.

        A database that is away is no reason not to start.
        """
        try:
            missing = _migrations_are_missing(using)
        except DatabaseError as error:
            self._warn(f"The database is away ({_shortly(error)}); waiting for it.")
            return
        finally:
            connections[using].close()
        if missing:
            raise CommandError(_migrate(using))

    def _check_start(
        self, using: str, runtime: RuntimeSettings, options: dict[str, Any]
    ) -> None:
        """Say what a start would use; raise CommandError for what is in its way."""
        broker = broker_for(using)
        troubles: list[str] = []
        schedules = 0
        try:
            if _migrations_are_missing(using):
                migrations = "missing or old"
                troubles.append(_migrate(using))
            else:
                migrations = "applied"
                if not options["no_schedules"]:
                    schedules = schedule_count(using, runtime)
            if not options["skip_checks"]:
                # The other checks have been passed already, as at any start.
                self.check(tags=[Tags.database], databases=[using])
        except DatabaseError as error:
            migrations = "unknown"
            troubles.append(
                f"The database {using!r} is away ({_shortly(error)}). A worker would "
                "start and wait for it."
            )
        except (ConfigurationError, UnknownTask, SystemCheckError) as error:
            troubles.append(str(error))
        rows = [
            *rows_of(
                broker,
                runtime,
                worker_id=_identity(runtime).worker_id,
                excluded_queues=options["exclude_queues"],
                children=len(_spread(runtime.slot_count, runtime.process_count)),
                tasks=task_count(runtime),
                schedules=schedules,
            ),
            *rows_of_start(broker, runtime, start_method=_start_method()),
            ("migrations", migrations),
        ]
        say(laid_out(rows))
        if troubles:
            raise CommandError("\n".join(troubles))
        say("A worker can start. Nothing was started.")

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
            start_method=_start_method(),
            watch=code_watcher(say) if reloads else None,
        )


def _migrations_are_missing(using: str) -> bool:
    executor = MigrationExecutor(connections[using])
    leaves = executor.loader.graph.leaf_nodes("django_workers")
    return bool(executor.migration_plan(leaves))


def _migrate(using: str) -> str:
    database = "" if using == "default" else f" --database {using}"
    return (
        f"The tables of django_workers are missing or old in the database "
        f"{using!r}. Run: python manage.py migrate django_workers{database}"
    )


def _shortly(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _start_method() -> str:
    method = os.environ.get(START_METHOD_VARIABLE, "auto")
    if method not in START_METHODS:
        raise CommandError(
            f"{START_METHOD_VARIABLE} must be one of {', '.join(START_METHODS)}, "
            f"not {method!r}."
        )
    return method


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
