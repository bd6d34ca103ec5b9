"""What a server that crashed still knows of claims, durable ones and others."""

from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import connections

from django_workers.brokers import PostgreSQLBroker
from tests.contracts.jobs import claim, claim_one, succeed
from tests.databases import PostgresServer

pytestmark = [pytest.mark.postgresql, pytest.mark.thorough]


@pytest.fixture(scope="module")
def crashing():
    """Return a server of our own that writes nothing down unless a commit waits."""
    with PostgresServer({"wal_writer_delay": "10s", "autovacuum": "off"}) as server:
        yield server


@pytest.fixture
def broker(crashing, django_db_blocker):
    """Return a broker on that server."""
    connections.settings["crashing"] = {
        **connections["default"].settings_dict,
        "NAME": "postgres",
        "USER": "postgres",
        "HOST": str(crashing.data),
        "PORT": "",
    }
    with django_db_blocker.unblock():
        call_command("migrate", "django_workers", database="crashing", verbosity=0)
        yield PostgreSQLBroker("crashing")
        connections["crashing"].close()
    del connections["crashing"]
    del connections.settings["crashing"]


def crash(server, broker):
    server.stop("immediate")
    broker.connection.close()
    server.start()


def claimed_and_forgotten(server, broker, session):
    """Claim a job whose claim a crash undoes."""
    for _ in range(5):  # the server may have written it down just in time
        job = claim_one(broker, session)
        crash(server, broker)
        if standing(broker, job.id)[0] == "ready":
            return job
        broker.settle(session, [succeed(job)])
    raise AssertionError("no claim was forgotten")


def standing(broker, job_id):
    values = ("status", "epoch", "position", "session")
    return broker.jobs.values_list(*values).get(id=job_id)


def test_a_durable_claim_survives_a_crash(crashing, broker):
    session = uuid4()
    job = claim_one(broker, session)

    crash(crashing, broker)

    assert standing(broker, job.id) == ("running", 1, job.position, session)


def test_a_forgotten_claim_leaves_the_job_ready_in_its_place(crashing, broker):
    broker.durable_claims = False
    session = uuid4()

    job = claimed_and_forgotten(crashing, broker, session)

    assert standing(broker, job.id) == ("ready", 0, job.position, None)
    # Nobody holds it: what its first run reports is refused.
    assert broker.settle(session, [succeed(job)]) == {}
    (again,) = claim(broker)
    assert (again.id, again.epoch) == (job.id, job.epoch)
    # And another session does: the token is not the same, although the epoch is.
    assert broker.settle(session, [succeed(job)]) == {}


def test_the_holder_of_a_forgotten_claim_gets_its_old_token_again(crashing, broker):
    broker.durable_claims = False
    session = uuid4()
    job = claimed_and_forgotten(crashing, broker, session)

    (again,) = claim(broker, session=session)

    assert (again.id, again.epoch) == (job.id, job.epoch)
    assert broker.settle(session, [succeed(job)]) == {job.id: "successful"}


def test_an_ending_makes_its_claim_durable_too(crashing, broker):
    broker.durable_claims = False
    session = uuid4()
    job = claim_one(broker, session)
    broker.settle(session, [succeed(job)])

    crash(crashing, broker)

    assert standing(broker, job.id) == ("successful", 1, job.position, None)
