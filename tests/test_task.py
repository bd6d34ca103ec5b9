"""The decorator `task`: what it declares, what it refuses, and `using()`."""

import copy
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import Any, assert_type

import django
import pytest
from django.db import models
from django.utils.module_loading import import_string

from django_workers import compat, cron, every, exponential, get_task, list_tasks, task
from django_workers.backoff import RetryPolicy, fixed
from django_workers.compat import InvalidTask, InvalidTaskBackend
from django_workers.context import JobContext
from django_workers.exceptions import InvalidPolicy, UnknownTask
from django_workers.task import UNSET, Registry, Task, registry

NAN, INF = float("nan"), float("inf")
MOMENT = datetime(2040, 1, 31, 12, tzinfo=UTC)
FAR_AWAY = datetime(9999, 1, 1, tzinfo=UTC)


@task
def bare(number: int, *, doubled: bool = False) -> str:
    """Say a number."""
    return str(number * 2 if doubled else number)


@task()
def with_parentheses() -> None:
    pass


@task(
    name="task:full",
    priority="high",
    queue_name="mail",
    max_attempts=5,
    backoff=exponential(initial=2, cap=600),
    retry_on=OSError,
    no_retry_on=[FileNotFoundError, PermissionError],
    timeout=30,
    on_crash="fail",
    expires=60,
    retry_until=timedelta(hours=1),
    aliases=["task:old", "task:older"],
    tags=["eu", "paid"],
    metadata={"tenant": 5},
    max_result_bytes=100,
    schedule=every(60),
)
def full() -> None:
    pass


@task(takes_context=True)
def contextual(context: JobContext, number: int) -> int:
    return number


@task
async def coroutine(number: int) -> int:
    return number


@task(takes_context=True, max_attempts=2)
async def contextual_coroutine(context: JobContext, number: int) -> str:
    return str(number)


def plain() -> None:
    pass


def other() -> None:
    pass


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Let what a test declares be forgotten with it."""
    yield
    # Not a registry of before: a test may be the first to import the apps' tasks.
    keys = {key for key, t in registry._tasks.items() if t.func in (plain, other)}
    for key in keys:
        del registry._tasks[key]
    for name in [name for name, key in registry._names.items() if key in keys]:
        del registry._names[name]


# Declaring


def test_it_works_with_and_without_parentheses():
    for declared, name in ((bare, "bare"), (with_parentheses, "with_parentheses")):
        assert isinstance(declared, Task)
        assert isinstance(declared, compat.Task)
        assert declared.key == declared.module_path == f"{__name__}.{name}"


def test_a_bare_task_has_every_default():
    assert (bare.priority, bare.queue_name, bare.backend) == (0, "default", "default")
    assert (bare.max_attempts, bare.backoff, bare.timeout) == (None, None, None)
    assert (bare.retry_on, bare.no_retry_on, bare.on_crash) == ((), (), "retry")
    assert (bare.expires, bare.retry_until, bare.run_after) == (None, None, None)
    assert (bare.aliases, bare.tags, bare.metadata) == ((), (), {})
    assert (bare.max_result_bytes, bare.schedule) == (None, None)
    assert bare.takes_context is False


def test_each_keyword_is_kept():
    assert full.key == full.registered_name == "task:full"
    assert (full.priority, full.queue_name) == (25, "mail")
    assert full.max_attempts == 5
    assert full.backoff == exponential(initial=2, cap=600)
    assert full.retry_on == (OSError,)
    assert full.no_retry_on == (FileNotFoundError, PermissionError)
    assert (full.timeout, full.on_crash) == (30, "fail")
    assert (full.expires, full.retry_until) == (60, timedelta(hours=1))
    assert full.aliases == ("task:old", "task:older")
    assert (full.tags, full.metadata) == (("eu", "paid"), {"tenant": 5})
    assert (full.max_result_bytes, full.schedule) == (100, every(60))


@pytest.mark.parametrize(
    ("keywords", "attempts", "backoff"),
    [
        ({"max_retries": 3}, 4, None),
        ({"max_retries": 0}, 1, None),
        ({"max_attempts": 4}, 4, None),
        ({"backoff": RetryPolicy(2, "fixed", 5)}, 3, fixed(5)),
        ({"max_retries": 1, "retry_backoff": "fixed", "retry_delay": 7}, 2, fixed(7)),
    ],
    ids=str,
)
def test_retries_are_tries_after_the_first(
    keywords: dict[str, Any], attempts: int, backoff: Any
):
    declared = task(**keywords)(plain)

    assert declared.max_attempts == attempts
    if backoff is not None:
        assert declared.backoff == backoff


def test_a_task_can_be_called_as_the_function_it_is():
    assert bare.call(4) == "4"
    assert bare.call(4, doubled=True) == "8"
    assert coroutine.call(4) == 4
    assert bare.func(4) == "4"


def test_a_task_is_hashable_and_can_be_copied():
    assert hash(full) == hash(copy.copy(full))
    assert copy.deepcopy(full) == full
    assert {full: 1}[full.using()] == 1


def the_types_that_mypy_checks() -> None:
    """Be read by mypy, never run: what is wrong here fails `make types`."""
    assert_type(bare.enqueue(1, doubled=True).return_value, str)
    assert_type(bare.call(1), str)
    assert_type(bare.using(priority="low").enqueue(1).return_value, str)
    assert_type(coroutine.enqueue(1).return_value, int)
    assert_type(coroutine.call(1), int)
    assert_type(contextual_coroutine.enqueue(5).return_value, str)
    assert_type(full.enqueue().return_value, None)
    assert_type(contextual.enqueue(5).return_value, int)
    assert_type(bare.enqueue_many([((1,), {})])[0].return_value, str)


# Members of enumerations


class Texts(models.TextChoices):
    QUEUE = "post"
    FAIL = "fail"


class MixedIn(str, Enum):  # noqa: UP042 - its str() is not its value
    NAME = "task:mixed"
    QUEUE = "mixed"


class Numbers(models.IntegerChoices):
    THREE = 3


class Seconds(float):
    """As numpy's numbers are."""


def test_a_member_of_an_enumeration_is_its_value():
    made = task(
        name=MixedIn.NAME,
        queue_name=Texts.QUEUE,
        on_crash=Texts.FAIL,
        priority=Numbers.THREE,
        max_attempts=Numbers.THREE,
        timeout=Seconds(2.5),
        expires=Numbers.THREE,
        tags=[Texts.QUEUE, MixedIn.QUEUE],
        aliases=[Texts.QUEUE],
    )(plain)
    changed = made.using(queue_name=MixedIn.QUEUE, timeout=Numbers.THREE)

    for value, exact in (
        (made.key, "task:mixed"),
        (made.queue_name, "post"),
        (made.on_crash, "fail"),
        (made.priority, 3),
        (made.max_attempts, 3),
        (made.timeout, 2.5),
        (made.expires, 3),
        (made.tags[0], "post"),
        (made.tags[1], "mixed"),
        (made.aliases[0], "post"),
        (changed.queue_name, "mixed"),
        (changed.timeout, 3),
    ):
        assert value == exact
        assert type(value) is type(exact), value
    assert f"{changed.queue_name}" == "mixed"


# What cannot be declared

BAD: dict[str, list[Any]] = {
    "max_attempts": [0, -1, True, 1.5, "3", 2**31, NAN],
    "max_retries": [-1, True, "3", 2**31],
    "backoff": [5, "fixed", True],
    "retry_backoff": ["sideways", 5],
    "retry_delay": [-1, NAN, INF, "5", True],
    "retry_on": [5, [5], ["OSError"], [OSError()], int],
    "no_retry_on": [5, [None], str],
    "timeout": [0, -1, NAN, INF, "30", True, timedelta(seconds=5), 1e12],
    "on_crash": ["ignore", None, True],
    "expires": [-1, NAN, INF, "5", True, timedelta(-1), datetime(2040, 1, 1), 1e12],  # noqa: DTZ001
    "retry_until": [-1, NAN, INF, "5", True, date(2040, 1, 1), timedelta.max],
    "aliases": [5, [5], [""], ["my task"], ["a" * 256]],
    "tags": [5, [5], [""], ["t" * 129], [None]],
    "metadata": [5, "x", [1], {5: 1}, {"context": "x"}],
    "max_result_bytes": [0, -1, True, "5", 1.5],
    "schedule": [5, "@daily", {"cron": "@daily"}],
    "name": ["", 5, "my task", "a" * 256, "a\n", True],
}
BAD_FOR_DJANGO: dict[str, list[Any]] = {
    "priority": [101, -101, 0.5, NAN, INF, None, True, [], "urgent", "5"],
    "queue_name": ["", 5, None, "my queue", "q" * 129, "q\n"],
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in BAD.items() for value in values]
)
def test_a_policy_that_cannot_work_is_refused_at_import(key: str, value: Any):
    with pytest.raises(InvalidPolicy) as raised:
        task(**{key: value})(plain)

    assert str(raised.value)
    assert registry._names.get(f"{__name__}.plain") is None, "nothing is left behind"


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key, values in BAD_FOR_DJANGO.items() for value in values],
)
def test_what_django_knows_too_is_refused_with_its_error(key: str, value: Any):
    with pytest.raises(InvalidTask):
        task(**{key: value})(plain)


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"timeout": 0}, "timeout must be seconds above zero"),
        ({"on_crash": "ignore"}, 'on_crash must be "retry" or "fail"'),
        ({"name": "my task"}, "'my task' cannot name a task"),
        ({"tags": [""]}, "a tag is a string of 1 to 128 characters"),
        ({"retry_on": [5]}, "5 is not an exception class"),
        ({"expires": "5"}, "expires must be an aware datetime"),
        ({"metadata": {"context": 1}}, "where carriers keep their values"),
        ({"schedule": "@daily"}, r"must be cron\(...\) or every\(...\)"),
        ({"max_attempts": 2, "max_retries": 1}, "max_attempts and max_retries"),
        ({"backoff": fixed(1), "retry_backoff": "fixed"}, "backoff and retry_backoff"),
    ],
    ids=str,
)
def test_the_words_say_what_and_what_instead(keywords: dict[str, Any], said: str):
    with pytest.raises(InvalidPolicy, match=said):
        task(**keywords)(plain)


def test_an_unknown_keyword_is_a_mistake_of_the_call():
    with pytest.raises(TypeError, match="tiemout"):
        task(tiemout=5)(plain)  # type: ignore[call-overload]


def test_a_backend_that_is_not_there_is_refused():
    with pytest.raises(InvalidTaskBackend, match="nope"):
        task(backend="nope")(plain)


def test_only_a_function_of_a_module_is_a_task():
    def inner() -> None:
        pass

    with pytest.raises(InvalidTask, match="module level"):
        task(inner)


def test_the_context_is_the_first_argument_by_name():
    with pytest.raises(InvalidTask, match="context"):
        task(takes_context=True)(plain)  # type: ignore[arg-type]


# Names, aliases and clashes


@pytest.mark.parametrize("name", ["task:full", "task:old", "task:older"])
def test_a_task_is_found_by_its_name_and_its_aliases(name: str):
    assert get_task(name) is full


def test_a_task_is_found_by_its_module_path():
    assert get_task(f"{__name__}.full") is full
    assert get_task(f"{__name__}.bare") is bare


def test_list_tasks_is_sorted_by_name():
    keys = [declared.key for declared in list_tasks()]

    assert keys == sorted(keys)
    assert {"task:full", f"{__name__}.bare"} <= set(keys)


@pytest.mark.parametrize(
    "keywords",
    [
        {"name": "task:full"},
        {"name": "task:old"},
        {"aliases": ["task:full"]},
        {"name": "task:new", "aliases": ["task:older"]},
        {"name": f"{__name__}.bare"},
    ],
    ids=str,
)
def test_a_name_belongs_to_one_function(keywords: dict[str, Any]):
    with pytest.raises(InvalidPolicy, match=r"two tasks are named .* and .*\.plain"):
        task(**keywords)(plain)

    with pytest.raises(UnknownTask):
        get_task("task:new")


def test_the_same_function_may_be_declared_again():
    first = task(name="task:again")(plain)
    again = task(name="task:again", priority=5)(plain)

    assert get_task("task:again") in (first, again)


def test_a_copy_of_a_task_takes_no_name_from_it():
    full.using(priority=99)

    assert get_task("task:full") is full


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UnknownTask, match="did you mean 'task:full'"):
        get_task("task:ful")
    with pytest.raises(LookupError, match="is the module that declares it imported"):
        get_task("@@@")


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        (["task:*"], ["task:full", "task:old", "task:older"]),
        (["task:old*"], ["task:old", "task:older"]),
        ([f"{__name__}.ful?"], ["task:full", "task:old", "task:older"]),
        (["nothing"], []),
        (["TASK:*"], []),
        (["task:old", "*.bare"], ["task:old", f"{__name__}.bare"]),
    ],
    ids=str,
)
def test_patterns_match_names_and_module_paths(patterns: list[str], found: list[str]):
    ours = {f"{__name__}.bare", "task:full", "task:old", "task:older"}

    assert [name for name in registry.names(patterns) if name in ours] == found


def test_no_pattern_is_every_name():
    alone = Registry()
    alone.add(full)

    assert alone.names() == ["task:full", "task:old", "task:older"]
    assert alone.all() == [full]


# Another policy for one call


@pytest.mark.parametrize(
    ("keyword", "given", "kept"),
    [
        ("priority", 7, 7),
        ("priority", "critical", 75),
        ("priority", 5.0, 5),
        ("queue_name", "slow", "slow"),
        ("run_after", MOMENT, MOMENT),
        ("run_after", timedelta(hours=1), timedelta(hours=1)),
        ("run_after", "2040-01-31T13:00:00+01:00", MOMENT),
        ("run_after", "2040-01-31 12:00Z", MOMENT),
        ("max_attempts", 3, 3),
        ("timeout", 0.5, 0.5),
        ("expires", 5, 5),
        ("expires", timedelta(minutes=5), timedelta(minutes=5)),
        ("expires", MOMENT, MOMENT),
        ("retry_until", MOMENT, MOMENT),
        ("tags", ["a", "b"], ("a", "b")),
        ("tags", "alone", ("alone",)),
        ("tags", (tag for tag in "ab"), ("a", "b")),
        ("metadata", {"user": 5}, {"user": 5}),
    ],
    ids=lambda value: str(value)[:30],
)
def test_using_changes_a_copy(keyword: str, given: Any, kept: Any):
    changed = bare.using(**{keyword: given})

    assert getattr(changed, keyword) == kept
    assert getattr(bare, keyword) != kept
    assert (changed.func, changed.key) == (bare.func, bare.key)


def test_using_keeps_what_it_is_not_told():
    changed = full.using(priority=1)

    for name in full.__dataclass_fields__:
        if name != "priority":
            assert getattr(changed, name) == getattr(full, name), name


def test_none_clears_what_can_be_cleared_and_leaves_the_rest():
    loaded = full.using(run_after=MOMENT)
    cleared = loaded.using(
        priority=None,
        queue_name=None,
        backend=None,
        run_after=None,
        max_attempts=None,
        timeout=None,
        expires=None,
        retry_until=None,
        tags=None,
        metadata=None,
    )

    assert (cleared.priority, cleared.queue_name) == (25, "mail")
    assert cleared.backend == "default"
    for name in ("run_after", "max_attempts", "timeout", "expires", "retry_until"):
        assert getattr(cleared, name) is None
    assert (cleared.tags, cleared.metadata) == ((), {})


def test_using_chooses_another_backend(settings: Any):
    path = "django_workers.backend.DatabaseBackend"
    settings.TASKS = {
        "default": {"BACKEND": path, "QUEUES": []},
        "second": {"BACKEND": path, "QUEUES": ["only"]},
    }

    moved = bare.using(backend="second", queue_name="only")

    assert moved.get_backend().alias == "second"
    with pytest.raises(InvalidTask, match="'default' is not valid"):
        bare.using(backend="second")
    with pytest.raises(InvalidTaskBackend):
        bare.using(backend="third")


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"run_after": datetime(2040, 1, 1)}, InvalidTask, "aware"),  # noqa: DTZ001
        ({"run_after": "2040-01-01T12:00"}, InvalidTask, "needs an offset"),
        ({"run_after": "2040-02-31T12:00Z"}, InvalidTask, "no possible time"),
        ({"run_after": "tomorrow"}, InvalidTask, "is not ISO 8601"),
        ({"run_after": 60}, InvalidTask, "a timedelta or ISO 8601 text, not 60"),
        ({"run_after": date(2040, 1, 1)}, InvalidTask, "aware datetime"),
        ({"run_after": timedelta.max}, InvalidTask, "run_after must lie before"),
        ({"run_after": FAR_AWAY}, InvalidTask, "run_after must lie before the year"),
        ({"expires": FAR_AWAY}, InvalidTask, "expires must lie before the year"),
        ({"retry_until": FAR_AWAY}, InvalidTask, "retry_until must lie before"),
        ({"priority": "urgent"}, InvalidTask, "no priority level"),
        ({"priority": 101}, InvalidTask, "between -100 and 100"),
        ({"queue_name": "my queue"}, InvalidTask, "cannot name a queue"),
        ({"max_attempts": 0}, InvalidPolicy, "max_attempts must be"),
        ({"timeout": 0}, InvalidPolicy, "timeout must be"),
        ({"expires": -1}, InvalidPolicy, "expires must be"),
        ({"retry_until": "soon"}, InvalidPolicy, "retry_until must be"),
        ({"tags": [5]}, InvalidPolicy, "a tag is"),
        ({"metadata": 5}, InvalidPolicy, "metadata must be"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_using_refuses_what_cannot_work(
    changes: dict[str, Any], error: type[Exception], said: str
):
    with pytest.raises(error, match=said):
        bare.using(**changes)


def test_using_knows_its_own_keywords_only():
    with pytest.raises(TypeError, match="on_crash"):
        bare.using(on_crash="fail")  # type: ignore[call-arg]
    assert repr(UNSET) == "UNSET"


# Django's own decorator


def djangos_decorator() -> Any:
    return import_string(f"{compat.TASKS_APP}.task")


def test_djangos_own_decorator_makes_a_task_of_ours():
    made = djangos_decorator()(priority=5)(plain)

    assert isinstance(made, Task)
    assert get_task(f"{__name__}.plain") is made
    assert made.using(timeout=5).timeout == 5


def forwards_keywords() -> bool:
    return django.VERSION >= (6, 1) or not compat.CORE_TASKS


def test_djangos_own_decorator_takes_a_policy_where_it_forwards_keywords():
    keywords = {"max_attempts": 3, "timeout": 5.0, "tags": ["a"], "metadata": None}
    if not forwards_keywords():
        with pytest.raises(TypeError):
            djangos_decorator()(**keywords)(plain)
        return

    made = djangos_decorator()(**keywords)(plain)

    assert (made.max_attempts, made.timeout, made.tags) == (3, 5.0, ("a",))
    assert made.metadata == {}
    with pytest.raises(InvalidPolicy):
        djangos_decorator()(timeout=0)(other)


def test_a_schedule_may_be_either_kind():
    for number, schedule in enumerate((cron("@daily"), every(5))):
        made = task(name=f"task:timed-{number}", schedule=schedule)(plain)
        assert made.schedule == schedule
