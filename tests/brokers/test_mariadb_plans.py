"""Every hot statement on MariaDB uses the index it must, however large the table is.

Its indexes are full ones, led by the status where others have partial ones. A plan is
looked at with ten rows and with a million, before and after ANALYZE; and the rows a
statement really reads and sorts are counted by the server.
"""

import json
import uuid
from datetime import timedelta

import pytest
from django.db import connection

from django_workers.brokers import Broker, Ending, Failure, Lane
from django_workers.models import Schedule
from tests.contracts.jobs import rolled_back

pytestmark = [pytest.mark.mariadb, pytest.mark.django_db, pytest.mark.thorough]

TABLE = "django_workers_job"
SESSION = uuid.UUID("01a204b2-defd-7467-8eea-16805ac5b2da")
MINE = "tests.tasks.mine"
# Rows and entries of indexes that a hundred jobs may cost; SESSION holds 1,000.
MOST_READ = 2_000

# A hundred of those that SESSION holds, and all of them.
RUNNING = [uuid.UUID(f"{1_000_000 + n:012x}70008000{'0' * 12}") for n in range(1, 101)]
KNOWN = {
    str(uuid.UUID(f"{n:012x}70008000{'0' * 12}")) for n in range(1_000_001, 1_001_001)
}

ROWS = f"""
INSERT INTO {TABLE} (
    id, backend, task, queue, priority, args, kwargs, status, run_after, position,
    epoch, session, worker, attempts, crashes, interruptions, max_attempts, on_crash,
    enqueued_at, started_at, last_attempted_at, finished_at, reason, tags, metadata,
    schedule_id, slot
)
SELECT {{id}}, 'default', {{task}}, {{queue}}, {{priority}}, '[]', '{{{{}}}}',
    '{{status}}', {{run_after}}, {{position}}, 1, {{session}}, '', 0, 0, 0, 1, 'retry',
    UTC_TIMESTAMP(), NULL, NULL, {{finished_at}}, {{reason}}, '[]', '{{{{}}}}',
    {{schedule}}, {{finished_at}}
FROM seq_1_to_{{count}}
"""


class Crowd:
    """The job table, filled step by step."""

    def __init__(self, cursor):
        self.cursor = cursor
        self.stage = ""
        (kind,) = self.ask(
            "SELECT data_type FROM information_schema.columns WHERE table_name = "
            f"'{TABLE}' AND column_name = 'id' AND table_schema = DATABASE()"
        )[0]
        self.has_uuids = kind == "uuid"

    def ask(self, text):
        self.cursor.execute(text)
        return self.cursor.fetchall()

    @property
    def is_small(self):
        return self.stage in {"ten_rows", "ten_rows_analyzed"}

    def _id(self, base):
        text = f"CONCAT(LPAD(HEX({base} + seq), 12, '0'), '70008000', REPEAT('0', 12))"
        return f"CAST({text} AS UUID)" if self.has_uuids else f"LOWER({text})"

    def add(self, count, *, base, **values):
        defaults = {
            "id": self._id(base),
            "task": f"'{MINE}'",
            "queue": "'default'",
            "priority": "0",
            "status": "ready",
            "run_after": "NULL",
            "session": "NULL",
            "finished_at": "NULL",
            "reason": "''",
            "schedule": "NULL",
            "position": f"{base} + seq",
        }
        text = ROWS.format(count=count, **(defaults | values))
        # Past Django, to whom a percent sign is a parameter.
        self.cursor.execute(text)

    def add_each(self, count, *, base):
        """Add jobs of every kind a chore or a holder looks for."""
        hexadecimal = SESSION.hex
        other = f"CONCAT('{hexadecimal[:-4]}', LPAD(HEX(MOD(seq, 50)), 4, '0'))"
        session = f"IF(seq <= 1000, '{hexadecimal}', LOWER({other}))"
        self.add(
            count,
            base=base + 1_000_000,
            status="running",
            session=f"CAST({session} AS UUID)" if self.has_uuids else session,
        )
        self.add(
            count,
            base=base + 2_000_000,
            status="scheduled",
            run_after="UTC_TIMESTAMP() + INTERVAL (CAST(seq AS SIGNED) - 500) SECOND",
        )
        self.add(
            count,
            base=base + 3_000_000,
            status="successful",
            finished_at="UTC_TIMESTAMP() - INTERVAL seq HOUR",
            schedule="MOD(seq, 1000)",
        )
        self.add(
            count,
            base=base + 4_000_000,
            task="'tests.tasks.unknown'",
            status="blocked",
            reason="'unroutable: nobody knows it'",
        )

    def empty(self):
        self.cursor.execute("SET foreign_key_checks = 0")
        self.cursor.execute(f"TRUNCATE {TABLE}")
        self.cursor.execute("SET foreign_key_checks = 1")

    def analyze(self):
        self.ask(f"ANALYZE TABLE {TABLE}")


def ten_rows(crowd):
    crowd.empty()
    crowd.add(10, base=0)
    crowd.add_each(10, base=0)


def ten_rows_analyzed(crowd):
    crowd.analyze()


def a_million_by_the_figures_of_ten(crowd):
    """Crowd one lane with half of the jobs, and many with the others.

    None of them is mine, but ten that stand behind them all.
    """
    crowd.cursor.execute("SET unique_checks = 0")  # for speed
    crowd.cursor.execute(f"DELETE FROM {TABLE} WHERE status <> 'ready'")
    crowd.add(
        600_000,
        base=10_000_000,
        task="CONCAT('tests.tasks.foreign_', MOD(seq, 60))",
        queue="IF(MOD(seq, 2) = 0, 'default', CONCAT('queue-', MOD(seq, 600)))",
        priority="IF(MOD(seq, 2) = 0, 0, MOD(seq, 5))",
        # In no order of the table's own, as after many retries.
        position="MOD(seq * 7919, 1000003)",
    )
    crowd.add_each(100_000, base=0)
    crowd.add(10, base=30_000_000)
    crowd.cursor.execute("SET unique_checks = 1")


def a_million_analyzed(crowd):
    crowd.analyze()


STAGES = [
    ten_rows,
    ten_rows_analyzed,
    a_million_by_the_figures_of_ten,
    a_million_analyzed,
]


@pytest.fixture(scope="module")
def filled(django_db_setup, django_db_blocker):
    """Return a table that is empty again in the end."""
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {TABLE} STATS_AUTO_RECALC = 0")
        crowd = Crowd(cursor)
        yield crowd
        crowd.empty()
        cursor.execute(f"ALTER TABLE {TABLE} STATS_AUTO_RECALC = DEFAULT")


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
    return Broker("default")


def nodes_of(plan):
    """All parts of a plan, and what each is for."""
    if isinstance(plan, list):
        for item in plan:
            yield from nodes_of(item)
    elif isinstance(plan, dict):
        yield plan
        for item in plan.values():
            yield from nodes_of(item)


class Plan:
    """What EXPLAIN says of a statement."""

    def __init__(self, crowd, text, params):
        crowd.cursor.execute(f"EXPLAIN FORMAT=JSON {text}", params)
        (found,) = crowd.cursor.fetchone()
        self.nodes = list(nodes_of(json.loads(found)))

    @property
    def indexes(self):
        """All indexes of jobs read; a table read whole counts as one, too."""
        return {
            node.get("key", f"the whole of {node['table_name']}")
            for node in self.nodes
            if node.get("table_name") == TABLE
        }


class Run:
    """What a call of the broker did: its plans, and how much it read."""

    def __init__(self, crowd, call):
        self.is_small = crowd.is_small
        statements = []

        def note(execute, sql, params, many, context):
            if TABLE in sql:
                statements.append((sql, params))
            return execute(sql, params, many, context)

        with connection.execute_wrapper(note), rolled_back():
            before = self._work(crowd)
            call()
            after = self._work(crowd)
        self.read = after["read"] - before["read"]
        self.sorted = after["sorted"] - before["sorted"]
        assert statements
        self.plans = [Plan(crowd, *statement) for statement in statements]

    def _work(self, crowd):
        found = dict(crowd.ask("SHOW SESSION STATUS"))
        read = sum(int(n) for k, n in found.items() if k.startswith("Handler_read"))
        return {"read": read, "sorted": int(found["Sort_rows"])}

    def uses(self, *indexes):
        """Whether jobs are found through these indexes only.

        A small table may be read in any way: the server counts what it costs.
        """
        used = {index for plan in self.plans for index in plan.indexes}
        return self.is_small or used <= set(indexes)

    def parts(self, index):
        """The columns by which jobs are looked for in an index."""
        return {
            tuple(node["used_key_parts"])
            for plan in self.plans
            for node in plan.nodes
            if node.get("key") == index and not self.is_small
        }

    @property
    def is_cheap(self):
        return self.read <= MOST_READ and (self.is_small or self.sorted == 0)


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

    assert run.uses("dw_job_ready", "PRIMARY")
    assert run.is_cheap


@pytest.mark.parametrize("task", [MINE, "tests.tasks.foreign_2"])
def test_a_claim_by_task_passes_over_a_million_foreign_jobs(crowd, broker, task):
    run = Run(crowd, claim(broker, Lane("default", 0, task)))

    assert run.uses("dw_job_ready_by_task", "PRIMARY")
    assert run.is_cheap


def test_lanes_are_found_by_hopping(crowd, broker):
    run = Run(crowd, broker.lanes)

    assert run.uses("dw_job_ready")
    assert run.is_cheap


def test_lanes_of_tasks_are_found_without_reading_those_of_others(crowd, broker):
    run = Run(crowd, lambda: broker.lanes([MINE, "tests.tasks.foreign_2", "other"]))

    assert run.uses("dw_job_ready_by_task")
    # By bad figures it reads all entries of these tasks, and still no job's row.
    most = 12_000 if crowd.stage == "a_million_by_the_figures_of_ten" else 100
    assert run.read < most
    assert run.sorted == 0


def test_a_completion_goes_by_the_primary_key(crowd, broker):
    endings = [ending(number, job_id) for number, job_id in enumerate(RUNNING)]
    written = {}

    run = Run(crowd, lambda: written.update(broker.settle(SESSION, endings)))

    assert len(written) == (10 if crowd.is_small else len(RUNNING))
    # Each entry of the index by session ends with the primary key.
    assert run.uses("PRIMARY", "dw_job_held")
    assert run.parts("dw_job_held") <= {("session", "id")}
    assert run.is_cheap


def test_due_jobs_are_found_by_their_time_and_so_is_the_next(crowd, broker):
    run = Run(crowd, lambda: broker.promote(100))

    assert run.uses("dw_job_due", "PRIMARY")
    assert run.is_cheap


def test_the_holder_finds_its_jobs_among_those_that_run(crowd, broker):
    run = Run(crowd, lambda: broker.cancel_requests(SESSION))
    more = Run(crowd, lambda: broker.forgotten(SESSION, known=KNOWN))

    for one in (run, more):
        assert one.uses("dw_job_held")
        assert one.is_cheap


def test_a_rescue_looks_at_running_jobs_only_and_sorts_none(crowd, broker):
    run = Run(crowd, lambda: broker.rescue(100, dry_run=True))

    assert run.uses("dw_job_held")
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
    assert run.uses("dw_job_finished", "PRIMARY")
    assert run.is_cheap


def test_released_jobs_are_found_among_the_parked_ones(crowd, broker):
    run = Run(crowd, lambda: broker.admit([MINE, "other"]))

    assert run.uses("dw_job_ready_by_task")
    assert run.is_cheap


@pytest.mark.parametrize("verb", ["cancel", "requeue", "hasten"])
def test_the_verbs_of_people_go_by_the_primary_key(crowd, broker, verb):
    run = Run(crowd, lambda: getattr(broker, verb)(RUNNING))

    assert run.uses("PRIMARY")
    assert run.is_cheap


def test_the_jobs_of_a_schedule_that_is_deleted_are_found(crowd):
    run = Run(crowd, Schedule(pk=7).delete)

    assert run.uses("dw_job_slot_once")
    assert run.is_cheap
