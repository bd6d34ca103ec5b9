"""Every hot statement uses the index it must, however large and odd the table is.

One wrong plan costs everything: a claim that sorts a whole lane, or a completion that
reads all jobs ever claimed, is a hundred times slower, and worse by the minute.
"""

import uuid
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from django_workers.brokers import PostgreSQLBroker
from django_workers.brokers import postgresql_statements as sql
from django_workers.models import Job, Schedule
from tests.contracts.jobs import rolled_back

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db, pytest.mark.thorough]

TABLE = "django_workers_job"
PKEY = "django_workers_job_pkey"
ATTEMPTS = "dw_attempt_epoch_once"
SESSION = uuid.UUID("01a204b2-defd-7467-8eea-16805ac5b2da")
BATCH = 500

ROWS = f"""
INSERT INTO {TABLE} (
    id, backend, task, queue, priority, args, kwargs, status, run_after, position,
    epoch, session, worker, attempts, crashes, interruptions, max_attempts, on_crash,
    enqueued_at, started_at, last_attempted_at, finished_at, reason, tags, metadata,
    schedule_id, slot
)
SELECT (lpad(to_hex({{base}} + n), 12, '0') || '70008000000000000000')::uuid,
    'default', {{task}}, {{queue}}, {{priority}}, '[]', '{{{{}}}}', '{{status}}',
    {{run_after}}, {{position}}, 0, {{session}}, '', 0, 0, 0, 1, 'retry', now(), now(),
    now(), {{finished_at}}, '', '[]', '{{{{}}}}', {{schedule}}, {{finished_at}}
FROM generate_series(1, {{count}}) AS n
"""


class Crowd:
    """The job table, filled step by step inside one transaction."""

    def __init__(self, cursor):
        self.cursor = cursor
        self.stage = ""

    @property
    def is_small(self):
        """Whether a page or two hold all: they are read whole, and rightly."""
        return self.stage in {"ten_rows", "ten_rows_analyzed"}

    def add(self, count, *, base, **values):
        defaults = {
            "task": "'tests.tasks.mine'",
            "queue": "'default'",
            "priority": "0",
            "status": "ready",
            "run_after": "NULL",
            "session": "NULL",
            "finished_at": "NULL",
            "position": f"{base} + n",
            "schedule": "NULL",
        }
        text = ROWS.format(base=base, count=count, **(defaults | values))
        self.cursor.execute(text)

    def clear(self):
        self.cursor.execute(f"DELETE FROM {TABLE}")

    def empty(self):
        self.cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        self.cursor.execute(f"TRUNCATE {TABLE} CASCADE")

    def analyze(self):
        self.cursor.execute(f"ANALYZE {TABLE}")


# The stages, in order; each builds on the one before, or begins anew.


def ten_rows(crowd):
    crowd.empty()
    crowd.add(10, base=0)


def ten_rows_analyzed(crowd):
    crowd.analyze()


def ten_rows_among_the_dead(crowd):
    """Stand at the end of a busy day under somebody's open snapshot."""
    crowd.empty()
    crowd.add(100_000, base=1_000)
    crowd.clear()
    crowd.add(10, base=0)
    crowd.analyze()


def thousands(crowd):
    crowd.empty()
    crowd.add(30_000, base=1_000, status="successful", finished_at="now()")
    crowd.add(10, base=0)
    crowd.analyze()


def a_million_by_the_figures_of_ten(crowd):
    """Fill the table faster than anybody analyzes it.

    Half of the jobs crowd one lane, the others many; none of them is mine, but ten
    that stand behind them all. No lane's size is anything like the mean.
    """
    crowd.empty()
    crowd.add(10, base=0)
    crowd.analyze()
    crowd.add(
        1_000_000,
        base=1_000,
        task="'tests.tasks.foreign_' || n % 60",
        queue="CASE WHEN n % 2 = 0 THEN 'default' ELSE 'queue-' || n % 600 END",
        priority="CASE WHEN n % 2 = 0 THEN 0 ELSE n % 5 END",
        # In no order of the table's own, as after many retries.
        position="(n::bigint * 7919) % 1000003",
    )
    crowd.add(10, base=9_000_000)


def a_million_analyzed(crowd):
    crowd.analyze()


def ten_running(crowd):
    crowd.add(10, base=10_000_000, status="running", session=f"'{SESSION}'")
    crowd.analyze()


def a_hundred_thousand_running_not_analyzed(crowd):
    """Add as many that wait for their time, and as many that have finished."""
    crowd.add(100_000, base=11_000_000, status="running", session=f"'{SESSION}'")
    crowd.add(
        100_000,
        base=12_000_000,
        status="scheduled",
        run_after="now() + (n - 500) * interval '1 second'",
    )
    crowd.add(
        100_000,
        base=13_000_000,
        status="successful",
        finished_at="now() - n * interval '10 seconds'",
        schedule="n % 1000",
    )


def a_hundred_thousand_running(crowd):
    crowd.analyze()


STAGES = [
    ten_rows,
    ten_rows_analyzed,
    ten_rows_among_the_dead,
    thousands,
    a_million_by_the_figures_of_ten,
    a_million_analyzed,
    ten_running,
    a_hundred_thousand_running_not_analyzed,
    a_hundred_thousand_running,
]
# Where the stages that build on others begin.
ANEW = [
    "ten_rows",
    "ten_rows_among_the_dead",
    "thousands",
    "a_million_by_the_figures_of_ten",
]


@pytest.fixture(scope="module")
def filled(django_db_setup, django_db_blocker):
    """Return a table nobody else sees, gone in the end."""
    with django_db_blocker.unblock():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {TABLE} SET (autovacuum_enabled = false)")
            cursor.execute("SET LOCAL synchronous_commit = off")
            yield Crowd(cursor)
            transaction.set_rollback(True)
        with connection.cursor() as cursor:  # the dead rows, too
            cursor.execute(f"TRUNCATE {TABLE} CASCADE")


@pytest.fixture(scope="module", params=STAGES, ids=lambda stage: stage.__name__)
def crowd(request, filled):
    """Return the table at one stage."""
    names = [stage.__name__ for stage in STAGES]
    wanted = names.index(request.param.__name__)
    done = names.index(filled.stage) if filled.stage else -1
    start = max(names.index(name) for name in ANEW if names.index(name) <= wanted)
    if start <= done < wanted:
        start = done + 1
    for stage in STAGES[start : wanted + 1]:
        stage(filled)
    filled.stage = request.param.__name__
    # In a small table it is enough that the index could serve.
    setting = "off" if filled.is_small else "on"
    filled.cursor.execute(f"SET LOCAL enable_seqscan = {setting}")
    return filled


@pytest.fixture
def broker():
    return PostgreSQLBroker("default")


def nodes_of(plan):
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes_of(child)


class Plan:
    """What EXPLAIN says of a statement."""

    def __init__(self, crowd, text, params=None):
        crowd.cursor.execute(f"EXPLAIN (FORMAT JSON) {text}", params)
        (found,) = crowd.cursor.fetchone()
        self.nodes = list(nodes_of(found[0]["Plan"]))

    @property
    def indexes(self):
        """All indexes read; a table that is read whole counts as one, too."""
        return {
            node.get("Index Name") or f"the whole of {node['Relation Name']}"
            for node in self.nodes
            if "Index Name" in node or node["Node Type"] == "Seq Scan"
        }

    def conditions(self, index):
        """What the index itself is searched for."""
        return [
            node.get("Index Cond", "")
            for node in self.nodes
            if node.get("Index Name") == index
        ]

    def is_in_order(self, index):
        """Whether jobs come out of an index one by one, in its order."""
        sorts = {"Sort", "Incremental Sort"} & {
            node["Node Type"] for node in self.nodes
        }
        kinds = {
            node["Node Type"] for node in self.nodes if node.get("Index Name") == index
        }
        return not sorts and kinds <= {"Index Scan", "Index Only Scan"}


def captured(crowd, call):
    """Run something of the ORM's and return the plans of its statements on jobs."""
    with CaptureQueriesContext(connection) as queries:
        call()
    texts = [query["sql"] for query in queries.captured_queries]
    return [
        Plan(crowd, text)
        for text in texts
        if TABLE in text and text.startswith(("SELECT", "UPDATE", "DELETE"))
    ]


def claim_params(*lanes, **more):
    return {
        "queues": [queue for queue, _priority in lanes],
        "priorities": [priority for _queue, priority in lanes],
        "floors": [7] * len(lanes),
        "limit": BATCH,
        "session": SESSION,
        "worker": "worker-1",
        **more,
    }


def ending_params(count):
    ids = [uuid.UUID(f"{11_000_000 + n:012x}70008000{'0' * 12}") for n in range(count)]
    return {
        "session": SESSION,
        "ids": ids,
        "epochs": [1] * count,
        "durations": [0.1] * count,
        "results": ["null"] * count,
        "statuses": ["failed"] * count,
        "attempts": [1] * count,
        "crashes": [0] * count,
        "interruptions": [0] * count,
        "delays": [None] * count,
        "in_places": [False] * count,
        "reasons": ["no"] * count,
        "unstarted": [True] * count,
    }


LANES = {
    "one lane": [("default", 0)],
    "one small lane": [("queue-7", 2)],
    "many lanes": [("default", 0), *((f"queue-{n}", n % 5) for n in range(1, 60, 2))],
}


@pytest.mark.parametrize("lanes", LANES.values(), ids=LANES)
def test_a_claim_walks_its_lanes_along_their_index(crowd, lanes):
    plan = Plan(crowd, sql.CLAIM, claim_params(*lanes))

    assert plan.indexes == {"dw_job_ready", PKEY}
    assert plan.is_in_order("dw_job_ready") or crowd.is_small
    (condition,) = plan.conditions("dw_job_ready")
    for part in ("queue", "priority", "position"):
        assert part in condition


@pytest.mark.parametrize("task", ["tests.tasks.mine", "tests.tasks.foreign_2"])
def test_a_claim_by_task_passes_over_a_million_foreign_jobs(crowd, task):
    params = claim_params(("default", 0), tasks=[task])

    plan = Plan(crowd, sql.CLAIM_BY_TASK, params)

    assert plan.indexes == {"dw_job_ready_by_task", PKEY}
    assert plan.is_in_order("dw_job_ready_by_task")
    (condition,) = plan.conditions("dw_job_ready_by_task")
    for part in ("task", "queue", "priority", "position"):
        assert part in condition


def test_lanes_are_found_by_hopping(crowd):
    plan = Plan(crowd, sql.LANES)

    assert plan.indexes == {"dw_job_ready"}
    assert plan.is_in_order("dw_job_ready")


def test_lanes_of_tasks_are_found_by_hopping(crowd):
    plan = Plan(crowd, sql.LANES_BY_TASK, {"tasks": ["tests.tasks.mine", "other"]})

    assert plan.indexes == {"dw_job_ready_by_task"}
    assert plan.is_in_order("dw_job_ready_by_task")


@pytest.mark.parametrize("count", [1, BATCH, 1_000])
@pytest.mark.parametrize("statement", ["SUCCEED", "LEAVE_RUNNING"])
def test_a_completion_is_driven_by_the_primary_key(crowd, statement, count):
    plan = Plan(crowd, getattr(sql, statement), ending_params(count))

    # The last attempt of those that did not start is looked for one by one.
    attempts = {ATTEMPTS} if statement == "LEAVE_RUNNING" else set()
    assert plan.indexes == {PKEY} | attempts
    assert all("job_id" in condition for condition in plan.conditions(ATTEMPTS))
    if not crowd.is_small:
        assert all("id" in condition for condition in plan.conditions(PKEY))


def test_due_jobs_are_found_by_their_time(crowd):
    plan = Plan(crowd, sql.PROMOTE, {"limit": 1_000})

    assert plan.indexes == {"dw_job_due", PKEY}


def test_the_next_due_time_is_the_first_of_its_index(crowd):
    plan = Plan(crowd, sql.NEXT_DUE)

    assert plan.indexes == {"dw_job_due"}
    assert plan.is_in_order("dw_job_due")


def test_cancel_requests_are_looked_for_among_ones_own_jobs(crowd, broker):
    (plan,) = captured(crowd, lambda: broker.cancel_requests(SESSION))

    assert plan.indexes == {"dw_job_held"}
    assert all("session" in condition for condition in plan.conditions("dw_job_held"))


def test_a_rescue_looks_at_running_jobs_only(crowd, broker):
    (plan,) = captured(crowd, lambda: broker.rescue(dry_run=True))

    jobs = {name for name in plan.indexes if "workersession" not in name}
    assert jobs == {"dw_job_held"}


@pytest.mark.parametrize("queue", [None, "default"])
def test_pruning_looks_at_what_finished_long_ago(crowd, broker, queue):
    def prune():
        age = timedelta(days=3)
        with rolled_back():
            broker.prune(status="successful", older_than=age, queue=queue, limit=500)

    plan, *deletes = captured(crowd, prune)

    assert plan.indexes == {"dw_job_finished"}
    assert plan.is_in_order("dw_job_finished")
    for condition in plan.conditions("dw_job_finished"):
        assert "finished_at" in condition
    for delete in deletes:
        assert delete.indexes <= {PKEY, "the whole of django_workers_attempt"}


def test_released_jobs_are_found_among_the_parked_ones(crowd, broker):
    (plan,) = captured(crowd, lambda: broker.admit(["tests.tasks.mine", "other"]))

    assert plan.indexes == {"dw_job_blocked"}


def test_the_jobs_of_a_schedule_that_is_deleted_are_found(crowd):
    def delete():
        with rolled_back():
            Schedule(pk=7).delete()

    (plan,) = captured(crowd, delete)

    assert plan.indexes == {"dw_job_slot_once"}


def test_the_verbs_of_people_and_a_result_go_by_the_primary_key(crowd, broker):
    ids = [uuid.UUID(f"{n:012x}70008000{'0' * 12}") for n in range(50)]

    plans = captured(crowd, lambda: broker._lock(ids))
    plans += captured(crowd, lambda: Job.objects.filter(id=ids[0]).first())

    for plan in plans:
        assert plan.indexes == {PKEY}
