"""The launcher's own decisions, without starting anything."""

from typing import Any

import pytest

from django_workers.runtime.launcher import Launcher, _Process
from django_workers.runtime.streak import (
    FIRST_PAUSE_SECONDS,
    HEALTHY_SECONDS,
    MOST_PAUSE_SECONDS,
    Streak,
)


@pytest.fixture
def launcher() -> Launcher:
    nothing: Any = None
    return Launcher(nothing, nothing, slots=[1], renew=lambda old: old)


def test_a_signal_during_a_restart_for_changed_code_means_stop(launcher):
    launcher.changed = "shop/tasks.py"
    launcher._draining = True
    launcher._signalled()

    launcher._pass_signals_on()

    assert launcher.changed == ""


def test_the_first_signal_drains(launcher):
    launcher._supervisor = 1
    launcher._signalled()

    launcher._pass_signals_on()

    assert launcher._draining


def test_the_first_death_costs_no_time():
    streak = Streak()

    streak.died(lived=0.1, now=100.0)

    assert streak.not_before == 100.0


def test_deaths_at_birth_are_followed_by_growing_pauses():
    streak = Streak()
    pauses = []
    for _ in range(12):
        streak.died(lived=0.1, now=0.0)
        pauses.append(streak.not_before)

    assert pauses[:3] == [0.0, FIRST_PAUSE_SECONDS * 2, FIRST_PAUSE_SECONDS * 4]
    assert pauses == sorted(pauses)
    assert pauses[-1] == MOST_PAUSE_SECONDS


def test_a_healthy_life_ends_a_streak():
    streak = Streak()
    for _ in range(5):
        streak.died(lived=0.1, now=0.0)

    streak.died(lived=HEALTHY_SECONDS, now=50.0)

    assert (streak.deaths, streak.not_before) == (1, 50.0)


def test_a_process_that_died_is_replaced_by_one_with_as_many_slots():
    nothing: Any = None
    uneven = Launcher(nothing, nothing, slots=[3, 2], renew=lambda old: old)
    uneven._wanted.clear()
    nobodys_pid = 2**22 + 1

    for slots in (2, 3):
        process = _Process(0, nobodys_pid, slots, born=0.0, ready=True)
        uneven._child_died(process, 9, 0)

    assert uneven._wanted == [2, 3]
