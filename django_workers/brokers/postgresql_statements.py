"""PostgreSQL in SQL: one-statement claims and batched, fenced completions.

Every hot statement here has a test that EXPLAINs it. These rules keep their plans
right, each measured:

- The completion must be driven by the primary key. So it does not mention `status` and
  writes its holder as ``IS NOT DISTINCT FROM``, which no index serves; and its arrays
  come through scalar subqueries, which hide their length: a planner that sees 500 ids
  and a table of 30,000 rows reads the whole table for each batch (1,100 jobs a second
  instead of 12,000).
- The claim picks and locks its rows in an ``ARRAY(SELECT ...)``, which runs once and
  before the UPDATE that uses it: an UPDATE by ``IN (SELECT ... FOR UPDATE SKIP
  LOCKED)`` may run the subquery again and claim more than it should. And ``id = ANY
  (ARRAY(...))`` leaves the planner no join to choose. (Measured: through a MATERIALIZED
  CTE the same takes 0.2 ms longer to plan.)
- What comes out of an index in order must not be sorted: a planner that thinks a lane
  shorter than the limit reads the whole of it, and lanes are as long as their mean
  only in its figures. So limits hide in scalar subqueries, too. (Measured, 300 lanes,
  one of them with half a million jobs: 223 ms for a claim of 500 instead of 9.)
"""

from typing import Final

from ..dialect import POSITION_SEQUENCE, POSTGRESQL_POSITION

_RETURNED: Final = """
    job.id::text, job.epoch, job.task, job.queue, job.priority, job.position,
    job.args::text, job.kwargs::text, job.attempts, job.crashes, job.interruptions,
    job.max_attempts, job.timeout, job.on_crash, job.backend,
    EXTRACT(EPOCH FROM job.enqueued_at)::float8,
    EXTRACT(EPOCH FROM job.run_after)::float8,
    EXTRACT(EPOCH FROM job.started_at)::float8,
    EXTRACT(EPOCH FROM job.last_attempted_at)::float8,
    EXTRACT(EPOCH FROM job.retry_until)::float8,
    COALESCE(job.expires_at <= job.last_attempted_at, false),
    job.tags::text, job.metadata::text"""

# The lanes come in their order; LATERAL walks them one by one and stops at the limit.
# The snapshot is returned even when nothing was claimed: the floors live on it.
CLAIM: Final = (
    """
WITH claimed AS (
    UPDATE django_workers_job AS job
    SET status = 'running', session = %(session)s, worker = %(worker)s,
        epoch = job.epoch + 1, reason = '',
        started_at = COALESCE(job.started_at, STATEMENT_TIMESTAMP()),
        last_attempted_at = STATEMENT_TIMESTAMP()
    WHERE job.id = ANY (ARRAY(
        SELECT found.id
        FROM unnest(
            %(queues)s::varchar[], %(priorities)s::smallint[], %(floors)s::bigint[]
        ) AS lane (queue, priority, floor),
        LATERAL (
            SELECT id FROM django_workers_job
            WHERE status = 'ready' AND queue = lane.queue AND priority = lane.priority
                AND position >= lane.floor
            ORDER BY position
            LIMIT (SELECT %(limit)s)
            FOR UPDATE SKIP LOCKED
        ) AS found
        LIMIT %(limit)s
    ))
    RETURNING """
    + _RETURNED
    + """
)
SELECT seen.snapshot, claimed.*
FROM (SELECT pg_current_snapshot()::text AS snapshot) AS seen
LEFT JOIN claimed ON true
"""
)

# The same over the index that leads with the task, for workers with a task filter. To
# order by the task, too, makes the other index useless; and the planner does not see
# that the task is always the same one as long as it stands in an array. (Measured with
# figures from a time when there was one task: 96 ms a claim instead of 1.)
CLAIM_BY_TASK: Final = (
    CLAIM.replace(
        """%(queues)s::varchar[],""", """%(tasks)s::varchar[], %(queues)s::varchar[],"""
    )
    .replace("lane (queue, priority, floor)", "lane (task, queue, priority, floor)")
    .replace(
        "WHERE status = 'ready' AND queue = lane.queue",
        "WHERE status = 'ready' AND task = ANY (ARRAY[lane.task]) "
        "AND queue = lane.queue",
    )
    .replace("ORDER BY position", "ORDER BY task, position")
)


def relaxed(claim: str) -> str:
    """Write a claim whose commit does not wait for the disk.

    It says so itself, for its own transaction only: no round trip, and right behind a
    pooler, too. (Volatile, so it is evaluated although nobody reads it.)
    """
    setting = "set_config('synchronous_commit', 'off', true) AS relaxed"
    return claim.replace("SELECT pg_current", f"SELECT {setting}, pg_current")


# A loose index scan: hop from lane to lane instead of reading every ready job.
LANES: Final = """
WITH RECURSIVE lane AS (
    (SELECT queue, priority FROM django_workers_job WHERE status = 'ready'
     ORDER BY queue, priority DESC LIMIT 1)
    UNION ALL
    SELECT next.queue, next.priority FROM lane, LATERAL (
        (SELECT queue, priority FROM django_workers_job
         WHERE status = 'ready' AND queue = lane.queue AND priority < lane.priority
         ORDER BY queue, priority DESC LIMIT 1)
        UNION ALL
        (SELECT queue, priority FROM django_workers_job
         WHERE status = 'ready' AND queue > lane.queue
         ORDER BY queue, priority DESC LIMIT 1)
        LIMIT 1
    ) AS next
)
SELECT queue, priority, '' FROM lane
"""

LANES_BY_TASK: Final = """
WITH RECURSIVE lane AS (
    SELECT first.queue, first.priority, wanted.task
    FROM unnest(%(tasks)s::varchar[]) AS wanted (task), LATERAL (
        SELECT queue, priority FROM django_workers_job
        WHERE status = 'ready' AND task = ANY (ARRAY[wanted.task])
        ORDER BY task, queue, priority DESC LIMIT 1
    ) AS first
    UNION ALL
    SELECT next.queue, next.priority, lane.task FROM lane, LATERAL (
        (SELECT queue, priority FROM django_workers_job
         WHERE status = 'ready' AND task = ANY (ARRAY[lane.task])
            AND queue = lane.queue AND priority < lane.priority
         ORDER BY task, queue, priority DESC LIMIT 1)
        UNION ALL
        (SELECT queue, priority FROM django_workers_job
         WHERE status = 'ready' AND task = ANY (ARRAY[lane.task])
            AND queue > lane.queue
         ORDER BY task, queue, priority DESC LIMIT 1)
        LIMIT 1
    ) AS next
)
SELECT queue, priority, task FROM lane
"""

_TOKEN: Final = """
WHERE job.id = ending.id AND job.epoch = ending.epoch
    AND job.session IS NOT DISTINCT FROM %(session)s::uuid
"""

# The common batch: every job of it returned a value.
SUCCEED: Final = (
    """
UPDATE django_workers_job AS job
SET status = 'successful', session = NULL, attempts = job.attempts + 1,
    finished_at = STATEMENT_TIMESTAMP(), duration = ending.duration,
    result = ending.result
FROM unnest(
    (SELECT %(ids)s::uuid[]), (SELECT %(epochs)s::int[]),
    (SELECT %(durations)s::float8[]), (SELECT %(results)s::text[]::jsonb[])
) AS ending (id, epoch, duration, result)
"""
    + _TOKEN
    + "RETURNING job.id::text, job.status"
)

# A cancellation asked for meanwhile wins over another run.
_STATUS: Final = """(CASE WHEN job.cancel_requested_at IS NOT NULL
        AND ending.status IN ('ready', 'scheduled', 'blocked')
        THEN 'cancelled' ELSE ending.status END)"""

# What the last attempt that did start has left.
_LAST_ATTEMPT: Final = """(SELECT attempt.{column}
        FROM django_workers_attempt AS attempt
        WHERE attempt.job_id = job.id ORDER BY attempt.epoch DESC LIMIT 1)"""

# Any mixture of endings. A claim under which the job did not start takes its traces
# back; the subqueries run for those only.
LEAVE_RUNNING: Final = (
    f"""
UPDATE django_workers_job AS job
SET status = {_STATUS}, session = NULL,
    attempts = job.attempts + ending.attempts,
    crashes = job.crashes + ending.crashes,
    interruptions = job.interruptions + ending.interruptions,
    duration = COALESCE(ending.duration, job.duration),
    result = COALESCE(ending.result, job.result),
    reason = CASE WHEN ending.reason <> '' THEN ending.reason ELSE job.reason END,
    finished_at = CASE WHEN {_STATUS} IN ('successful', 'failed', 'cancelled')
        THEN STATEMENT_TIMESTAMP() END,
    run_after = CASE WHEN ending.delay IS NULL THEN job.run_after
        ELSE STATEMENT_TIMESTAMP() + ending.delay * INTERVAL '1 second' END,
    position = CASE WHEN ending.status = 'ready' AND NOT ending.in_place
        THEN {POSTGRESQL_POSITION} ELSE job.position END,
    started_at = CASE WHEN ending.unstarted AND job.started_at = job.last_attempted_at
        AND job.attempts + job.crashes + job.interruptions = 0
        THEN NULL ELSE job.started_at END,
    last_attempted_at = CASE WHEN ending.unstarted
        THEN {_LAST_ATTEMPT.format(column="started_at")}
        ELSE job.last_attempted_at END,
    worker = CASE WHEN ending.unstarted
        THEN COALESCE({_LAST_ATTEMPT.format(column="worker")}, '')
        ELSE job.worker END
FROM unnest(
    (SELECT %(ids)s::uuid[]), (SELECT %(epochs)s::int[]),
    (SELECT %(statuses)s::varchar[]), (SELECT %(durations)s::float8[]),
    (SELECT %(results)s::text[]::jsonb[]), (SELECT %(attempts)s::int[]),
    (SELECT %(crashes)s::int[]), (SELECT %(interruptions)s::int[]),
    (SELECT %(delays)s::float8[]), (SELECT %(in_places)s::bool[]),
    (SELECT %(reasons)s::text[]), (SELECT %(unstarted)s::bool[])
) AS ending (
    id, epoch, status, duration, result, attempts, crashes, interruptions, delay,
    in_place, reason, unstarted
)
"""
    + _TOKEN
    + "RETURNING job.id::text, job.status"
)

PROMOTE: Final = f"""
WITH due AS MATERIALIZED (
    SELECT id, run_after FROM django_workers_job
    WHERE status = 'scheduled' AND run_after <= STATEMENT_TIMESTAMP()
    ORDER BY run_after
    LIMIT (SELECT %(limit)s)
    FOR UPDATE SKIP LOCKED
), placed AS MATERIALIZED (
    SELECT id, NEXTVAL('{POSITION_SEQUENCE}') AS position
    FROM (SELECT id FROM due ORDER BY run_after) AS ordered
)
UPDATE django_workers_job AS job SET status = 'ready', position = placed.position
FROM placed WHERE job.id = placed.id
RETURNING job.queue, job.priority
"""

NEXT_DUE: Final = """
SELECT EXTRACT(EPOCH FROM run_after - STATEMENT_TIMESTAMP())::float8
FROM django_workers_job WHERE status = 'scheduled' ORDER BY run_after LIMIT 1
"""
