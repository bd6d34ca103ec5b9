"""A project's own carriers, and tasks that say what has reached them."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from asgiref.local import Local
from asgiref.sync import sync_to_async
from django.utils import timezone, translation

from django_workers.backoff import fixed
from django_workers.carriers import ContextVarCarrier
from django_workers.task import task
from tests.tasks import note

tenant: ContextVar[str | None] = ContextVar("tenant", default=None)
# As middlewares keep the current request.
request = Local()


class TenantCarrier(ContextVarCarrier):
    """Carries a context variable."""

    name = "tenant"
    variable = tenant


class RequestCarrier:
    """Carries something that is kept otherwise."""

    name = "request"

    def capture(self) -> str | None:
        """Return the id of the current request."""
        return getattr(request, "id", None)

    @contextmanager
    def restore(self, value: str) -> Iterator[None]:
        """Put it where this project looks for it."""
        request.id = value
        try:
            yield
        finally:
            del request.id


class FormerCarrier:
    """Carries what the worker has no carrier for."""

    name = "former"

    def capture(self) -> dict[str, Any]:
        """Return something."""
        return {"not": ["read", "any", "more"]}

    def restore(self, value: Any) -> Any:
        """Fail; nobody calls it."""
        raise NotImplementedError


class BrokenCarrier:
    """Carries what cannot be restored."""

    name = "broken"

    def capture(self) -> bool | None:
        """Break the jobs of one tenant."""
        return True if tenant.get() == "broken" else None

    def restore(self, value: bool) -> Any:
        """Fail."""
        raise LookupError("cannot be restored")


LISTED = (
    "django_workers.carriers.LanguageCarrier",
    "django_workers.carriers.TimeZoneCarrier",
    "tests.e2e.carried.TenantCarrier",
    "tests.e2e.carried.RequestCarrier",
    "tests.e2e.carried.BrokenCarrier",
)
PLAIN = ["en", "UTC", None, None]


def all_seen() -> list[str | None]:
    """Return what is active here: language, zone, tenant, request."""
    return [
        translation.get_language(),
        timezone.get_current_timezone_name(),
        tenant.get(),
        getattr(request, "id", None),
    ]


@task
def look() -> list[str | None]:
    """Return what has reached the body."""
    return all_seen()


@task
async def look_async() -> list[str | None]:
    """Return what has reached the body, on the event loop."""
    return all_seen()


@task
async def look_twice_async(seconds: float) -> list[Any]:
    """Return what is there before and after others had their turn, and in a thread."""
    before = all_seen()
    await asyncio.sleep(seconds)
    return [before, all_seen(), await sync_to_async(all_seen)()]


@task
def enqueue_look() -> str:
    """Enqueue a job; return its id."""
    return look.enqueue().id


@task
async def enqueue_look_async() -> str:
    """Enqueue a job from the event loop; return its id."""
    return (await look.aenqueue()).id


@task(max_attempts=2, backoff=fixed(0.05))
def look_and_fail(path: str) -> None:
    """Note what has reached the body; fail."""
    note(path, repr(all_seen()))
    raise ValueError


@task
def change_everything() -> None:
    """Leave as much behind as a body can."""
    _change()


@task
async def change_everything_async() -> None:
    """Leave as much behind as a coroutine can."""
    _change()
    await sync_to_async(_change)()


def _change() -> None:
    translation.activate("fr")
    timezone.activate("Asia/Tokyo")
    tenant.set("left behind")
