"""Back-offs in words."""

import pytest

from django_workers import exponential, fixed, linear
from django_workers.admin.backoffs import backoff_in_words


def my_backoff(exception: BaseException, result: object) -> float:
    """Be a back-off of a project."""
    return 1.0


@pytest.mark.parametrize(
    ("backoff", "words"),
    [
        (fixed(30), "fixed at 30 s"),
        (fixed(30, jitter=0.25), "fixed at 30 s, with 25 % jitter"),
        (linear(90), "linear from 1 min 30 s"),
        (linear(5, cap=60), "linear from 5 s, at most 1 min"),
        (exponential(), "exponential from 2 s, at most 10 min, with jitter"),
        (
            exponential(0.5, factor=3, cap=None, jitter=0),
            "exponential from 500 ms, times 3",
        ),
        (my_backoff, "my_backoff"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_back_off_is_told_in_words(backoff: object, words: str):
    assert backoff_in_words(backoff) == words
