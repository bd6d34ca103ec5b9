"""One attempt as its process sees it: what it decides, whatever the body does."""

import sys
import threading
import time

import pytest

from django_workers import backoff, task
from django_workers.conf import build_settings
from django_workers.exceptions import Retry, Snooze, TaskTimeout
from django_workers.runtime import attempt
from django_workers.runtime.attempt import Report
from django_workers.runtime.execution import Execution
from django_workers.runtime.executors.aio import LoopThread
from django_workers.runtime.executors.base import Slot
from tests.runtime.test_dispatcher import job

ENOUGH_SECONDS = 10


class Deaf:
    """A body that goes on, whatever it is asked, until the test lets it end."""

    def __init__(self):
        self.began = threading.Event()
        self.may_end = threading.Event()

    def __call__(self):
        self.began.set()
        assert self.may_end.wait(ENOUGH_SECONDS)


deaf = Deaf()


@task(timeout=1, max_attempts=2, backoff=backoff.fixed(90))
def deaf_with_another_attempt() -> None:
    """Ignore that time is up; there is another attempt."""
    deaf()


@task(timeout=1, max_attempts=2, no_retry_on=TaskTimeout)
def deaf_without_another_attempt() -> None:
    """Ignore that time is up; a timeout is not tried again."""
    deaf()


@task(timeout=1, max_attempts=2, backoff=lambda error, result: None)
def deaf_until_given_up() -> None:
    """Ignore that time is up; the back-off gives up."""
    deaf()


class Opinionated(type):
    """A class of classes that does not say which exceptions belong to them."""

    def __instancecheck__(cls, instance):
        raise RuntimeError("ask somebody else")


class Nobody(Exception, metaclass=Opinionated):
    """An exception nobody can be asked about."""


@task(retry_on=(Nobody,), max_attempts=2)
def fail_beyond_judgement() -> None:
    """Fail where nobody can say whether that is tried again."""
    raise ValueError("no")


@pytest.fixture
def attempts():
    return Execution(
        worker_id="worker-1",
        settings=build_settings({}),
        loop=LoopThread(1),
        stopping=lambda: False,
    )


@pytest.fixture
def given_up(attempts):
    """Return what becomes of a job whose body ignores its timeout."""

    def give_up(name, **values):
        deaf.began.clear()
        deaf.may_end.clear()
        slot = Slot(0, number=1)
        work = (1, tuple(job(0, task=name, **values)), None)
        body = threading.Thread(target=attempts.run, args=(slot, work), daemon=True)
        body.start()
        try:
            assert deaf.began.wait(ENOUGH_SECONDS)
            # As the watchdog does, though nothing reaches this body.
            slot.asked, slot.asked_at = TaskTimeout, time.monotonic()
            return Report._make(attempts.give_up(slot))
        finally:
            deaf.may_end.set()
            body.join(ENOUGH_SECONDS)

    return give_up


def name_of(declared):
    return declared.module_path


def test_a_body_that_ignores_its_timeout_is_retried_by_its_own_back_off(given_up):
    report = given_up(name_of(deaf_with_another_attempt), max_attempts=2)

    assert (report.kind, report.outcome) == (attempt.RETRY, "timed_out")
    assert report.delay == 90
    assert report.failure[1] == "ran longer than its timeout of 1 s and ignored it"
    assert report.duration > 0


@pytest.mark.parametrize(
    "declared", [deaf_without_another_attempt, deaf_until_given_up]
)
def test_a_body_that_ignores_its_timeout_fails_where_its_policy_says_so(
    given_up, declared
):
    report = given_up(name_of(declared), max_attempts=2)

    assert (report.kind, report.outcome) == (attempt.FAIL, "timed_out")


def test_no_attempt_follows_a_deaf_one_after_retry_until(given_up):
    report = given_up(
        name_of(deaf_with_another_attempt),
        max_attempts=2,
        claimed_at=1_000.0,
        retry_until=1_080.0,
    )

    assert report.kind == attempt.FAIL
    assert report.reason == "its time for retries is over"


def test_the_clock_of_the_host_does_not_decide_about_retry_until(given_up):
    an_hour_slow = time.time() - 3_600

    report = given_up(
        name_of(deaf_with_another_attempt),
        max_attempts=2,
        claimed_at=an_hour_slow,
        retry_until=an_hour_slow + 100,
    )

    assert (report.kind, report.delay) == (attempt.RETRY, 90)


def test_what_a_body_does_after_it_was_given_up_counts_for_nothing(attempts, given_up):
    given_up(name_of(deaf_without_another_attempt), max_attempts=2)

    run, report = attempts.reported_or_given_up(1)

    assert isinstance(run.error, TaskTimeout)
    assert report.kind == attempt.FAIL
    assert attempts.reported == {}


def test_a_body_that_has_just_ended_is_not_given_up(attempts):
    assert attempts.give_up(Slot(0, number=7)) is None


def test_there_is_a_report_whatever_happens(attempts):
    work = (1, tuple(job(0, task=name_of(fail_beyond_judgement), max_attempts=2)), None)

    report = Report._make(attempts.run(Slot(0, number=1), work))

    assert (report.number, report.kind) == (1, attempt.FAIL)
    assert report.reason == (
        "the worker could not report how the attempt ended; see its log"
    )
    assert report.failure[:2] == ("builtins.ValueError", "no")


class Patience:
    """A back-off that cannot be hashed."""

    def __call__(self, error, result):
        return 30.0

    def __hash__(self):
        raise TypeError("unhashable")


@task(max_attempts=3, backoff=Patience())
def fail_patiently() -> None:
    """Fail; the back-off cannot be hashed."""
    raise ValueError("no")


@task(max_attempts=3, backoff=lambda error, result: 1e12)
def fail_for_an_age() -> None:
    """Fail; the back-off wants longer than the calendar lasts."""
    raise ValueError("no")


@task(max_attempts=3, backoff=lambda error, result: sys.exit(3))
def fail_with_a_back_off_that_exits() -> None:
    """Fail; the back-off would end the process."""
    raise ValueError("no")


@task(max_attempts=3)
def ask_for_an_age() -> None:
    """Ask for another attempt after the calendar has ended."""
    raise Retry(1e12)


@task
def ask_again() -> None:
    """Ask for another attempt, and do not say why."""
    raise Retry(0.1)


@task
def ask_again_because_of_an_error() -> None:
    """Ask for another attempt because of an error."""
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError as error:
        raise Retry(0.1) from error


@task
def ask_again_because_of_an_error_without_words() -> None:
    """Ask for another attempt because of an error that has no message."""
    raise Retry(0.1) from KeyError()


@task
def snooze_for_an_age() -> None:
    """Put itself off until after the calendar has ended."""
    raise Snooze(1e300)


def run_once(attempts, declared, **values):
    values = {"max_attempts": 3, **values}
    work = (1, tuple(job(0, task=name_of(declared), **values)), None)
    return Report._make(attempts.run(Slot(0, number=1), work))


@pytest.mark.parametrize(
    ("declared", "kind"),
    [
        (fail_for_an_age, attempt.RETRY),
        (ask_for_an_age, attempt.RETRY),
        (snooze_for_an_age, attempt.SNOOZE),
    ],
)
def test_no_delay_is_longer_than_ten_years(attempts, declared, kind):
    report = run_once(attempts, declared)

    assert (report.kind, report.delay) == (kind, backoff.MAX_DELAY_SECONDS)


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        (ask_again, "asked for another attempt, and none is left"),
        (ask_again_because_of_an_error, "ZeroDivisionError: division by zero"),
        (ask_again_because_of_an_error_without_words, "KeyError"),
    ],
    ids=["no error", "an error", "an error without words"],
)
def test_a_retry_that_ends_its_job_says_why(attempts, declared, said):
    report = run_once(attempts, declared, max_attempts=1)

    assert (report.kind, report.reason) == (attempt.FAIL, said)
    path, message, traceback = report.failure
    assert (path, message) == ("django_workers.exceptions.Retry", said)
    assert traceback.endswith("Retry: asked for another attempt in 0.1 s\n")


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        (ask_again, "asked for another attempt in 0.1 s"),
        (ask_again_because_of_an_error, "ZeroDivisionError: division by zero"),
    ],
    ids=["no error", "an error"],
)
def test_a_retry_that_has_an_attempt_left_says_why_too(attempts, declared, said):
    report = run_once(attempts, declared)

    assert (report.kind, report.delay) == (attempt.RETRY, 0.1)
    assert report.failure[1] == said


def test_a_back_off_that_exits_is_replaced_by_the_default(attempts):
    report = run_once(attempts, fail_with_a_back_off_that_exits)

    assert report.kind == attempt.RETRY
    assert report.delay > 0
    assert report.failure[:2] == ("builtins.ValueError", "no")


def test_a_back_off_need_not_be_hashable(attempts):
    report = run_once(attempts, fail_patiently, priority=7, queue="other")

    assert (report.kind, report.delay) == (attempt.RETRY, 30.0)


def test_a_job_of_a_backend_that_is_gone_from_the_settings_runs(attempts):
    report = run_once(attempts, fail_patiently, backend="gone")

    assert (report.kind, report.delay) == (attempt.RETRY, 30.0)
