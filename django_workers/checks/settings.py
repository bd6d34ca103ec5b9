"""The dict `DJANGO_WORKERS` (E001, E013, W006)."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from ..carriers import carrier_from, carriers
from ..compat import InvalidTaskBackend
from ..conf import SETTING, problems, runtime_settings, unknown_queues
from ..databases import own_backends
from ..exceptions import ConfigurationError

TAG = "tasks"


@register(TAG)
def check_settings(
    app_configs: Sequence[Any] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Check `DJANGO_WORKERS` key by key."""
    found = problems(getattr(settings, SETTING, {}))
    if found:
        return [
            Error(message, hint=hint, id="django_workers.E001")
            for message, hint in found
        ]
    return [*_check_carriers(), *_check_queues()]


def _check_carriers() -> Iterator[CheckMessage]:
    paths = runtime_settings().carriers
    found = []
    for path in paths:
        try:
            carrier_from(path)
        except ConfigurationError as error:
            found.append(
                Error(str(error), hint=_carrier_hint(path), id="django_workers.E013")
            )
    if found:
        yield from found
        return
    try:
        carriers()
    except ConfigurationError as error:
        yield Error(
            str(error),
            hint="The name is the key of its value in a job's metadata.",
            id="django_workers.E013",
        )


def _carrier_hint(path: str) -> str:
    near = get_close_matches(path, type(runtime_settings())().carriers, n=1)
    if near:
        return f"Did you mean {near[0]!r}?"
    return (
        "Give the dotted path of a class with a name, capture() and restore(), which "
        "needs no arguments."
    )


def _check_queues() -> Iterator[CheckMessage]:
    try:
        backends = [backend.alias for backend in own_backends()]
    except InvalidTaskBackend:
        return  # said by Django's own check
    queues = runtime_settings().queues if backends else ()
    for queue in unknown_queues(queues, backends=backends):
        yield Warning(
            f"{SETTING}['QUEUES'] names {queue!r}, which is not among the QUEUES of a "
            "backend in TASKS.",
            hint="No job gets there. Correct the name, or add it to the backend's.",
            id="django_workers.W006",
        )


def settings_are_sound() -> bool:
    """Whether the settings can be read; other checks need them."""
    try:
        runtime_settings()
    except ConfigurationError:
        return False
    return True
