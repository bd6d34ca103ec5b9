"""A back-off in words, for the page of a task."""

from django.utils.translation import gettext

from ..backoff import Backoff, Exponential, Linear
from ..templatetags.django_workers_admin import seconds


def backoff_in_words(backoff: object) -> str:
    """Say how long a task waits between attempts; of a project's own, the name."""
    if not isinstance(backoff, Backoff):
        return str(getattr(backoff, "__qualname__", None) or repr(backoff))
    parts = [_growth(backoff)]
    if backoff.cap is not None:
        parts.append(gettext("at most %(time)s") % {"time": seconds(backoff.cap)})
    if backoff.jitter == 1:
        parts.append(gettext("with jitter"))
    elif backoff.jitter:
        share = round(100 * backoff.jitter)
        parts.append(gettext("with %(share)s %% jitter") % {"share": share})
    return ", ".join(parts)


def _growth(backoff: Backoff) -> str:
    first = {"time": seconds(backoff.initial)}
    if isinstance(backoff, Linear):
        return gettext("linear from %(time)s") % first
    if isinstance(backoff, Exponential):
        text = gettext("exponential from %(time)s") % first
        if backoff.factor == 2:
            return text
        return f"{text}, " + gettext("times %(factor)s") % {
            "factor": f"{backoff.factor:g}"
        }
    return gettext("fixed at %(time)s") % first
