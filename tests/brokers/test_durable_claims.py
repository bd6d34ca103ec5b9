"""Claims are durable unless told otherwise: what their commit waits for."""

from uuid import uuid4

import pytest
from django.db import connection, transaction

from django_workers.brokers import PostgreSQLBroker
from tests.contracts.jobs import claim_one, lanes_of, row, store, succeed

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

# Fires within the commit itself, after the last statement.
WATCH = """
CREATE TABLE tests_commit (how text);
CREATE FUNCTION tests_note_commit() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO tests_commit VALUES (current_setting('synchronous_commit'));
        RETURN NULL;
    END $$;
CREATE CONSTRAINT TRIGGER tests_watch AFTER UPDATE ON django_workers_job
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tests_note_commit();
"""
UNWATCH = """
DROP TRIGGER tests_watch ON django_workers_job;
DROP FUNCTION tests_note_commit;
DROP TABLE tests_commit;
"""


@pytest.fixture
def commits():
    """Return a function that tells how each commit about a job was made so far."""
    with connection.cursor() as cursor:
        cursor.execute(WATCH)
        cursor.execute("SET synchronous_commit = on")
        yield lambda: fetched(cursor, "SELECT how FROM tests_commit")
        cursor.execute("RESET synchronous_commit")
        cursor.execute(UNWATCH)


def fetched(cursor, statement):
    cursor.execute(statement)
    return [value for (value,) in cursor.fetchall()]


@pytest.fixture
def broker():
    return PostgreSQLBroker("default")


def claim(broker, *, tasks=None):
    lanes = lanes_of(broker, tasks)
    return broker.claim(uuid4(), worker="w", lanes=lanes, limit=9)


@pytest.mark.parametrize("tasks", [None, ["tests.tasks.noop"]])
@pytest.mark.parametrize(("durable", "how"), [(True, "on"), (False, "off")])
def test_a_claim_waits_for_the_disk_unless_told_otherwise(
    broker, commits, tasks, durable, how
):
    broker.durable_claims = durable
    store(broker)

    found = claim(broker, tasks=tasks)

    assert len(found.jobs) == 1
    assert found.xmin <= found.xmax
    assert commits() == [how]


def test_claims_are_durable_by_default(broker):
    assert broker.durable_claims


def test_a_relaxed_claim_leaves_nothing_behind(broker, commits):
    broker.durable_claims = False
    session = uuid4()
    job = claim_one(broker, session)

    broker.settle(session, [succeed(job)])

    assert commits() == ["off", "on"]
    with connection.cursor() as cursor:
        assert fetched(cursor, "SHOW synchronous_commit") == ["on"]


def test_a_callers_transaction_commits_as_the_caller_wants(broker, commits):
    broker.durable_claims = False
    store(broker)

    with transaction.atomic():
        (job,) = claim(broker).jobs

    assert commits() == ["on"]
    assert row(job.id).epoch == 1


@pytest.mark.parametrize("durable", [True, False])
def test_a_claim_is_one_statement(broker, durable, django_assert_num_queries):
    broker.durable_claims = durable
    store(broker)
    lanes = lanes_of(broker)

    with django_assert_num_queries(1):
        broker.claim(uuid4(), worker="w", lanes=lanes, limit=9)
