"""The dict `DJANGO_WORKERS` (E001, E013)."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.utils.module_loading import import_string

from ..conf import SETTING, problems, runtime_settings
from ..exceptions import ConfigurationError

TAG = "tasks"


@register(TAG)
def check_settings(
    app_configs: Sequence[Any] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Check `DJANGO_WORKERS` key by key."""
    values = getattr(settings, SETTING, {})
    try:
        found = problems(values)
    except TypeError as error:
        found = [(f"{SETTING} cannot be read: {error}.", "")]
    if found:
        return [
            Error(
                message,
                hint=hint or "Correct the value, or leave the key out for its default.",
                id="django_workers.E001",
            )
            for message, hint in found
        ]
    return list(_check_carriers())


def _check_carriers() -> Iterator[CheckMessage]:
    for path in runtime_settings().carriers:
        try:
            import_string(path)
        except ImportError as error:
            yield Error(
                f"{SETTING}['CARRIERS'] names {path!r}: {error}",
                hint=_carrier_hint(path),
                id="django_workers.E013",
            )


def _carrier_hint(path: str) -> str:
    near = get_close_matches(path, type(runtime_settings())().carriers, n=1)
    if near:
        return f"Did you mean {near[0]!r}?"
    return "Give the dotted path of a class with capture() and restore()."


def settings_are_sound() -> bool:
    """Whether the settings can be read; other checks need them."""
    try:
        runtime_settings()
    except (ConfigurationError, TypeError):
        return False
    return True
