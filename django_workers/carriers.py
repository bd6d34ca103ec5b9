"""What travels from the code that enqueues a job to the code that runs it.

A carrier captures one value where a job is enqueued and restores it around the run.
`DJANGO_WORKERS["CARRIERS"]` lists them; the values stand in the job's metadata.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta, tzinfo
from datetime import timezone as fixed
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

    def capture(self) -> str | float | None:
        """The current time zone, or None for `TIME_ZONE`.

        By its name in the time zone database; one that has no such name, like
        ``UTC+05:30``, as its present offset from UTC in seconds.
        """
        zone: tzinfo = timezone.get_current_timezone()
        name = "UTC" if zone is UTC else getattr(zone, "key", None)
        if not isinstance(name, str):
            offset = datetime.now(zone).utcoffset()
            return None if offset is None else offset.total_seconds()
        return None if name == settings.TIME_ZONE else name

    def restore(self, value: str | float) -> AbstractContextManager[Any]:
        """Activate the time zone during the run."""
        if isinstance(value, str):
            return timezone.override(value)
        return timezone.override(fixed(timedelta(seconds=value)))


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
    built: dict[str, Carrier] = {}
    for path in paths:
        carrier = carrier_from(path)
        if carrier.name in built:
            raise ConfigurationError(
                f"{SETTING}['CARRIERS'] names {path!r}, and another carrier is called "
                f"{carrier.name!r} too. Give one of them another name."
            )
        built[carrier.name] = carrier
    return tuple(built.values())


def carrier_from(path: str) -> Carrier:
    """A carrier of the class that a dotted path names.

    Raises ConfigurationError for what cannot be imported or is no carrier.
    """
    where = f"{SETTING}['CARRIERS'] names {path!r}"
    try:
        found: Any = import_string(path)
    except Exception as error:  # whatever a project's module may raise
        raise ConfigurationError(
            f"{where}, which cannot be imported: {error}"
        ) from error
    try:
        carrier: Carrier = found()
        is_one = isinstance(carrier.name, str) and all(
            callable(getattr(carrier, verb)) for verb in ("capture", "restore")
        )
    except Exception as error:
        raise ConfigurationError(f"{where}, which is no carrier: {error}") from error
    if not is_one:
        raise ConfigurationError(f"{where}, which is no carrier: its name is no text")
    return carrier


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
