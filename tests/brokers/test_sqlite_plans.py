"""Every hot statement on SQLite uses the index it must, with or without figures.

SQLite knows nothing of its tables until somebody analyzes them, and then believes the
figures for ever. So each statement is looked at without figures, with those of ten rows
and with those of a million; and the steps its virtual machine takes are counted, since
a plan that reads well may still read a million rows.
"""

import re
import uuid
from datetime import timedelta

import pytest
from django.db import connection, transaction

from django_workers.brokers import Ending, Failure, Lane, SQLiteBroker
from django_workers.models import Schedule
from tests.contracts.jobs import rolled_back

pytestmark = [pytest.mark.sqlite, pytest.mark.django_db, pytest.mark.thorough]

TABLE = "django_workers_job"
PKEY = "sqlite_autoindex_django_workers_job_1"
ATTEMPTS = "sqlite_autoindex_django_workers_attempt_1"
SESSION = uuid.UUID("01a204b2-defd-7467-8eea-16805ac5b2da")
MINE = "tests.tasks.mine"
# Steps of the virtual machine, in thousands, that a hundred jobs may cost. Reading a
# million rows takes 10,000 thousands and more.
MOST_STEPS = 200

# A hundred of those that SESSION holds, and all of them.
RUNNING = [uuid.UUID(f"{1_000_000 + n:012x}70008000{'0' * 12}") for n in range(1, 101)]
KNOWN = {
    str(uuid.UUID(f"{n:012x}70008000{'0' * 12}")) for n in range(1_000_001, 1_001_001)
}

ROWS = f"""
WITH RECURSIVE numbers (n) AS (
    SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {{count}}
)
INSERT INTO {TABLE} (
    id, backend, task, queue, priority, args, kwargs, status, run_after, position,
    epoch, session, worker, attempts, crashes, interruptions, max_attempts, on_crash,
    enqueued_at, started_at, last_attempted_at, finished_at, reason, tags, metadata,
    schedule_id, slot
)
SELECT printf('%012x', {{base}} + n) || '70008000000000000000', 'default', {{task}},
    {{queue}}, {{priority}}, '[]', '{{{{}}}}', '{{status}}', {{run_after}},
    {{position}}, 1, {{session}}, '', 0, 0, 0, 1, 'retry', '2026-01-01 00:00:00',
    NULL, NULL, {{finished_at}}, {{reason}}, '[]', '{{{{}}}}',
    {{schedule}}, {{finished_at}}
FROM numbers
"""


class Crowd:
    """The job table, filled step by step inside one transaction."""

    def __init__(self, cursor):
        self.cursor = cursor
        self.stage = ""

    @property
    def is_small(self):
        """Whether a page or two hold all."""
        return self.stage in {"ten_rows", "ten_rows_analyzed"}

    @property
    def has_bad_figures(self):
        """Whether SQLite believes in fewer jobs than a statement has ids.

        Then it may look at all jobs rather than for each id. Only what is done all the
        time is written so that it cannot.
        """
        return "figures_of_ten" in self.stage or self.stage == "ten_rows_analyzed"

    def add(self, count, *, base, **values):
        defaults = {
            "task": f"'{MINE}'",
            "queue": "'default'",
            "priority": "0",
            "status": "ready",
            "run_after": "NULL",
            "session": "NULL",
            "finished_at": "NULL",
            "reason": "''",
            "schedule": "NULL",
            "position": f"{base} + n",
        }
        text = ROWS.format(base=base, count=count, **(defaults | values))
        # Past Django, to whom a percent sign is a parameter.
        connection.connection.execute(text)

    def add_each(self, count, *, base):
        """Add jobs of every kind a chore or a holder looks for."""
        self.add(
            count,
            base=base + 1_000_000,
            status="running",
            session=f"CASE WHEN n <= 1000 THEN '{SESSION.hex}' "
            "ELSE '01a204b2defd74678eea16805ac5' || printf('%04x', n % 50) END",
        )
        self.add(
            count,
            base=base + 2_000_000,
            status="scheduled",
            run_after="datetime('now', (n - 500) || ' seconds')",
        )
        self.add(
            count,
            base=base + 3_000_000,
            status="successful",
            finished_at="datetime('now', -n || ' hours')",
            schedule="n % 1000",
        )
        self.add(
            count,
            base=base + 4_000_000,
            task="'tests.tasks.unknown'",
            status="blocked",
            reason="'unroutable: nobody knows it'",
        )

    def analyze(self):
        self.cursor.execute("ANALYZE")


# The stages, in order; each builds on the one before.


def ten_rows(crowd):
    crowd.add(10, base=0)
    crowd.add_each(10, base=0)


def ten_rows_analyzed(crowd):
    crowd.analyze()


def a_million_by_the_figures_of_ten(crowd):
    """Crowd one lane with half of the jobs, and many with the others.

    None of them is mine, but ten that stand behind them all.
    """
    crowd.add(
        600_000,
        base=10_000_000,
        task="'tests.tasks.foreign_' || (n % 60)",
        queue="CASE WHEN n % 2 = 0 THEN 'default' ELSE 'queue-' || (n % 600) END",
        priority="CASE WHEN n % 2 = 0 THEN 0 ELSE n % 5 END",
        # In no order of the table's own, as after many retries.
        position="(n * 7919) % 1000003",
    )
    connection.connection.execute(f"DELETE FROM {TABLE} WHERE status <> 'ready'")
    crowd.add_each(100_000, base=0)
    crowd.add(10, base=30_000_000)


def a_million_without_figures(crowd):
    crowd.cursor.execute("DELETE FROM sqlite_stat1")
    crowd.cursor.execute("ANALYZE sqlite_schema")  # reads what is left of them


def a_million_analyzed(crowd):
    crowd.analyze()


STAGES = [
    ten_rows,
    ten_rows_analyzed,
    a_million_by_the_figures_of_ten,
    a_million_without_figures,
    a_million_analyzed,
]


@pytest.fixture(scope="module")
def filled(django_db_setup, django_db_blocker):
    """Return a table nobody else sees, gone in the end."""
    with django_db_blocker.unblock():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("PRAGMA cache_size = -400000")
            yield Crowd(cursor)
            transaction.set_rollback(True)
        connection.close()  # and with it what it remembers of the figures


@pytest.fixture(scope="module", params=STAGES, ids=lambda stage: stage.__name__)
def crowd(request, filled):
    """Return the table at one stage."""
    names = [stage.__name__ for stage in STAGES]
    done = names.index(filled.stage) if filled.stage else -1
    wanted = names.index(request.param.__name__)
    assert done <= wanted, "stages run in their order"
    for stage in STAGES[done + 1 : wanted + 1]:
        stage(filled)
    filled.stage = request.param.__name__
    return filled


@pytest.fixture
def broker():
    return SQLiteBroker("default")


class Plan:
    """What EXPLAIN QUERY PLAN says of a statement."""

    def __init__(self, crowd, text, params):
        self.text = text
        # With its parameters: their values decide whether a partial index serves.
        crowd.cursor.execute(f"EXPLAIN QUERY PLAN {text}", params)
        self.lines = [row[3] for row in crowd.cursor.fetchall()]

    def __repr__(self):
        return "\n".join((self.text, *self.lines))

    @property
    def indexes(self):
        """All indexes read; a table that is read whole counts as one, too."""
        found = set()
        for line in self.lines:
            if match := re.match(r"(?:SCAN|SEARCH) (\S+)(?: USING (.*))?$", line):
                table, how = match.groups()
                index = re.search(r"INDEX (\S+)", how or "")
                if index:
                    found.add(index[1])
                elif table == TABLE or table.startswith("job"):
                    found.add(f"the whole of {table}")
        return found

    @property
    def is_in_order(self):
        """Whether nothing is sorted but jobs that share a place."""
        return "USE TEMP B-TREE FOR ORDER BY" not in self.lines


class Run:
    """What a call of the broker did: its plans, and how many steps it took."""

    def __init__(self, crowd, call):
        statements = []

        def note(execute, sql, params, many, context):
            if TABLE in sql:
                statements.append((sql, params))
            return execute(sql, params, many, context)

        self.thousands = 0
        raw = connection.connection
        with connection.execute_wrapper(note), rolled_back():
            raw.set_progress_handler(self._count, 1_000)
            call()
            raw.set_progress_handler(None, 1_000)
        assert statements
        self.plans = [Plan(crowd, *statement) for statement in statements]

    def _count(self):
        self.thousands += 1
        return 0

    @property
    def indexes(self):
        return {index for plan in self.plans for index in plan.indexes}

    @property
    def is_cheap(self):
        return self.thousands < MOST_STEPS and all(p.is_in_order for p in self.plans)


def ending(number, job_id):
    """Return the ending of a job that runs; one of three kinds."""
    status = ("successful", "failed", "ready")[number % 3]
    return Ending(
        id=str(job_id),
        epoch=1,
        task=MINE,
        queue="default",
        priority=0,
        backend="default",
        status=status,
        outcome="" if status == "ready" else status,
        result="null" if status == "successful" else None,
        failure=Failure(exception="E") if status == "failed" else None,
        attempts=1,
    )


LANES = {
    "one lane": [Lane("default", 0)],
    "one small lane": [Lane("queue-7", 2)],
    "many lanes": [Lane(f"queue-{n}", n % 5) for n in range(1, 60, 2)],
}


def claim(broker, *lanes):
    asked = [(lane, 0) for lane in lanes]
    return lambda: broker.claim(SESSION, worker="w", lanes=asked, limit=100)


@pytest.mark.parametrize("lanes", LANES.values(), ids=LANES)
def test_a_claim_walks_its_lanes_along_their_index(crowd, broker, lanes):
    run = Run(crowd, claim(broker, *lanes))

    assert run.indexes == {"dw_job_ready", PKEY}
    assert run.is_cheap


@pytest.mark.parametrize("task", [MINE, "tests.tasks.foreign_2"])
def test_a_claim_by_task_passes_over_a_million_foreign_jobs(crowd, broker, task):
    run = Run(crowd, claim(broker, Lane("default", 0, task)))

    assert run.indexes == {"dw_job_ready_by_task", PKEY}
    assert run.is_cheap


def test_lanes_are_found_by_hopping(crowd, broker):
    run = Run(crowd, broker.lanes)

    assert run.indexes == {"dw_job_ready"}
    assert run.is_cheap


def test_lanes_of_tasks_are_found_by_hopping(crowd, broker):
    run = Run(crowd, lambda: broker.lanes([MINE, "tests.tasks.foreign_2", "other"]))

    assert run.indexes == {"dw_job_ready_by_task"}
    assert run.is_cheap


def test_a_completion_is_driven_by_the_primary_key(crowd, broker):
    endings = [ending(number, job_id) for number, job_id in enumerate(RUNNING)]
    written = {}

    run = Run(crowd, lambda: written.update(broker.settle(SESSION, endings)))

    assert len(written) == (10 if crowd.is_small else len(RUNNING))
    assert run.indexes == {PKEY, ATTEMPTS}
    assert run.is_cheap


def test_due_jobs_are_found_by_their_time_and_so_is_the_next(crowd, broker):
    run = Run(crowd, lambda: broker.promote(100))

    assert run.indexes == {"dw_job_due", PKEY}
    # What was picked is sorted again to be numbered, and no more than that.
    assert run.thousands < MOST_STEPS


def test_the_holder_finds_its_jobs_among_those_that_run(crowd, broker):
    run = Run(crowd, lambda: broker.cancel_requests(SESSION))
    more = Run(crowd, lambda: broker.forgotten(SESSION, known=KNOWN))

    assert run.indexes == more.indexes == {"dw_job_held"}
    assert run.is_cheap
    assert more.is_cheap


def test_a_rescue_looks_at_running_jobs_only_and_sorts_none(crowd, broker):
    run = Run(crowd, lambda: broker.rescue(100, dry_run=True))

    assert run.indexes - {"the whole of django_workers_workersession"} == {
        "dw_job_held"
    }
    assert run.is_cheap


@pytest.mark.parametrize("queue", [None, "default"])
def test_pruning_looks_at_what_finished_long_ago(crowd, broker, queue):
    age = timedelta(hours=5, minutes=30)
    pruned = []

    run = Run(
        crowd,
        lambda: pruned.append(
            broker.prune(status="successful", older_than=age, queue=queue, limit=100)
        ),
    )

    assert pruned == [5 if crowd.is_small else 100]
    select, *deletes = run.plans
    assert select.indexes == {"dw_job_finished"}
    assert select.is_in_order
    if not crowd.has_bad_figures:
        for delete in deletes:
            assert delete.indexes == {PKEY, ATTEMPTS}
        assert run.is_cheap


def test_released_jobs_are_found_among_the_parked_ones(crowd, broker):
    run = Run(crowd, lambda: broker.admit([MINE, "other"]))

    assert run.indexes == {"dw_job_blocked"}
    assert run.is_cheap


@pytest.mark.parametrize("verb", ["cancel", "requeue", "hasten"])
def test_the_verbs_of_people_go_by_the_primary_key(crowd, broker, verb):
    run = Run(crowd, lambda: getattr(broker, verb)(RUNNING))

    if not crowd.has_bad_figures:
        assert run.indexes == {PKEY}
        assert run.is_cheap


def test_the_jobs_of_a_schedule_that_is_deleted_are_found(crowd):
    run = Run(crowd, Schedule(pk=7).delete)

    assert run.indexes == {"dw_job_slot_once"}
    assert run.is_cheap
