"""A call that could only fail is refused where it is made."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest

from django_workers import enqueue, task
from django_workers.compat import InvalidTask
from django_workers.exceptions import UnencodableValue
from django_workers.models import Job

pytestmark = pytest.mark.django_db


@task(name="signature:greet")
def greet(name: str, *, loud: bool = False) -> None: ...


@task
async def greet_async(name: str) -> None: ...


@task(takes_context=True)
def with_context(context: Any, name: str) -> None: ...


@task
def anything(*args: Any, **kwargs: Any) -> None: ...


def with_client(func: Callable[..., Any]) -> Callable[..., Any]:
    """Hand a first argument over that no caller gives."""

    @wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return func("a client", *args, **kwargs)

    return wrapper


def passed_on(func: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function and change nothing."""

    @wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return func(*args, **kwargs)

    return wrapper


@task
@with_client
def wrapped(client: str, name: str) -> None: ...


@task(takes_context=True)
@passed_on
def wrapped_context(context: Any, name: str) -> None: ...


def test_the_error_names_the_task_its_signature_and_the_mistake():
    with pytest.raises(TypeError) as caught:
        greet.enqueue()  # type: ignore[call-arg]

    assert str(caught.value) == (
        "signature:greet(name: str, *, loud: bool = False) -> None: "
        "missing a required argument: 'name'"
    )
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("called", "args", "kwargs", "mistake"),
    [
        (greet, ["a", "b"], {}, "too many positional"),
        (greet, ["a"], {"quiet": True}, "unexpected keyword argument 'quiet'"),
        (greet, ["a"], {"name": "b"}, "multiple values"),
        (greet_async, [], {}, "missing a required argument"),
        (with_context, [], {}, "missing a required argument: 'name'"),
        (with_context, ["a"], {"context": 1}, "unexpected keyword argument"),
        (with_context, ["a", "b"], {}, "too many positional"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_what_the_function_does_not_take_is_refused(called, args, kwargs, mistake):
    with pytest.raises(TypeError, match=mistake):
        called.enqueue(*args, **kwargs)

    with pytest.raises(TypeError, match=mistake):
        enqueue(called, args=args, kwargs=kwargs)
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("called", "args", "kwargs"),
    [
        (greet, ["a"], {"loud": True}),
        (greet, [], {"name": "a"}),
        (greet_async, ["a"], {}),
        (with_context, ["a"], {}),
        (anything, [1, 2, 3], {"context": 4}),
        (wrapped, ["a"], {}),
        (wrapped_context, ["a"], {}),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_what_it_takes_is_stored(called, args, kwargs):
    called.enqueue(*args, **kwargs)

    job = Job.objects.get()
    assert (job.args, job.kwargs) == (args, kwargs)


def test_of_many_calls_the_error_names_the_one_and_none_is_stored():
    with pytest.raises(TypeError, match=r"^calls\[1\]: signature:greet\(name: str"):
        greet.enqueue_many([(["a"], {}), ([], {})])

    assert not Job.objects.exists()


def test_a_call_on_commit_is_refused_at_once():
    with pytest.raises(TypeError, match="missing a required argument"):
        greet.enqueue_on_commit()  # type: ignore[call-arg]


def test_what_json_cannot_hold_is_named_first():
    with pytest.raises(UnencodableValue):
        greet.enqueue(object(), 1)  # type: ignore[arg-type,call-arg]


def test_a_callable_without_a_signature_is_no_task():
    with pytest.raises(InvalidTask):
        task(dict.fromkeys)
