"""The per-minute figures, added up by the batch that ends the jobs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from ..dialect import dialect_of
from ..models import Rollup
from .endings import Ending


class RollupKey(NamedTuple):
    """Which row of the per-minute figures something belongs to."""

    worker: str
    queue: str
    task: str
    outcome: str


@dataclass(slots=True)
class RollupSum:
    """What is added to such a row; durations in seconds."""

    count: int = 0
    run_seconds: float = 0.0
    run_max: float = 0.0
    wait_seconds: float = 0.0
    wait_max: float = 0.0


def add_to_rollups(connection: BaseDatabaseWrapper, endings: Sequence[Ending]) -> None:
    """Add a batch of one worker to its figures of this minute."""
    sums = add_up(endings[0].worker, endings) if endings else {}
    if not sums:
        return
    dialect = dialect_of(connection)
    key = "minute, worker, queue, task, outcome"
    table = Rollup._meta.db_table
    added = ", ".join(
        [
            dialect.add.format(column=column, table=table)
            for column in ("count", "run_seconds", "wait_seconds")
        ]
        + [
            dialect.keep_greater.format(column=column, table=table)
            for column in ("run_max", "wait_max")
        ]
    )
    params: list[Any] = []
    for rollup_key, row in sorted(sums.items()):
        params += (
            *rollup_key,
            row.count,
            row.run_seconds,
            row.run_max,
            row.wait_seconds,
            row.wait_max,
        )
    value = f"({dialect.minute}, {', '.join(['%s'] * 9)})"
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({key}, count, run_seconds, run_max, "
            f"wait_seconds, wait_max) VALUES {', '.join([value] * len(sums))} "
            f"{dialect.on_conflict.format(key=key)} {added}",
            params,
        )


def add_up(worker: str, endings: Iterable[Ending]) -> dict[RollupKey, RollupSum]:
    """Add the endings of one batch up to rollup rows; releases count for nothing."""
    sums: dict[RollupKey, RollupSum] = {}
    for ending in endings:
        if not ending.outcome:
            continue
        key = RollupKey(worker, ending.queue, ending.task, ending.outcome)
        row = sums.get(key)
        if row is None:
            row = sums[key] = RollupSum()
        run = ending.duration or 0.0
        row.count += 1
        row.run_seconds += run
        row.wait_seconds += ending.wait
        if run > row.run_max:
            row.run_max = run
        if ending.wait > row.wait_max:
            row.wait_max = ending.wait
    return sums
