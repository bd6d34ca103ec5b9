"""How values look on our pages: one small piece of HTML or text each.

Kept apart from `django_workers.admin` so that a project without the admin can load its
template libraries.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from django import template
from django.template.context import Context
from django.utils import formats, timezone
from django.utils.functional import Promise
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext, gettext_lazy, ngettext, pgettext

from ..conf import level_of
from ..exceptions import InvalidSchedule
from ..models.status import AttemptOutcome, JobStatus, SessionState

register = template.Library()

NOTHING: Final = SafeString("\N{EN DASH}")
HIDDEN: Final = "•••"
PAYLOAD_LIMIT: Final = 20_000
# What must not be read over somebody's shoulder, by the name it is kept under.
PRIVATE_KEY: Final = re.compile(
    r"pass|secret|token|key|auth|cookie|session|card|ssn", re.IGNORECASE
)

# The tone of each word: colour comes from it, the word itself always stands beside.
_TONES: Final[dict[str, str]] = {
    JobStatus.SCHEDULED: "wait",
    JobStatus.BLOCKED: "warn",
    JobStatus.READY: "wait",
    JobStatus.RUNNING: "busy",
    JobStatus.SUCCESSFUL: "good",
    JobStatus.FAILED: "bad",
    JobStatus.CANCELLED: "calm",
    AttemptOutcome.TIMED_OUT: "bad",
    AttemptOutcome.CRASHED: "bad",
    AttemptOutcome.LOST: "bad",
    AttemptOutcome.INTERRUPTED: "warn",
    AttemptOutcome.SNOOZED: "wait",
    AttemptOutcome.EXPIRED: "calm",
    SessionState.INITIALIZED: "wait",
    SessionState.STARTING: "wait",
    SessionState.PAUSING: "warn",
    SessionState.PAUSED: "warn",
    SessionState.RESUMING: "wait",
    SessionState.STOPPING: "warn",
    SessionState.STOPPED: "calm",
}
_WORDS: Final = {
    **dict(SessionState.choices),
    **dict(AttemptOutcome.choices),
    **dict(JobStatus.choices),
    "stale": gettext_lazy("stale"),
    "enabled": gettext_lazy("enabled"),
    "disabled": gettext_lazy("disabled"),
    "open": gettext_lazy("open"),
    "declared": gettext_lazy("in code"),
}
_LEVELS: Final = {
    "critical": gettext_lazy("critical"),
    "high": gettext_lazy("high"),
    "normal": gettext_lazy("normal"),
    "low": gettext_lazy("low"),
}


@register.filter
def pill(word: str) -> SafeString:
    """Show a status, an outcome or a state as a coloured word."""
    return format_html(
        '<span class="dw-pill dw-{}">{}</span>', tone(word), _WORDS.get(word, word)
    )


@register.filter
def tone(word: str) -> str:
    """Name the colour of a status, or of a figure that adds statuses up."""
    return {
        "pending": "wait",
        "waiting": "wait",
        "completed": "good",
        "total": "none",
        "all": "none",
        "stale": "bad",
        "enabled": "good",
        "open": "good",
    }.get(word) or _TONES.get(word, "calm")


@register.filter
def status_of(job: Any) -> SafeString:
    """Show a job's status, and that a running one was asked to stop."""
    if job.status == JobStatus.RUNNING and job.cancel_requested_at:
        return format_html("{} {}", pill(job.status), pill("stopping"))
    return pill(job.status)


@register.filter
def level(priority: int | None) -> str:
    """Show a priority with the name of its level: ``25 high``."""
    if priority is None:
        return NOTHING
    return f"{priority} {_LEVELS[level_of(priority)]}"


@register.filter
def seconds(value: float | None) -> str:
    """Show a duration in seconds with two units at most: ``850 ms``, ``3 min 5 s``."""
    if value is None:
        return NOTHING
    value = max(0.0, float(value))
    if value < 0.001:
        return gettext("< 1 ms")
    if value < 1:
        return gettext("%(number)s ms") % {"number": round(value * 1_000)}
    if value < 59.5:
        # Rounded here: number_format() cuts off.
        value = round(value, 1) if value < 9.95 else float(round(value))
        number = formats.number_format(value, 0 if value.is_integer() else 1)
        return gettext("%(number)s s") % {"number": number}
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return _two(gettext("%(number)s d"), days, gettext("%(number)s h"), hours)
    if hours:
        return _two(gettext("%(number)s h"), hours, gettext("%(number)s min"), minutes)
    return _two(gettext("%(number)s min"), minutes, gettext("%(number)s s"), rest)


def _two(large: str, count: int, small: str, rest: int) -> str:
    text = large % {"number": count}
    return f"{text} {small % {'number': rest}}" if rest else text


@register.filter
def moment(value: datetime | None) -> SafeString:
    """Show an instant on the viewer's clock, exact to the second."""
    if value is None:
        return NOTHING
    return format_html(
        '<time datetime="{}">{}</time>',
        value.isoformat(timespec="milliseconds"),
        clocked(timezone.localtime(value) if timezone.is_aware(value) else value),
    )


@register.filter
def ago(value: datetime | None) -> SafeString:
    """Show how far an instant lies from now, with the instant itself as a tooltip."""
    if value is None:
        return NOTHING
    distance = (_now_beside(value) - value).total_seconds()
    if abs(distance) < 1:
        text = gettext("now")
    elif distance > 0:
        text = gettext("%(time)s ago") % {"time": _rough(distance)}
    else:
        text = pgettext("from now", "in %(time)s") % {"time": _rough(-distance)}
    local = timezone.localtime(value) if timezone.is_aware(value) else value
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        value.isoformat(timespec="milliseconds"),
        f"{clocked(local)} {local:%Z}".strip(),
        text,
    )


def _now_beside(value: datetime) -> datetime:
    """This moment, aware or naive as *value* is."""
    now = timezone.now()
    if timezone.is_aware(value) == timezone.is_aware(now):
        return now
    return timezone.make_naive(now) if timezone.is_aware(now) else datetime.now(UTC)


def _rough(value: float) -> str:
    """A duration by its largest unit only."""
    for size, unit in (
        (86_400, gettext("%(number)s d")),
        (3_600, gettext("%(number)s h")),
        (60, gettext("%(number)s min")),
    ):
        if value >= size:
            return unit % {"number": int(value // size)}
    return gettext("%(number)s s") % {"number": int(value)}


@register.filter
def clock(value: datetime) -> str:
    """Show the minute of an instant on the viewer's clock."""
    return f"{timezone.localtime(value) if timezone.is_aware(value) else value:%H:%M}"


@register.filter
def clocked(value: datetime) -> str:
    """Show an instant on the clock it carries, as that of a schedule's zone.

    The one way in which our pages write instants; the zone stands once on each.
    """
    return f"{formats.date_format(value, 'D j M Y')} {value:%H:%M:%S}"


@register.filter
def words(schedule: Any) -> str:
    """Say in English when a schedule fires, or why it cannot."""
    try:
        return str(schedule.timing.describe())
    except InvalidSchedule as error:
        return str(error)


@register.filter
def quoted(name: str) -> str:
    """Write a name as the admin writes keys into its addresses."""
    from django.contrib.admin.utils import quote

    return str(quote(name))


@register.simple_tag
def labelled(label: str | Promise, value: Any) -> SafeString:
    """Show a value with its column's name, which only a narrow screen shows."""
    return format_html('<span class="dw-label">{}</span> {}', label, value)


@register.filter
def figure(value: int | None, cap: int | None = None) -> str:
    """Show a count with separators; one above its cap as ``100,000+``."""
    if value is None:
        return NOTHING
    if cap and value > cap:
        return f"{formats.number_format(cap, 0, force_grouping=True)}+"
    return formats.number_format(value, 0, force_grouping=True)


@register.filter
def short_id(value: UUID | str) -> str:
    """Show both ends of an id: jobs of one minute begin alike and end differently."""
    text = str(value)
    return f"{text[:8]}…{text[-6:]}"


@register.filter
def breakable(name: str) -> SafeString:
    """Let a dotted name wrap after its dots and colons."""
    return mark_safe(  # noqa: S308 - escaped right here
        re.sub(r"([.:])", r"\1<wbr>", str(conditional_escape(name)))
    )


@register.filter
def payload(value: Any) -> str:
    """Show JSON indented, with private values hidden and a bounded length."""
    text = json.dumps(masked(value), indent=2, ensure_ascii=False, default=str)
    if len(text) <= PAYLOAD_LIMIT:
        return text
    rest = len(text) - PAYLOAD_LIMIT
    more = ngettext(
        "… and %(count)s more character", "… and %(count)s more characters", rest
    ) % {"count": figure(rest)}
    return f"{text[:PAYLOAD_LIMIT]}\n{more}"


def masked(value: Any, name: str = "") -> Any:
    """Return *value* with everything hidden that is kept under a private name."""
    if name and PRIVATE_KEY.search(name) and value not in (None, "", [], {}):
        return HIDDEN
    if isinstance(value, Mapping):
        return {key: masked(item, str(key)) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [masked(item) for item in value]
    return value


@register.simple_tag
def dw_zone() -> str:
    """Name the time zone of the viewer's clock."""
    return timezone.get_current_timezone_name()


@register.simple_tag(takes_context=True)
def dw_nonce(context: Context) -> str:
    """Write the nonce of the page's content security policy, where it has one."""
    nonce = context.get("csp_nonce")
    # Asking whether it is true would not make one: it is lazy.
    return format_html(' nonce="{}"', nonce) if nonce is not None else ""
