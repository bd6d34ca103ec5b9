import pickle
from datetime import timedelta
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_workers.backoff import (
    DEFAULT_BACKOFF,
    MAX_DELAY_SECONDS,
    RetryPolicy,
    exponential,
    fixed,
    linear,
    policy_from,
)
from django_workers.exceptions import InvalidPolicy

ERROR = ValueError("wrong")
HUGE = 10**400


def after(attempts):
    return SimpleNamespace(attempts=attempts)


def first_five(backoff):
    return [backoff(ERROR, after(attempt)) for attempt in (1, 2, 3, 4, 5)]


def luck(share):
    return lambda: share


def always(exception, task_result):
    return 1.0


# The delays


@pytest.mark.parametrize(
    ("name", "delays"),
    [
        ("fixed", [3, 3, 3, 3, 3]),
        ("linear", [3, 6, 9, 12, 15]),
        ("exponential", [6, 12, 24, 48, 96]),
    ],
)
def test_the_first_five_delays_of_each_named_backoff(name, delays):
    _, backoff = policy_from(max_retries=9, retry_backoff=name, retry_delay=3)

    assert first_five(backoff) == delays
    assert first_five(RetryPolicy(9, name, 3)) == delays


@pytest.mark.parametrize("attempt", [40, 2_000, 10**9, HUGE])
def test_named_backoffs_have_no_cap_but_ten_years(attempt):
    exponentially = RetryPolicy(3, "exponential", 1).backoff

    assert exponentially.delay_after(attempt) == MAX_DELAY_SECONDS
    assert exponentially.delay_after(20) == 2**20


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [
        (fixed(7), [7, 7, 7, 7, 7]),
        (fixed(timedelta(minutes=1)), [60, 60, 60, 60, 60]),
        (linear(2), [2, 4, 6, 8, 10]),
        (linear(2, cap=5), [2, 4, 5, 5, 5]),
        (exponential(2, jitter=0), [2, 4, 8, 16, 32]),
        (exponential(1, factor=3, cap=20, jitter=0), [1, 3, 9, 20, 20]),
        (exponential(0, jitter=0), [0, 0, 0, 0, 0]),
        (exponential(5, factor=1, jitter=0), [5, 5, 5, 5, 5]),
        (exponential(timedelta(hours=1), cap=None, jitter=0),
         [3600, 7200, 14400, 28800, 57600]),
    ],
)  # fmt: skip
def test_the_first_five_delays_of_each_helper(backoff, delays):
    assert first_five(backoff) == delays


def test_the_default_is_exponential_with_full_jitter_and_a_cap():
    longest = [DEFAULT_BACKOFF.delay_after(n, luck(0.0)) for n in range(1, 12)]

    assert longest == [2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]
    assert DEFAULT_BACKOFF.delay_after(3, luck(0.75)) == 2
    assert exponential() == DEFAULT_BACKOFF


def test_jitter_shortens_by_its_share_of_luck():
    backoff = exponential(8, cap=None, jitter=0.25)

    assert backoff.delay_after(1, luck(0.0)) == 8
    assert backoff.delay_after(1, luck(0.5)) == 7
    assert 6 < backoff.delay_after(1, luck(0.999)) < 6.01


def test_the_dice_differ_from_call_to_call():
    assert len({fixed(100, jitter=1)(ERROR, after(1)) for _ in range(50)}) > 40


@settings(deadline=None)
@given(
    st.one_of(
        st.builds(fixed, st.floats(0, 1e300), jitter=st.floats(0, 1)),
        st.builds(linear, st.floats(0, 1e300), jitter=st.floats(0, 1)),
        st.builds(
            exponential,
            st.floats(0, 1e300),
            factor=st.floats(1, 1e300),
            cap=st.none() | st.floats(0, 1e300),
            jitter=st.floats(0, 1),
        ),
    ),
    st.integers(-5, 10**12) | st.just(HUGE),
    st.floats(0, 1, exclude_max=True),
)
def test_every_delay_is_between_zero_and_ten_years(backoff, attempt, share):
    assert 0 <= backoff.delay_after(attempt, luck(share)) <= MAX_DELAY_SECONDS


@settings(deadline=None)
@given(st.integers(1, 200))
def test_delays_never_shrink_from_attempt_to_attempt(attempt):
    for backoff in (fixed(3), linear(3), exponential(3, factor=1.1, jitter=0)):
        assert backoff.delay_after(attempt) <= backoff.delay_after(attempt + 1)


@pytest.mark.parametrize(
    "backoff",
    [fixed(1), linear(1, cap=2), exponential(), RetryPolicy(3, "linear", 2)],
    ids=["fixed", "linear", "exponential", "policy"],
)
def test_backoffs_are_values(backoff):
    assert pickle.loads(pickle.dumps(backoff)) == backoff
    assert hash(pickle.loads(pickle.dumps(backoff))) == hash(backoff)
    with pytest.raises(AttributeError):
        backoff.jitter = 0.5


def test_backoffs_of_different_kinds_differ():
    assert len({fixed(1), linear(1), exponential(1)}) == 3
    assert fixed(1) != fixed(2)
    assert fixed(1) == fixed(timedelta(seconds=1))


def test_a_retry_policy_ends_after_its_retries():
    policy = RetryPolicy(max_retries=2, retry_backoff="fixed", initial_delay=5)

    assert policy.max_attempts == 3
    assert [policy(ERROR, after(n)) for n in (1, 2, 3, 4)] == [5, 5, None, None]
    assert policy.delay_after(1, luck(0.0)) == 5


def test_a_retry_policy_may_have_a_maximum_and_jitter():
    policy = RetryPolicy(9, "exponential", 1, max_delay=timedelta(seconds=5), jitter=1)

    assert [policy.delay_after(n, luck(0.0)) for n in (1, 2, 3)] == [2, 4, 5]
    assert policy.delay_after(3, luck(0.5)) == 2.5


# From keywords to a policy


def test_nothing_named_leaves_everything_to_the_backend():
    assert policy_from() == (None, None)


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_retries_are_the_tries_after_the_first(retries):
    assert policy_from(max_retries=retries) == (retries + 1, None)


def test_attempts_and_backoff_are_passed_on():
    assert policy_from(max_attempts=4, backoff=always) == (4, always)


def test_a_retry_delay_alone_is_fixed():
    assert policy_from(max_retries=3, retry_delay=60) == (4, fixed(60))
    assert policy_from(retry_delay=timedelta(minutes=1)) == (None, fixed(60))


def test_a_named_backoff_alone_starts_at_two_seconds():
    _, backoff = policy_from(retry_backoff="linear")

    assert backoff == linear(2)


def test_a_retry_policy_as_backoff_brings_its_attempts():
    policy = RetryPolicy(3, "fixed", 5)

    assert policy_from(backoff=policy) == (4, fixed(5))


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"max_attempts": 3, "max_retries": 2}, "max_attempts and max_retries"),
        ({"backoff": always, "retry_backoff": "fixed"}, "backoff and retry_backoff"),
        ({"backoff": always, "retry_delay": 5}, "backoff and retry_delay"),
        ({"max_attempts": 2, "backoff": RetryPolicy(3)}, "its own max_retries"),
        ({"max_attempts": 0}, "max_attempts must be a whole number from 1 up, not 0"),
        ({"max_attempts": -1}, "from 1 up"),
        ({"max_attempts": True}, "whole number"),
        ({"max_attempts": 2.0}, "whole number"),
        ({"max_attempts": "3"}, "whole number"),
        ({"max_attempts": 2**31}, "whole number"),
        ({"max_retries": -1}, "max_retries must be a whole number from 0 up"),
        ({"max_retries": 2**31 - 1}, "whole number"),
        ({"retry_delay": -1}, "retry_delay must be zero or more seconds"),
        ({"retry_delay": float("nan")}, "retry_delay"),
        ({"retry_delay": float("inf")}, "retry_delay"),
        ({"retry_delay": HUGE}, "retry_delay"),
        ({"retry_delay": "60"}, "retry_delay"),
        ({"retry_delay": True}, "retry_delay"),
        ({"retry_delay": timedelta(seconds=-1)}, "retry_delay"),
        ({"retry_backoff": "exponental"}, 'Did you mean "exponential"?'),
        ({"retry_backoff": "Fixed"}, 'Did you mean "fixed"?'),
        ({"retry_backoff": "zzz"}, 'must be "fixed", "linear" or "exponential"'),
        ({"retry_backoff": always}, "retry_backoff must be"),
        ({"backoff": 30}, "fixed(30)"),
        ({"backoff": "linear"}, "must be a callable"),
    ],
)
def test_what_cannot_work_is_refused(keywords, words):
    with pytest.raises(InvalidPolicy) as refusal:
        policy_from(**keywords)

    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("make", "values", "keywords"),
    [
        (fixed, [-1], {}),
        (fixed, [None], {}),
        (fixed, [1], {"jitter": 1.5}),
        (fixed, [1], {"jitter": -0.1}),
        (fixed, [1], {"jitter": float("nan")}),
        (linear, ["1"], {}),
        (linear, [1], {"cap": -1}),
        (exponential, [1], {"factor": 0.5}),
        (exponential, [1], {"factor": float("inf")}),
        (exponential, [1], {"factor": None}),
        (exponential, [1], {"cap": "x"}),
        (RetryPolicy, [-1], {}),
        (RetryPolicy, [1, "sideways"], {}),
        (RetryPolicy, [1, "fixed", -1], {}),
        (RetryPolicy, [1, "fixed", 1], {"max_delay": -1}),
        (RetryPolicy, [1, "fixed", 1], {"jitter": 2}),
    ],
)
def test_helpers_refuse_numbers_that_cannot_work(make, values, keywords):
    with pytest.raises(InvalidPolicy):
        make(*values, **keywords)


def test_a_refusal_survives_a_value_that_cannot_be_shown():
    class Silent:
        def __repr__(self):
            raise RuntimeError("silence")

    with pytest.raises(InvalidPolicy, match="a Silent"):
        fixed(Silent())  # type: ignore[arg-type]
