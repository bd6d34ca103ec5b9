"""How the site writes offsets, spans of time and jobs."""

import json
from datetime import datetime, timedelta
from typing import Any

from django import template
from django.template import Template
from django.utils import timezone

register = template.Library()

MINUS = "\N{MINUS SIGN}"
UNKNOWN = "\N{EN DASH}"


@register.filter
def offset(moment: datetime) -> str:
    """Write how far a clock is ahead of UTC, like UTC+5:45."""
    return f"UTC{signed(moment.utcoffset() or timedelta())}"


@register.filter
def signed(span: timedelta) -> str:
    """Write hours and minutes with their sign, like +1 or -0:30."""
    minutes = round(span.total_seconds() / 60)
    hours, rest = divmod(abs(minutes), 60)
    sign = MINUS if minutes < 0 else "+" if minutes else "±"
    return f"{sign}{hours}:{rest:02}" if rest else f"{sign}{hours}"


@register.filter
def span(value: timedelta | float | None) -> str:
    """Write seconds, or the time between two moments, as people say it."""
    if value is None:
        return UNKNOWN
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if seconds < 1:
        return f"{max(0, seconds) * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s"


@register.filter
def since(end: datetime | None, start: datetime | None) -> timedelta | None:
    """The time from *start* to *end*; None unless both are known."""
    return end - start if start and end else None


@register.filter
def ago(moment: datetime) -> str:
    """Write how long ago a moment was, or in how long it will be."""
    seconds = (timezone.now() - moment).total_seconds()
    if -1 < seconds < 1:
        return "now"
    text = _rough(abs(seconds))
    return f"{text} ago" if seconds > 0 else f"in {text}"


def _rough(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{round(seconds / size)} {unit}"
    return f"{round(seconds)} s"


@register.filter
def as_json(value: Any) -> str:
    """Write a value as it is stored, one entry to a line."""
    return json.dumps(value, indent=2, ensure_ascii=False)


@register.simple_tag(takes_context=True)
def shown_by(context: template.Context, chosen: Template) -> str:
    """Render another template with what this one has."""
    return chosen.render(context.flatten())  # type: ignore[arg-type]
