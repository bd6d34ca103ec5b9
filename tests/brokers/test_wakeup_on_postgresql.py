"""Jobs and their wake-up in one message: the jobs commit, then the hint goes out."""

import copy
import signal
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import (
    DatabaseError,
    IntegrityError,
    OperationalError,
    connection,
    transaction,
)

from django_workers.brokers import PostgreSQLBroker
from django_workers.models import Job
from django_workers.runtime import wakeup
from tests import tasks
from tests.contracts.jobs import new_job
from tests.support import wait_until

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

CHANNEL = "tests_wakeup"
READY = "ready 0 default"
# Longer than the server takes.
TOO_LONG = "x" * 8_001


class Listener:
    """Somebody else's connection that hears what is sent on some channels."""

    def __init__(self, *channels: str) -> None:
        self.heard: list[str] = []
        params = connection.get_connection_params()
        for name in ("cursor_factory", "context", "isolation_level", "pool"):
            params.pop(name, None)
        self.raw = psycopg.connect(**params, autocommit=True)
        for channel in channels:
            self.raw.execute(f"LISTEN {channel}")

    def hears(self) -> list[str]:
        """What has come in so far."""
        self.heard += [hint.payload for hint in self.raw.notifies(timeout=0.01)]
        return self.heard

    def sees(self) -> int:
        """How many jobs are visible to everybody."""
        row = self.raw.execute("SELECT count(*) FROM django_workers_job").fetchone()
        assert row is not None
        return row[0]


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener(CHANNEL, wakeup.CHANNEL)
    yield listener
    listener.raw.close()


@pytest.fixture
def broker() -> PostgreSQLBroker:
    wakeup._announced.clear()
    return PostgreSQLBroker("default")


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let Ctrl+C interrupt, also where a shell runs the tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def server_side_binding() -> Iterator[None]:
    """Have the driver bind parameters on the server, as a project may ask."""
    kept = copy.deepcopy(connection.settings_dict["OPTIONS"])
    connection.close()
    connection.settings_dict["OPTIONS"]["server_side_binding"] = True
    connection.features.__dict__.pop("uses_server_side_binding", None)
    yield
    connection.close()
    connection.settings_dict["OPTIONS"] = kept
    connection.features.__dict__.pop("uses_server_side_binding", None)


def test_enqueue_is_one_round_trip(
    broker: PostgreSQLBroker, listener: Listener, django_assert_num_queries
):
    with django_assert_num_queries(1):
        result = tasks.noop.enqueue()

    wait_until(lambda: listener.hears() == [READY])
    assert Job.objects.get().enqueued_at == result.enqueued_at


def test_whoever_hears_finds_the_jobs_there(
    broker: PostgreSQLBroker, listener: Listener
):
    moment = broker.enqueue_and_notify([new_job(), new_job()], CHANNEL, ["a", "it's"])

    wait_until(lambda: listener.hears() == ["a", "it's"])
    assert listener.sees() == 2
    assert {job.enqueued_at for job in Job.objects.all()} == {moment}


def test_jobs_that_are_refused_leave_nothing_behind(
    broker: PostgreSQLBroker, listener: Listener
):
    job = new_job()
    broker.enqueue([job])

    with pytest.raises(IntegrityError):
        broker.enqueue_and_notify([new_job(), job], CHANNEL, ["a"])

    tasks.noop.enqueue()  # the connection is out of the failed transaction
    wait_until(lambda: listener.hears() == [READY])
    assert listener.sees() == 2


def test_a_wakeup_that_fails_costs_no_job(broker: PostgreSQLBroker, listener: Listener):
    moment = broker.enqueue_and_notify([new_job()], CHANNEL, [TOO_LONG])

    assert listener.sees() == 1
    assert Job.objects.get().enqueued_at == moment


def test_jobs_whose_commit_fails_are_refused(broker: PostgreSQLBroker):
    """A project's own deferred trigger speaks at the commit only."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE FUNCTION tests_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN RAISE EXCEPTION 'not today'; END $$;
            CREATE CONSTRAINT TRIGGER tests_refuse AFTER INSERT ON django_workers_job
                DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION tests_refuse();
            """
        )
    try:
        with pytest.raises(DatabaseError, match="not today"):
            tasks.noop.enqueue()
        assert not Job.objects.exists()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER tests_refuse ON django_workers_job")
            cursor.execute("DROP FUNCTION tests_refuse")


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_enqueue_leaves_no_transaction_open(
    broker: PostgreSQLBroker, listener: Listener
):
    job = new_job()
    with listener.raw.transaction():
        listener.raw.execute("LOCK TABLE django_workers_job IN EXCLUSIVE MODE")
        interrupt = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])
        interrupt.start()
        with pytest.raises(KeyboardInterrupt):
            broker.enqueue_and_notify([job], CHANNEL, ["a"])
        interrupt.join()

    tasks.noop.enqueue()
    wait_until(lambda: listener.hears() == [READY])
    assert not Job.objects.filter(id=job.id).exists()


def test_a_connection_that_is_gone_says_so(
    broker: PostgreSQLBroker, listener: Listener
):
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        listener.raw.execute("SELECT pg_terminate_backend(%s)", cursor.fetchone())

    with pytest.raises(DatabaseError):
        tasks.noop.enqueue()

    connection.close()
    assert not Job.objects.exists()


def test_inside_a_transaction_the_hint_waits_for_its_commit(
    broker: PostgreSQLBroker, listener: Listener
):
    with transaction.atomic():
        assert broker.enqueue_and_notify([new_job()], CHANNEL, ["a"]) is None
        tasks.noop.enqueue()
        assert listener.hears() == []

    wait_until(lambda: listener.hears() == [READY])
    assert listener.sees() == 1


@pytest.mark.parametrize("rolls_back", [True, False], ids=["rollback", "commit"])
def test_a_transaction_django_does_not_know_of_stays_the_callers(
    broker: PostgreSQLBroker, listener: Listener, rolls_back: bool
):
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        tasks.noop.enqueue()
        assert listener.sees() == 0
        cursor.execute("ROLLBACK" if rolls_back else "COMMIT")

    assert listener.sees() == (0 if rolls_back else 1)


def test_jobs_may_be_enqueued_in_pipeline_mode(
    broker: PostgreSQLBroker, listener: Listener
):
    connection.ensure_connection()
    with connection.connection.pipeline():
        tasks.noop.enqueue()

    wait_until(lambda: listener.hears() == [READY])
    assert listener.sees() == 1


def test_what_closes_the_connection_on_the_way_says_so_itself(broker: PostgreSQLBroker):
    def close(execute: Any, *query: Any) -> None:
        connection.close()
        raise OperationalError("out of order")

    with (
        connection.execute_wrapper(close),
        pytest.raises(OperationalError, match="out of order"),
    ):
        tasks.noop.enqueue()


@pytest.mark.usefixtures("server_side_binding")
def test_with_parameters_bound_on_the_server_the_hint_is_a_statement(
    broker: PostgreSQLBroker, listener: Listener
):
    assert broker.enqueue_and_notify([new_job()], CHANNEL, ["a"]) is None
    tasks.noop.enqueue()
    broker.notify(CHANNEL, ["a", "b"])

    wait_until(lambda: listener.hears() == [READY, "a", "b"])
    assert listener.sees() == 1
