"""What holds on every page: nothing inline, everything escaped, nobody let in."""

from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone, translation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_workers.models import Job, Queue, Schedule, WorkerSession
from tests.admin.conftest import LogIn
from tests.admin.pages import inline_code_of, url
from tests.admin.rows import (
    TASK,
    add_attempt,
    add_job,
    add_rollup,
    add_schedule,
    add_worker,
)

SPITE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    "javascript:alert(1)",
    "{{ 7|add:7 }}{% debug %}",
    "</title></textarea></pre><b>",
    "<!--",
    "\u202e\u2028&lt;b&gt;",
]


def every_page() -> dict[str, str]:
    """Fill the tables and return the address of one page of each kind."""
    worker = add_worker()
    schedule = add_schedule()
    failed = add_job("failed", schedule=schedule, slot=timezone.now(), tags=["eu"])
    add_attempt(failed)
    running = add_job("running", session=worker.pk)
    done = add_job("successful", result={"a": [1]})
    scheduled = add_job("scheduled")
    Queue.objects.create(name="mail", paused_at=timezone.now(), paused_by="ada")
    add_rollup()
    add_rollup(outcome="failed")
    return {
        "index": "/admin/",
        "dashboard": url("dashboard"),
        "live": url("live"),
        "jobs": url("job_changelist"),
        "jobs filtered": url("job_changelist") + "?status=failed&q=tests&tag=eu",
        "failed": url("job_change", failed.pk),
        "running": url("job_change", running.pk),
        "successful": url("job_change", done.pk),
        "scheduled": url("job_change", scheduled.pk),
        "history": url("job_history", failed.pk),
        "bulk": url("job_bulk") + "?verb=retry&status=failed",
        "tasks": url("task_changelist"),
        "task": url("task_change", TASK),
        "schedules": url("schedule_changelist"),
        "schedule": url("schedule_change", schedule.pk),
        "new schedule": url("schedule_add"),
        "delete schedule": url("schedule_delete", schedule.pk),
        "queues": url("queue_changelist"),
        "queue": url("queue_change", "mail"),
        "workers": url("workersession_changelist"),
        "worker": url("workersession_change", worker.pk),
    }


def test_no_page_holds_anything_inline(chief: Client):
    for name, address in every_page().items():
        response = chief.get(address)
        assert response.status_code == 200, name
        assert inline_code_of(response) == [], name


def test_every_page_is_closed_to_strangers_and_to_mere_members(log_in: LogIn):
    pages = every_page()
    pages.pop("index")
    member = log_in()

    for name, address in pages.items():
        assert Client().get(address).status_code == 302, name
        assert member.get(address).status_code == 403, name


def test_every_page_is_read_with_a_language_that_runs_the_other_way(chief: Client):
    pages = every_page()

    with translation.override("ar"):
        for name, address in pages.items():
            response = chief.get(address)
            assert response.status_code == 200, name
            assert name == "live" or 'dir="rtl"' in response.content.decode(), name


@pytest.fixture
def spiteful() -> Callable[[str], list[str]]:
    """Return a function that writes a text into every field a page shows."""

    def fill(text: str) -> list[str]:
        for model in (Job, Schedule, WorkerSession, Queue):
            model.objects.all().delete()  # type: ignore[attr-defined]
        cut = text[:100]
        worker = add_worker(
            worker_id=cut,
            host=cut,
            version=cut[:32],
            cluster=cut,
            queues=[text],
            tasks=[text],
            stop_reason=cut,
        )
        schedule = add_schedule(name=cut, task=cut, disabled_reason=cut)
        Schedule.objects.update(queue=cut)  # save() would refuse it
        fields: dict[str, Any] = {
            "task": cut,
            "queue": cut,
            "args": [text, {text: text}],
            "kwargs": {text: [text]},
            "reason": text,
            "tags": [text],
            "metadata": {text: text, "context": {text: text}},
            "worker": cut,
        }
        failed = add_job("failed", **fields)
        add_attempt(
            failed,
            worker=cut,
            host=cut,
            exception=cut,
            message=text,
            traceback=text,
        )
        done = add_job("successful", **{**fields, "result": {text: text}})
        add_job("ready", **fields)
        running = add_job("running", **{**fields, "session": worker.pk})
        Queue.objects.create(
            name="mail", paused_at=timezone.now(), paused_by=cut, pause_reason=cut
        )
        return [
            url("dashboard"),
            url("job_changelist"),
            url("job_change", failed.pk),
            url("job_change", done.pk),
            url("job_change", running.pk),
            url("job_bulk") + "?verb=retry&status=failed",
            url("schedule_changelist"),
            url("schedule_change", schedule.pk),
            url("queue_changelist"),
            url("queue_change", "mail"),
            url("workersession_changelist"),
            url("workersession_change", worker.pk),
        ]

    return fill


def check(client: Client, pages: list[str], text: str) -> None:
    for page in pages:
        response = client.get(page)
        assert response.status_code == 200, page
        assert inline_code_of(response) == [], page
        html = response.content.decode()
        for tag in ("<script>alert", "<img src=x", "<svg onload", "<b>", "<!--\n"):
            assert tag not in html, (page, tag)


@pytest.mark.parametrize("text", SPITE, ids=range(len(SPITE)))
def test_spiteful_texts_are_shown_as_text(chief: Client, spiteful: Any, text: str):
    pages = spiteful(text)

    check(chief, pages, text)

    assert text.strip() in unescape(chief.get(pages[2]).content.decode())


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.text(
        alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
        min_size=1,
        max_size=90,
    )
)
def test_no_text_breaks_a_page(chief: Client, spiteful: Any, text: str):
    check(chief, spiteful(text), text)


@pytest.mark.parametrize("text", SPITE, ids=range(len(SPITE)))
def test_spiteful_addresses_are_answered_calmly(chief: Client, text: str):
    add_job()
    for name in ("status", "queue", "task", "tag", "q", "before", "after", "session"):
        response = chief.get(url("job_changelist"), {name: text})
        assert response.status_code in (200, 302), name
        if response.status_code == 200:
            assert inline_code_of(response) == [], name
    for page in ("task_change", "queue_change"):
        if "/" not in text:
            assert chief.get(url(page, text)).status_code == 404, page


def test_a_search_is_shown_escaped(chief: Client):
    html = chief.get(url("job_changelist"), {"q": SPITE[1]}).content.decode()

    assert "<img src=x" not in html
