import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_workers import ids
from django_workers.ids import uuid7, uuid7_floor

MOMENT = datetime(2026, 3, 29, 1, 2, 3, 456_789, tzinfo=UTC)


@pytest.fixture
def clock(monkeypatch):
    """Let the test say what time it is, in milliseconds, for a fresh process."""
    monkeypatch.setattr(ids, "_millisecond", -1)
    monkeypatch.setattr(ids, "_counter", 0)

    def set_to(millisecond):
        monkeypatch.setattr(ids, "time_ns", lambda: millisecond * 1_000_000)

    return set_to


def millisecond_of(value):
    return value.int >> 80


def test_it_is_a_version_7_uuid_of_now():
    before = datetime.now(UTC)

    made = uuid7()

    assert made.version == 7
    assert made.variant == RFC_4122
    assert uuid7_floor(before) <= made
    assert made < uuid7_floor(datetime.now(UTC) + timedelta(milliseconds=2))


def test_each_id_is_above_the_one_before():
    made = [uuid7() for _ in range(20_000)]

    assert made == sorted(set(made))
    assert [str(value) for value in made] == sorted(map(str, made))


def test_ids_grow_while_the_clock_stands_still(clock):
    clock(1_000)

    made = [uuid7() for _ in range(1_000)]

    assert made == sorted(set(made))
    assert {millisecond_of(value) for value in made} == {1_000}


def test_ids_grow_while_the_clock_goes_back(clock):
    made = []
    for millisecond in (5_000, 4_000, 4_999, 1, 5_001):
        clock(millisecond)
        made += [uuid7(), uuid7()]

    assert made == sorted(set(made))
    assert millisecond_of(made[-3]) == 5_000
    assert millisecond_of(made[-1]) == 5_001


def test_a_full_millisecond_runs_over_into_the_next(clock, monkeypatch):
    clock(1_000)
    first = uuid7()
    monkeypatch.setattr(ids, "_counter", ids._FREE_END - 1)

    second = uuid7()

    assert millisecond_of(second) == 1_001
    assert first < second
    assert second.version == 7
    assert second.variant == RFC_4122


def test_neighbours_of_one_millisecond_are_not_a_step_of_one_apart(clock):
    clock(1_000)

    made = [uuid7().int for _ in range(100)]

    assert max(b - a for a, b in pairwise(made)) > 1_000


def test_threads_never_get_the_same_id():
    def make(_):
        return [uuid7() for _ in range(2_000)]

    with ThreadPoolExecutor(8) as pool:
        lists = list(pool.map(make, range(8)))

    assert all(made == sorted(made) for made in lists)
    assert len({value for made in lists for value in made}) == 16_000


def test_a_forked_child_neither_repeats_ids_nor_waits_for_a_lost_lock():
    # In a process of its own: forking pytest, which has threads, is not allowed.
    program = """
import os, threading
from django_workers import ids
ids.time_ns = lambda: 1_000_000_000
mine = [str(ids.uuid7()) for _ in range(3)]
reader, writer = os.pipe()
inside, leave = threading.Event(), threading.Event()

def hold():
    with ids._lock:
        inside.set()
        leave.wait()

holder = threading.Thread(target=hold)
holder.start()
inside.wait()
child = os.fork()
if not child:
    os.write(writer, " ".join(str(ids.uuid7()) for _ in range(50)).encode())
    os._exit(0)
leave.set()
holder.join()
assert os.waitpid(child, 0)[1] == 0
theirs = os.read(reader, 65536).decode().split()
mine += [str(ids.uuid7()) for _ in range(50)]
assert len(theirs) == 50
assert not set(theirs) & set(mine)
"""

    done = subprocess.run(
        [sys.executable, "-c", program], timeout=20, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr


@settings(deadline=None)
@given(st.integers(0, 7_000 * 365 * 86_400_000_000), st.integers(0, 2**74 - 1))
def test_the_floor_is_the_smallest_id_of_its_millisecond(microseconds, free):
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)

    floor = uuid7_floor(moment)

    assert floor.version == 7
    assert floor.variant == RFC_4122
    same_instant = ids._compose(millisecond_of(floor), free)
    assert floor <= same_instant
    assert same_instant < uuid7_floor(moment + timedelta(milliseconds=1))


def test_the_floor_counts_whole_milliseconds_in_any_zone():
    elsewhere = MOMENT.astimezone(timezone(timedelta(hours=5, minutes=45)))

    assert millisecond_of(uuid7_floor(MOMENT)) == 1_774_746_123_456
    assert uuid7_floor(elsewhere) == uuid7_floor(MOMENT)


def test_the_floor_of_anything_before_1970_is_the_lowest_id():
    lowest = UUID("00000000-0000-7000-8000-000000000000")

    assert uuid7_floor(datetime(1969, 7, 20, tzinfo=UTC)) == lowest
    assert uuid7_floor(datetime.min.replace(tzinfo=UTC)) == lowest


def test_the_floor_of_a_naive_datetime_is_refused():
    with pytest.raises(ValueError, match="aware"):
        uuid7_floor(MOMENT.replace(tzinfo=None))
