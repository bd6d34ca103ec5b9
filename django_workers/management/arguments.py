"""What `manage.py workers` understands: its verbs and their options."""

import re
from argparse import (
    ArgumentTypeError,
    RawDescriptionHelpFormatter,
    _SubParsersAction,
)
from datetime import timedelta
from typing import Any, Final

from django.core.management.base import CommandParser

from ..models import FINISHED, JobStatus

EXIT_CODES: Final = """
exit codes:
  0  done; `health`: healthy or degraded
  1  something asked for was not done; `health`: unhealthy
  2  wrong usage, or an id that no job has, or a name that no schedule has
"""

# A list shows no more jobs than this unless told to.
DEFAULT_LIMIT: Final = 50

_AGE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w)")
_SECONDS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}


def declare_verbs(parser: CommandParser) -> None:
    """Declare one parser per verb."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _add(verbs, "status", "workers, queues and counts at a glance")
    jobs = _add(verbs, "jobs", "list jobs, newest first")
    _add_filters(jobs, limit=DEFAULT_LIMIT, default="%(default)s")
    show = _add(verbs, "show", "one job with its attempts")
    show.add_argument("id")
    figures = _add(verbs, "stats", "counts by status, queue and task")
    figures.add_argument(
        "--limit",
        type=int,
        metavar="N",
        help="count so many jobs of each status at most (default: all)",
    )
    _add(verbs, "health", "whether the work gets done")
    prune = _add(verbs, "prune", "delete finished jobs by age")
    prune.add_argument("--older-than", type=_age, metavar="AGE", help="like 7d, 12h")
    prune.add_argument("--status", action="append", choices=FINISHED)
    prune.add_argument("--queue")
    for verb, text in (
        ("cancel", "end waiting jobs, ask running ones to stop"),
        ("retry", "make failed and cancelled jobs ready again"),
        ("run-now", "make scheduled jobs ready at once"),
    ):
        acting = _add(verbs, verb, text)
        acting.add_argument("ids", nargs="*", metavar="ID")
        _add_filters(acting, limit=None, default="all that match")
        if verb == "cancel":
            acting.add_argument("--reason", default="")
        if verb == "retry":
            acting.add_argument("--reset-attempts", action="store_true")
    pause = _add(verbs, "pause", "let workers take nothing more from a queue")
    pause.add_argument("queue")
    pause.add_argument("--reason", default="")
    pause.add_argument("--for", dest="lasting", type=_age, metavar="AGE")
    resume = _add(verbs, "resume", "let workers take from a queue again")
    resume.add_argument("queue")
    rescue = _add(verbs, "rescue", "take jobs back from dead workers")
    rescue.add_argument("--dry-run", action="store_true")
    _add(verbs, "tasks", "the tasks this project declares")
    schedules = _add(verbs, "schedules", "the schedules and their next runs")
    change = schedules.add_mutually_exclusive_group()
    change.add_argument("--run", metavar="NAME", help="enqueue its job now")
    change.add_argument("--enable", metavar="NAME", help="switch it on")
    change.add_argument("--disable", metavar="NAME", help="switch it off")
    schedules.add_argument(
        "--reason", default="", help="why it is switched off; kept with it"
    )


def _add(verbs: "_SubParsersAction[Any]", name: str, text: str) -> CommandParser:
    parser: CommandParser = verbs.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=EXIT_CODES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="text or JSON"
    )
    parser.add_argument(
        "--database",
        metavar="ALIAS",
        help="the database to ask (default: that of the default backend)",
    )
    return parser


def _add_filters(parser: CommandParser, *, limit: int | None, default: str) -> None:
    parser.add_argument(
        "--status",
        choices=[*JobStatus.values, "waiting"],
        help="waiting: scheduled, blocked or ready",
    )
    parser.add_argument("--task", help="the name that the task is registered under")
    parser.add_argument("--queue")
    parser.add_argument("--tag")
    parser.add_argument(
        "--limit",
        type=int,
        default=limit,
        metavar="N",
        help=f"the newest so many (default: {default})",
    )


def _age(text: str) -> timedelta:
    """Read an age like 7d, 12h, 30min, 45s."""
    found = _AGE.fullmatch(text.strip())
    if found is None:
        raise ArgumentTypeError(f"{text!r} is no age; write 7d, 12h, 30min or 45s")
    try:
        return timedelta(seconds=float(found[1]) * _SECONDS[found[2]])
    except OverflowError:
        raise ArgumentTypeError(f"{text!r} is longer than time itself") from None
