"""Tasks that do not go well, to see what becomes of them."""

from datetime import UTC, datetime
from typing import Any

from django_workers import exponential, task

from ..models import Zone


@task(name="trial:fail")
def visit_nowhere() -> str:
    """Fail, each time: this zone does not exist."""
    return Zone.objects.get(pk="Mars/Olympus_Mons").clock


@task(
    name="trial:retry",
    takes_context=True,
    max_attempts=5,
    backoff=exponential(initial=0.5, jitter=0.5),
    retry_on=ConnectionError,
)
def ask_time_server(context: Any, answers_at: int = 3) -> dict[str, Any]:
    """Ask a time server that answers the third time, unless told otherwise."""
    if context.attempt < answers_at:
        raise ConnectionError(f"no answer to call number {context.attempt}")
    return {"calls": context.attempt, "time": datetime.now(UTC).isoformat()}
