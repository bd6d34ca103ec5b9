"""What `manage.py runworkers` understands: its flags, and the settings they change."""

from argparse import ArgumentParser, ArgumentTypeError, BooleanOptionalAction
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from django.conf import settings
from django.core.management.base import CommandError

from ..conf import SETTING, RuntimeSettings, build_settings, problem_of, problems
from ..exceptions import ConfigurationError

# The exit code of wrong usage, as argparse has it.
USAGE: Final = 2
# A flag that is also a setting: the flag wins over DJANGO_WORKERS, that over the
# default. docs/reference/settings.md has the table.
_SETTING_FLAGS: Final[dict[str, dict[str, Any]]] = {
    "worker_id": {"metavar": "NAME", "help": "name in heartbeats and results"},
    "processes": {"type": int, "help": "child processes (default: one per CPU)"},
    "concurrency": {
        "type": int,
        "help": "slots over all children (default: five per process)",
    },
    "batch_size": {"type": int, "help": "most jobs one claim takes"},
    "poll_interval": {"type": float, "help": "longest pause between two looks"},
    "timeout": {"type": float, "help": "how long an attempt may run by default"},
    "max_job_duration": {"type": float, "help": "upper bound over every timeout"},
    "lock_duration": {"type": float, "help": "the lease"},
    "heartbeat_interval": {"type": float, "help": "pause between two heartbeats"},
    "stale_check_interval": {
        "type": float,
        "help": "pause between two searches for dead workers",
    },
    "shutdown_timeout": {
        "type": float,
        "help": "how long a drain waits for running jobs",
    },
    "max_failures": {
        "type": int,
        "help": "stop after so many failed jobs in a row (0: never)",
    },
}
_OTHER_FLAGS: Final = (
    "queues",
    "tasks",
    "autodiscover",
    "prefetch",
    "metrics_enabled",
)


def declare_flags(parser: ArgumentParser) -> None:
    """Declare every flag of `runworkers`."""
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
        "--autodiscover",
        type=_names,
        help="import only these modules of each app, or of these dotted paths",
    )
    parser.add_argument(
        "--backend", default="default", help="alias in TASKS (default: default)"
    )
    for name, options in _SETTING_FLAGS.items():
        parser.add_argument(_flag(name), **_shown(name, options))
    parser.add_argument(
        "--prefetch",
        action=BooleanOptionalAction,
        help="hold a few milliseconds of work ahead, or claim for free slots only",
    )
    parser.add_argument(
        "--metrics",
        action=BooleanOptionalAction,
        dest="metrics_enabled",
        help="write the figures that charts and health are read from, or do not",
    )
    parser.add_argument(
        "--no-schedules", action="store_true", help="do not fire schedules"
    )
    parser.add_argument(
        "--burst", action="store_true", help="exit when nothing is left to run"
    )
    parser.add_argument(
        "--max-jobs",
        type=_count,
        default=0,
        metavar="N",
        help="exit after this many jobs (0: never)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="say what a start would use and what is in its way; start nothing",
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


def settings_from(options: dict[str, Any]) -> RuntimeSettings:
    """The settings of this worker: flags over `DJANGO_WORKERS` over defaults.

    Raises CommandError naming the flag or the setting that cannot work. What only the
    flags make wrong is wrong usage.
    """
    given = {
        name.upper(): options[name]
        for name in (*_SETTING_FLAGS, *_OTHER_FLAGS)
        if options[name] is not None
    }
    if options["queues"] and set(options["queues"]) <= set(options["exclude_queues"]):
        raise CommandError(
            "--exclude-queues leaves none of --queues.", returncode=USAGE
        )
    for key, value in given.items():
        if wrong := problem_of(key, value):
            said = ",".join(value) if isinstance(value, tuple) else value
            raise CommandError(f"{_flag(key)} {said}: {wrong}", returncode=USAGE)
    values = getattr(settings, SETTING, {})
    with as_command_error(returncode=1 if problems(values) else USAGE):
        if not isinstance(values, Mapping):
            return build_settings(values)
        return build_settings({**values, **given})


@contextmanager
def as_command_error(*, returncode: int = 1) -> Iterator[None]:
    """Let a mistake in the settings end the command with its own words."""
    try:
        yield
    except ConfigurationError as error:
        raise CommandError(str(error), returncode=returncode) from error


def _names(text: str) -> tuple[str, ...]:
    """Read names separated by commas; none at all would mean every one."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise ArgumentTypeError("names nothing; leave the option out for all")
    return names


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ArgumentTypeError("must be a whole number, zero or more")
    return number


def _shown(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Add to a flag what its value is, and the default that its setting has."""
    default = getattr(RuntimeSettings(), name)
    if options.get("type") in (int, float):
        metavar = "N" if options["type"] is int else "SECONDS"
        options = {"metavar": metavar, **options}
    if default not in ("", 0, None):
        options = {**options, "help": f"{options['help']} (default: {default:g})"}
    return options


def _flag(key: str) -> str:
    return f"--{key.lower().replace('_', '-')}"
