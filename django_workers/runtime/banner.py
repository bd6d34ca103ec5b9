"""What a worker says of itself when it starts, or would say."""

from collections.abc import Iterable, Sequence

from ..brokers import Broker
from ..conf import RuntimeSettings
from .wakeup import can_hear

# A line of the banner: its name, and what it says.
Row = tuple[str, str]


def rows_of(
    broker: Broker,
    settings: RuntimeSettings,
    *,
    worker_id: str,
    excluded_queues: Sequence[str],
    children: int,
    tasks: int,
    schedules: int,
) -> list[Row]:
    """Say which queue a worker works on, as whom, and with what."""
    queues = ", ".join(settings.queues) or "all"
    if excluded_queues:
        queues += f" except {', '.join(excluded_queues)}"
    wakes = broker.wakes_by if can_hear(broker, settings.listener) else "polling"
    return [
        ("database", f"{broker.connection.vendor} ({broker.using}), woken by {wakes}"),
        ("worker", worker_id),
        ("queues", queues),
        ("children", f"{children}, {settings.slot_count} slots"),
        ("tasks", f"{tasks}"),
        ("schedules", f"{schedules}"),
    ]


def laid_out(rows: Iterable[Row]) -> str:
    """Put rows below each other, what they say in one column."""
    rows = list(rows)
    width = max(len(name) for name, _said in rows) + 2
    return "\n".join(f"  {name:<{width}}{said}" for name, said in rows)
