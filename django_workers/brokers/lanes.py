"""Every lane that has ready jobs, found by hopping over an index.

One statement hops from queue to queue and, within each, from priority to priority: it
reads an entry or two per lane, however many jobs wait there. Its words are those that
all databases share; each step orders by one column only, since the index has
priorities the other way round on MySQL and MariaDB.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from .records import Lane

# MySQL and MariaDB end a recursion after 1,000 rounds, the one with an error, the other
# without a word. So a statement hops less far, and another one goes on from there.
HOPS: Final = 500
# Each start adds to the text of the statement.
STARTS_PER_STATEMENT: Final = 100

_LANES: Final = """
WITH RECURSIVE line (task, queue, hop) AS (
    {starts}
    UNION ALL
    SELECT line.task, (
        SELECT queue FROM django_workers_job
        WHERE status = 'ready' {of_line} AND queue > line.queue
        ORDER BY queue LIMIT 1
    ), line.hop + 1
    FROM line WHERE line.queue IS NOT NULL AND line.hop < {hops}
), lane (task, queue, hop, priority) AS (
    SELECT line.task, line.queue, line.hop, (
        SELECT priority FROM django_workers_job
        WHERE status = 'ready' {of_line} AND queue = line.queue
        ORDER BY priority DESC LIMIT 1
    )
    FROM line WHERE line.queue IS NOT NULL
    UNION ALL
    SELECT lane.task, lane.queue, lane.hop, (
        SELECT priority FROM django_workers_job
        WHERE status = 'ready' {of_lane} AND queue = lane.queue
            AND priority < lane.priority
        ORDER BY priority DESC LIMIT 1
    )
    FROM lane WHERE lane.priority IS NOT NULL
)
SELECT queue, priority, task, hop FROM lane WHERE priority IS NOT NULL
"""
# Read from the table, so that the names have the type and collation of its columns.
_START: Final = """
    SELECT * FROM (
        SELECT {task} AS task, queue, 1 AS hop FROM django_workers_job
        WHERE status = 'ready' {conditions}
        ORDER BY queue LIMIT 1
    ) AS start_{number}
"""


class _Start(NamedTuple):
    """Where to begin: with a task's jobs, or everybody's, and after a queue."""

    task: str | None
    after: str | None = None


def find_lanes(
    connection: BaseDatabaseWrapper, tasks: Sequence[str] | None
) -> list[Lane]:
    """Find every lane with ready jobs; given `tasks`, every lane of each of these."""
    found: list[Lane] = []
    starts = [_Start(task) for task in ([None] if tasks is None else tasks)]
    while starts:
        some, starts = starts[:STARTS_PER_STATEMENT], starts[STARTS_PER_STATEMENT:]
        with connection.cursor() as cursor:
            cursor.execute(*_statement(some))
            rows = cursor.fetchall()
        found += [Lane(queue, priority, task) for queue, priority, task, _ in rows]
        ends = {(task, queue) for queue, _, task, hop in rows if hop == HOPS}
        starts += [_Start(task or None, queue) for task, queue in sorted(ends)]
    return found


def _statement(starts: Sequence[_Start]) -> tuple[str, list[Any]]:
    """Write one statement with its parameters; all starts have a task, or none."""
    by_task = starts[0].task is not None
    params: list[Any] = []
    texts = []
    for number, start in enumerate(starts):
        conditions = ""
        if by_task:
            conditions += "AND task = %s "
            params.append(start.task)
        if start.after is not None:
            conditions += "AND queue > %s"
            params.append(start.after)
        task = "task" if by_task else "''"
        texts.append(_START.format(task=task, conditions=conditions, number=number))
    sql = _LANES.format(
        starts="UNION ALL".join(texts),
        of_line="AND task = line.task" if by_task else "",
        of_lane="AND task = lane.task" if by_task else "",
        hops=HOPS,
    )
    return sql, params
