"""What every backend of ours refuses and allows beyond Django's own rules."""

from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from django.core import checks
from django.utils import timezone

from ..compat import BaseTaskBackend, InvalidTask
from ..conf import Options, build_options, queues_mistake
from ..exceptions import ConfigurationError
from ..task import Deadline

if TYPE_CHECKING:
    from ..brokers import Moment

LATEST_MOMENT: Final = datetime(9000, 1, 1, tzinfo=UTC)


class PolicyRules(BaseTaskBackend):
    """What every backend of ours refuses and allows beyond Django's own rules."""

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        queues = params.get("QUEUES", ())
        # Kept for check() to say: raising here would stop `manage.py check` itself.
        self.queues_mistake = queues_mistake(alias, queues)
        if self.queues_mistake:
            params = {**params, "QUEUES": []}
        super().__init__(alias, params)

    @cached_property
    def settings(self) -> Options:
        """This backend's options with their defaults.

        Raises ConfigurationError for one that does not exist or cannot work.
        """
        if self.queues_mistake:
            raise ConfigurationError(
                f"{self.queues_mistake.message} {self.queues_mistake.hint}"
            )
        return build_options(self.alias, self.options)

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        """What `manage.py check` says of this backend's settings."""
        from ..checks import check_queues

        return [*super().check(**kwargs), *check_queues(self.queues_mistake)]

    def validate_task(self, task: Any) -> None:
        """Refuse a task this backend cannot run; see Django's own rules.

        Raises InvalidTask. Beyond Django's: `run_after` may be a timedelta, and it and
        the deadlines lie before the year 9000.
        """
        run_after = task.run_after
        if isinstance(run_after, timedelta):
            run_after = None
        elif isinstance(run_after, datetime) and not timezone.is_aware(run_after):
            raise InvalidTask("run_after must be an aware datetime.")
        self._check_queue(task.queue_name)
        stripped: Any = (
            task
            if run_after is task.run_after
            else SimpleNamespace(
                func=task.func,
                takes_context=task.takes_context,
                priority=task.priority,
                queue_name=task.queue_name,
                run_after=None,
            )
        )
        super().validate_task(stripped)
        for name in ("run_after", "expires", "retry_until"):
            moment_of(name, getattr(task, name, None))  # Django's own has one of them

    def _check_queue(self, name: str) -> None:
        """Refuse a queue that is not among this backend's, in more words than Django.

        The first sentence is Django's own.
        """
        if not self.queues or name in self.queues:
            return
        near = get_close_matches(str(name), self.queues, n=1)
        known = ", ".join(map(repr, sorted(self.queues)))
        raise InvalidTask(
            f"Queue '{name}' is not valid for backend. "
            + (f"Did you mean {near[0]!r}? " if near else "")
            + f"Its queues are {known}; for another one add it to "
            f"TASKS[{self.alias!r}]['QUEUES'], or set that to [] to accept any name."
        )


def moment_of(name: str, value: Deadline | None) -> "Moment | None":
    """A due time or a deadline as the broker takes it.

    A delay, in seconds or as a timedelta, stays one: it counts by the database's clock,
    from the moment that stores the job. Raises InvalidTask, with the argument's *name*,
    for a moment that no database holds.
    """
    if value is None:
        return None
    if isinstance(value, (int, float)):
        value = timedelta(seconds=value)
    try:
        # By this host's clock, which is good enough for a limit that far away.
        estimate = timezone.now() + value if isinstance(value, timedelta) else value
        if estimate >= LATEST_MOMENT:
            raise OverflowError
    except OverflowError:
        raise InvalidTask(f"{name} must lie before the year 9000.") from None
    return value.total_seconds() if isinstance(value, timedelta) else value
