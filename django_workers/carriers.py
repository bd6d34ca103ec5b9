"""What travels from the code that enqueues a job to the code that runs it.

A carrier captures one value where a job is enqueued and restores it around the run.
`DJANGO_WORKERS["CARRIERS"]` lists them; the values stand in the job's metadata.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Final, Protocol

from django.conf import settings
from django.core.signals import setting_changed
from django.utils import timezone, translation
from django.utils.module_loading import import_string

from .conf import SETTING, runtime_settings
from .exceptions import ConfigurationError

METADATA_KEY: Final = "context"


class Carrier(Protocol):
    """One value of context. `name` is its key in the job's metadata."""

    name: str

    def capture(self) -> Any:
        """The value to carry, as JSON holds it; None carries nothing."""

    def restore(self, value: Any) -> AbstractContextManager[Any]:
        """A context manager under which the job sees the value."""


class LanguageCarrier:
    """The active language, where it is not the site's own."""

    name = "language"

    def capture(self) -> str | None:
        """The active language code, or None for `LANGUAGE_CODE`."""
        language = translation.get_language()
        return None if language == settings.LANGUAGE_CODE else language

    def restore(self, value: str) -> AbstractContextManager[Any]:
        """Activate the language during the run."""
        return translation.override(value)


class TimeZoneCarrier:
    """The current time zone, where it is not the site's own."""

    name = "timezone"

    def capture(self) -> str | None:
        """The name of the current time zone, or None for `TIME_ZONE`."""
        name = timezone.get_current_timezone_name()
        return None if name == settings.TIME_ZONE else name

    def restore(self, value: str) -> AbstractContextManager[Any]:
        """Activate the time zone during the run."""
        return timezone.override(value)


class ContextVarCarrier:
    """A context variable: a tenant, a user's id, a request id.

    Subclass it with `name` and `variable`, and list the subclass in `CARRIERS`.
    """

    name: str
    variable: ContextVar[Any]

    def capture(self) -> Any:
        """The variable's value; None, or no value, carries nothing."""
        return self.variable.get(None)

    @contextmanager
    def restore(self, value: Any) -> Iterator[None]:
        """Set the variable during the run."""
        token = self.variable.set(value)
        try:
            yield
        finally:
            self.variable.reset(token)


def carriers() -> Sequence[Carrier]:
    """The carriers of this project; raises ConfigurationError for a wrong path."""
    return _build(runtime_settings().carriers)


@lru_cache(maxsize=8)
def _build(paths: tuple[str, ...]) -> tuple[Carrier, ...]:
    built: list[Carrier] = []
    for path in paths:
        try:
            built.append(import_string(path)())
        except ImportError as error:
            raise ConfigurationError(
                f"{SETTING}['CARRIERS'] names {path!r}, which cannot be "
                f"imported: {error}"
            ) from error
    return tuple(built)


def capture() -> dict[str, Any]:
    """The values to store with a job being enqueued here; usually none."""
    found: dict[str, Any] = {}
    for carrier in carriers():
        value = carrier.capture()
        if value is not None:
            found[carrier.name] = value
    return found


@contextmanager
def restored(values: Mapping[str, Any]) -> Iterator[None]:
    """Run the block under the values captured with a job.

    A value whose carrier is no longer listed is left out.
    """
    with ExitStack() as stack:
        for carrier in carriers():
            if carrier.name in values:
                stack.enter_context(carrier.restore(values[carrier.name]))
        yield


def _forget(*, setting: str, **kwargs: object) -> None:
    if setting == SETTING:
        _build.cache_clear()


setting_changed.connect(_forget, dispatch_uid="django_workers.carriers")
