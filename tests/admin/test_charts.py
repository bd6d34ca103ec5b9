"""The chart: inside its box, on one scale, nothing invisible."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_workers.admin.charts import HEIGHT, WIDTH, throughput_chart

START = datetime(2030, 1, 1, tzinfo=UTC)
COUNTS = st.integers(min_value=0, max_value=10_000_000)


def minutes(pairs: list[tuple[int, int]]) -> list[dict[str, Any]]:
    return [
        {"minute": START + timedelta(minutes=n), "successful": good, "failed": bad}
        for n, (good, bad) in enumerate(pairs)
    ]


@given(st.lists(st.tuples(COUNTS, COUNTS), max_size=60))
def test_every_bar_lies_in_the_box_and_none_is_invisible(pairs):
    chart = throughput_chart(minutes(pairs))

    for bar, (good, bad) in zip(chart.bars, pairs, strict=True):
        assert bar.x >= 0
        assert bar.x + chart.bar_width <= WIDTH + 0.5
        assert 0 <= bar.top <= chart.baseline
        assert bar.top + bar.up <= chart.baseline + 2
        assert chart.baseline + bar.down <= HEIGHT + 2
        assert (bar.up > 0) == (good > 0)
        assert (bar.down > 0) == (bad > 0)


def test_successes_and_failures_share_one_scale():
    chart = throughput_chart(minutes([(100, 50)]))

    assert chart.bars[0].up == pytest.approx(2 * chart.bars[0].down, rel=0.01)


@pytest.mark.parametrize(
    ("most", "scale"), [(0, 0), (1, 1), (7, 8), (9, 10), (370, 400), (401, 500)]
)
def test_the_scale_ends_at_a_round_number(most: int, scale: int):
    assert throughput_chart(minutes([(most, 0)])).most_successful == scale


@pytest.mark.parametrize(
    ("pairs", "marks"),
    [
        ([], [(0, 100)]),
        ([(30, 0)], [(0, 100), (30, 0)]),
        ([(30, 10)], [(0, 75), (30, 0), (10, 100)]),
        ([(100, 3)], [(0, 97.08), (100, 0)]),
        ([(0, 5)], [(0, 0), (5, 100)]),
    ],
    ids=["nothing", "no failure", "both", "few failures", "failures alone"],
)
def test_the_axis_begins_at_zero_and_no_number_covers_it(
    pairs: list[tuple[int, int]], marks: list[tuple[int, float]]
):
    chart = throughput_chart(minutes(pairs))

    assert [(mark.number, mark.percent) for mark in chart.marks] == marks


def test_only_minutes_in_which_anything_ended_are_in_the_table():
    chart = throughput_chart(minutes([(1, 0), (0, 0), (0, 2)]))

    assert [(bar.successful, bar.failed) for bar in chart.busy_minutes] == [
        (0, 2),
        (1, 0),
    ]


def test_no_minutes_make_an_empty_chart():
    chart = throughput_chart([])

    assert (chart.bars, chart.successful, chart.failed) == ([], 0, 0)
