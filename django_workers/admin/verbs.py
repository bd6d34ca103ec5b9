"""What one can do to jobs from the admin: the words, the permission, the answer.

Whatever the way (action of the list, button of a page, everything that matches a
filter), a verb is carried out by `carry_out`: it checks the permission, calls
`control`, writes the log and says what happened to each job.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.contrib import messages
from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext, gettext_lazy, ngettext, ngettext_lazy

from .. import control
from ..codec import storable_text
from ..exceptions import JobDoesNotExist
from ..models import UNFINISHED, Job, JobStatus
from ..templatetags.django_workers_admin import figure, short_id
from .base import actor, rows

if TYPE_CHECKING:
    from .jobs import JobAdmin

# Most characters of a reason.
REASON_LIMIT: Final = 250
# Up to so many jobs are named one by one in the message.
NAMED: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """Something that can be done to jobs."""

    name: str
    # "cancel" stands for has_cancel_permission() and the codename cancel_job.
    permission: str
    label: str | Promise
    # What the page that asks for confirmation says the verb does.
    explanation: str | Promise
    # The statuses on which it has an effect.
    statuses: Sequence[JobStatus]
    call: Callable[..., Mapping[str, str]]
    options: Mapping[str, Any]
    # control's answer -> what the log keeps of a job; no answer, no change.
    log: Mapping[str, str | Promise]
    # control's answer -> the sentence for so many jobs
    answers: Mapping[str, Any]
    # The button of the page that asks for confirmation.
    confirmation: str | Promise
    # Whether the form may say why.
    takes_reason: bool = False


CANCEL: Final = Verb(
    name="cancel",
    permission="cancel",
    label=gettext_lazy("Cancel"),
    confirmation=gettext_lazy("Cancel these jobs"),
    takes_reason=True,
    explanation=gettext_lazy(
        "Waiting jobs end at once. Running ones are asked to stop."
    ),
    statuses=UNFINISHED,
    call=control.cancel,
    options={},
    log={
        "cancelled": gettext_lazy("Cancelled"),
        "requested": gettext_lazy("Asked to stop"),
    },
    answers={
        "cancelled": ngettext_lazy(
            "%(n)s job was cancelled", "%(n)s jobs were cancelled", "n"
        ),
        "requested": ngettext_lazy(
            "%(n)s running job was asked to stop",
            "%(n)s running jobs were asked to stop",
            "n",
        ),
        "finished first": ngettext_lazy(
            "%(n)s job had already finished and stays as it is",
            "%(n)s jobs had already finished and stay as they are",
            "n",
        ),
    },
)

_RETRY_ANSWERS: Final = {
    "retried": ngettext_lazy(
        "%(n)s job will run again", "%(n)s jobs will run again", "n"
    ),
    "not finished": ngettext_lazy(
        "%(n)s job has not finished and stays as it is",
        "%(n)s jobs have not finished and stay as they are",
        "n",
    ),
    "successful": ngettext_lazy(
        "%(n)s job was successful and stays as it is",
        "%(n)s jobs were successful and stay as they are",
        "n",
    ),
}

RETRY: Final = Verb(
    name="retry",
    permission="retry",
    label=gettext_lazy("Retry"),
    confirmation=gettext_lazy("Retry these jobs"),
    explanation=gettext_lazy(
        "Failed and cancelled jobs get one more attempt. Their counters stay."
    ),
    statuses=(JobStatus.FAILED, JobStatus.CANCELLED),
    call=control.retry,
    options={"reset_attempts": False},
    log={"retried": gettext_lazy("Retried")},
    answers=_RETRY_ANSWERS,
)

RETRY_RESET: Final = Verb(
    name="retry_reset",
    permission="retry",
    label=gettext_lazy("Retry with all attempts"),
    confirmation=gettext_lazy("Retry these jobs with all attempts"),
    explanation=gettext_lazy(
        "Failed and cancelled jobs start over, with their full number of attempts."
    ),
    statuses=RETRY.statuses,
    call=control.retry,
    options={"reset_attempts": True},
    log={"retried": gettext_lazy("Retried with attempts reset")},
    answers=_RETRY_ANSWERS,
)

RUN_NOW: Final = Verb(
    name="run",
    permission="run",
    label=gettext_lazy("Run now"),
    confirmation=gettext_lazy("Run these jobs now"),
    explanation=gettext_lazy("Scheduled jobs no longer wait for their time."),
    statuses=(JobStatus.SCHEDULED,),
    call=control.run_now,
    options={},
    log={"ready": gettext_lazy("Made ready to run now")},
    answers={
        "ready": ngettext_lazy(
            "%(n)s job is ready to run", "%(n)s jobs are ready to run", "n"
        ),
        "not waiting": ngettext_lazy(
            "%(n)s job is not waiting for its time and stays as it is",
            "%(n)s jobs are not waiting for their time and stay as they are",
            "n",
        ),
    },
)

VERBS: Final = {verb.name: verb for verb in (CANCEL, RETRY, RETRY_RESET, RUN_NOW)}


def is_allowed(verb: Verb, model_admin: "JobAdmin", request: HttpRequest) -> bool:
    """Whether the user may do this."""
    return bool(getattr(model_admin, f"has_{verb.permission}_permission")(request))


def carry_out(
    verb: Verb,
    model_admin: "JobAdmin",
    request: HttpRequest,
    jobs: Iterable[Job],
) -> None:
    """Do it to these jobs, log it, and tell the user what happened to each.

    The form's field `reason` may say why, if the verb takes a reason.

    Raises PermissionDenied, whatever page or program the request came from.
    """
    model_admin.require(is_allowed(verb, model_admin, request))
    known = {str(job.pk): job for job in jobs}
    reason = _reason(request) if verb.takes_reason else ""
    options = {"reason": reason} if verb.takes_reason else {}
    answers = _ask(verb, list(known), by=actor(request), options=options)
    for answer, words in verb.log.items():
        changed = [
            known[job_id] for job_id, given in answers.items() if given == answer
        ]
        text = f"{words}: {reason}" if reason else f"{words}."
        model_admin.record(request, changed, text)
    _tell(verb, model_admin, request, known, answers)
    if vanished := len(known) - len(answers):
        text = ngettext(
            "%(n)s job no longer exists.", "%(n)s jobs no longer exist.", vanished
        )
        model_admin.message_user(request, text % {"n": vanished}, messages.WARNING)


def _reason(request: HttpRequest) -> str:
    """Why the user does it, as far as the form says."""
    return storable_text(request.POST.get("reason", "").strip(), limit=REASON_LIMIT)


def _ask(
    verb: Verb, ids: Sequence[str], *, by: str, options: Mapping[str, object]
) -> dict[str, str]:
    """Call control; what was pruned meanwhile is missing from the answers."""
    given: dict[str, Any] = {"by": by, **verb.options, **options}
    try:
        return dict(verb.call(ids, **given))
    except JobDoesNotExist:
        left = [*rows(Job).filter(pk__in=ids).values_list("pk", flat=True)]
        return dict(verb.call(left, **given))


def _tell(
    verb: Verb,
    model_admin: "JobAdmin",
    request: HttpRequest,
    known: Mapping[str, Job],
    answers: Mapping[str, str],
) -> None:
    groups: dict[str, list[Job]] = defaultdict(list)
    for job_id, answer in answers.items():
        groups[answer].append(known[job_id])
    for answer, jobs in groups.items():
        level = messages.SUCCESS if answer in verb.log else messages.WARNING
        text = verb.answers[answer] % {"n": len(jobs)}
        model_admin.message_user(request, _with_names(model_admin, text, jobs), level)


def _with_names(model_admin: "JobAdmin", text: str, jobs: Sequence[Job]) -> str:
    links = format_html_join(
        ", ",
        '<a href="{}" title="{}">{} {}</a>',
        (
            (model_admin.url_of(job), job.pk, job.task, short_id(job.pk))
            for job in jobs[:NAMED]
        ),
    )
    rest = len(jobs) - NAMED
    if rest <= 0:
        return format_html("{}: {}.", text, links)
    more = gettext("and %(count)s more") % {"count": figure(rest)}
    return format_html("{}: {} {}.", text, links, more)
