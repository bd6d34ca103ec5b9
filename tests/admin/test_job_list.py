"""The list of jobs: found by what an index answers, paged by id, never counted."""

import re
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from django_workers import stats
from django_workers.admin import job_list
from django_workers.models import Job, JobStatus
from tests.admin.conftest import LogIn
from tests.admin.pages import text_of, url
from tests.admin.rows import add_job


def listed(client: Client, **query: Any) -> list[UUID]:
    response = client.get(url("job_changelist"), query)
    assert response.status_code == 200, response.headers
    return [job.pk for job in response.context["cl"].result_list]


def follow(client: Client, link: str | None) -> Any:
    assert link
    return client.get(url("job_changelist") + link).context["cl"]


@pytest.mark.parametrize("status", JobStatus.values)
def test_each_status_has_its_filter(chief: Client, status: str):
    jobs = {name: add_job(name) for name in JobStatus.values}

    assert listed(chief, status=status) == [jobs[status].pk]


def test_waiting_stands_for_what_has_not_started(chief: Client):
    jobs = {name: add_job(name) for name in JobStatus.values}

    found = listed(chief, status="waiting")

    assert set(found) == {jobs[s].pk for s in ("scheduled", "blocked", "ready")}


def test_the_newest_comes_first_whatever_order_is_asked_for(chief: Client):
    jobs = [add_job().pk for _ in range(3)]

    assert listed(chief, o="1") == jobs[::-1]


def test_jobs_are_filtered_by_queue_task_and_tag(chief: Client):
    mine = add_job(queue="mail", task="shop:send", tags=["eu", "a b"])
    add_job(queue="other", task="shop:other", tags=["eu-west"])

    assert listed(chief, queue="mail") == [mine.pk]
    assert listed(chief, task="shop:send") == [mine.pk]
    assert listed(chief, tag="eu") == [mine.pk]
    assert listed(chief, tag="a b") == [mine.pk]
    assert listed(chief, queue="mail", status="failed") == []


def test_a_filter_whose_value_is_no_choice_stays_chosen(chief: Client):
    add_job(task="gone:task")

    page = chief.get(url("job_changelist"), {"task": "gone:task"}).content.decode()

    assert '<option value="gone:task" selected>' in page


def test_a_project_of_many_tasks_can_choose_each_of_them(
    chief: Client, monkeypatch: pytest.MonkeyPatch
):
    names = [f"shop.tasks.number_{number:03}" for number in range(300)]
    declared = [
        SimpleNamespace(key=name, queue_name=name.rpartition(".")[2], tags=(name,))
        for name in names
    ]
    monkeypatch.setattr(job_list, "declared_tasks", lambda: declared)

    page = chief.get(url("job_changelist")).context["cl"]

    menus = {menu.parameter_name: menu for menu in page.menus()}
    for parameter in ("task", "queue", "tag"):
        assert len(menus[parameter].lookup_choices) >= len(names)
    assert ("shop.tasks.number_299",) * 2 in menus["task"].lookup_choices


def test_a_menu_left_empty_filters_nothing(chief: Client):
    job = add_job()

    assert listed(chief, queue="", task="", tag="", q="") == [job.pk]


@pytest.mark.parametrize("length", [36, 30, 13, 8])
def test_a_job_is_found_by_its_id_or_the_beginning(chief: Client, length: int):
    wanted = add_job(id=UUID("0199aaaa-0000-7000-8000-000000000001"))
    add_job(id=UUID("0199bbbb-0000-7000-8000-000000000002"))

    assert listed(chief, q=str(wanted.pk)[:length]) == [wanted.pk]
    assert listed(chief, q=str(wanted.pk)[:length].upper()) == [wanted.pk]


def test_a_job_is_found_by_its_task_or_a_part_of_it(chief: Client):
    job = add_job(task="tests.tasks.add")
    gone = add_job(task="gone:task")

    assert listed(chief, q="tests.tasks.add") == [job.pk]
    assert listed(chief, q="tasks.ad") == [job.pk]
    assert listed(chief, q="gone:task") == [gone.pk]
    assert listed(chief, q="gone:tas") == []


def test_a_job_is_found_by_a_tag(chief: Client):
    job = add_job(tags=["feed"])
    add_job(tags=["feeder"])

    assert listed(chief, q="feed") == [job.pk]


@pytest.mark.parametrize("text", ["%", "_", "'; --", "\\", "a" * 5000, "[", "0199%"])
def test_a_search_takes_nothing_for_a_pattern(chief: Client, text: str):
    add_job()

    assert listed(chief, q=text) == []


@pytest.mark.parametrize(
    "lookup",
    ["args__contains", "task__regex", "result__password", "reason", "schedule__name"],
)
def test_no_other_lookup_is_allowed(chief: Client, lookup: str):
    response = chief.get(url("job_changelist"), {lookup: "x"})

    assert response.status_code == 400


def test_jobs_of_a_worker_and_of_a_schedule_are_found(chief: Client):
    job = add_job("running")
    add_job("running")

    assert listed(chief, session=job.session, status="running") == [job.pk]


def test_pages_are_cut_by_id_in_both_directions(
    chief: Client, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(job_list, "PER_PAGE", 2)
    jobs = [add_job().pk for _ in range(5)][::-1]

    first = chief.get(url("job_changelist")).context["cl"]
    second = follow(chief, first.older)
    third = follow(chief, second.older)
    back = follow(chief, third.newer)

    pages = [[job.pk for job in page.result_list] for page in (first, second, third)]
    assert pages == [jobs[:2], jobs[2:4], jobs[4:]]
    assert [job.pk for job in back.result_list] == jobs[2:4]
    assert first.newer is None
    assert third.older is None
    assert [j.pk for j in follow(chief, back.newer).result_list] == jobs[:2]


def test_a_page_keeps_its_filter_and_another_filter_starts_anew(
    chief: Client, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(job_list, "PER_PAGE", 1)
    for _ in range(3):
        add_job("failed")

    first = chief.get(url("job_changelist"), {"status": "failed"}).context["cl"]

    assert "status=failed" in first.older
    second = follow(chief, first.older)
    assert all("before" not in tab["url"] for tab in second.status_tabs())


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_place_that_is_no_id_shows_the_newest(chief: Client, place: str):
    job = add_job()

    assert listed(chief, **{place: "nonsense"}) == [job.pk]


def test_without_an_index_a_page_looks_at_so_many_jobs_only(
    chief: Client, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(job_list, "WINDOW", 3)
    old = add_job(queue="rare")
    for _ in range(4):
        add_job(queue="busy")

    first = chief.get(url("job_changelist"), {"queue": "rare"}).context["cl"]
    second = follow(chief, first.older)

    assert list(first.result_list) == []
    assert first.looked_at == 3
    assert [job.pk for job in second.result_list] == [old.pk]
    assert second.older is None


def test_looking_towards_newer_jobs_is_bounded_too(
    chief: Client, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(job_list, "WINDOW", 2)
    old = add_job(queue="rare")
    for _ in range(4):
        add_job(queue="busy")
    new = add_job(queue="rare")

    query = {"queue": "rare", "after": str(old.pk)}
    page = chief.get(url("job_changelist"), query).context["cl"]
    pages = [page]
    while not page.result_list and len(pages) < 5:
        page = follow(chief, page.newer)
        pages.append(page)

    assert len(pages) == 3
    assert [job.pk for job in page.result_list] == [new.pk]


def test_a_status_alone_needs_no_window(chief: Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(job_list, "WINDOW", 2)
    old = add_job("failed")
    for _ in range(4):
        add_job("successful")

    assert listed(chief, status="failed") == [old.pk]


COUNT = re.compile(r"COUNT\(", re.IGNORECASE)
BOUNDED = re.compile(r"LIMIT \d+|GROUP BY", re.IGNORECASE)


@pytest.mark.parametrize(
    "query",
    [{}, {"status": "failed"}, {"queue": "default"}, {"q": "tests"}, {"tag": "x"}],
)
def test_neither_the_list_nor_its_tabs_count_the_history(chief: Client, query: Any):
    for status in JobStatus.values:
        add_job(status)
    chief.get(url("job_changelist"))

    with CaptureQueriesContext(connection) as log:
        chief.get(url("job_changelist"), query)

    counting = [entry["sql"] for entry in log if COUNT.search(entry["sql"])]
    assert all(f"LIMIT {job_list.COUNTED + 1}" in sql for sql in counting), counting
    assert len(log) <= 12


def test_a_reason_stands_below_its_task_and_is_shortened(chief: Client):
    add_job("failed", reason="no such number " + "x" * 200)

    text = text_of(chief.get(url("job_changelist")))

    assert "tests. tasks. add no such number xxx" in text
    assert "x" * 100 not in text


def test_the_list_never_reads_arguments_or_results(chief: Client):
    add_job("successful", args=["payload"], result={"a": 1})

    with CaptureQueriesContext(connection) as log:
        chief.get(url("job_changelist"))

    table = Job._meta.db_table
    for entry in log:
        if table in entry["sql"]:
            assert not re.search(r'"(args|kwargs|result|metadata)"', entry["sql"])
            assert not re.search(r"`(args|kwargs|result|metadata)`", entry["sql"])


def test_the_number_of_queries_does_not_grow_with_the_rows(chief: Client):
    add_job("failed", tags=["a"])
    with CaptureQueriesContext(connection) as few:
        chief.get(url("job_changelist"))
    for status in JobStatus.values * 3:
        add_job(status)

    with CaptureQueriesContext(connection) as many:
        chief.get(url("job_changelist"))

    assert len(many) == len(few)


def test_a_row_tells_what_there_is_to_know(chief: Client):
    job = add_job(
        "failed", queue="mail", priority=30, attempts=3, max_attempts=5, tags=["eu"]
    )

    page = chief.get(url("job_changelist"))

    assert url("job_change", job.pk) in page.content.decode()
    text = text_of(page)
    for word in (
        str(job.pk)[-8:],
        "failed",
        "mail",
        "30 high",
        "3/5",
        "eu",
        "5 min ago",
        "250 ms",
        "ValueError: no such number",
    ):
        assert word in text, word


def test_the_tabs_say_how_many_and_where_counting_stopped(
    chief: Client, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(job_list, "COUNTED", 2)
    for _ in range(4):
        add_job("failed")
    add_job("ready")

    tabs = {
        tab["value"]: tab
        for tab in chief.get(url("job_changelist")).context["cl"].status_tabs()
    }

    assert tabs["failed"]["cap"] == 2
    assert tabs["ready"]["count"] == 1
    assert tabs["waiting"]["count"] == 1
    assert tabs["all"]["cap"] == 2


def test_the_tabs_ask_for_no_more_than_they_show(monkeypatch: pytest.MonkeyPatch):
    assert job_list.COUNTED < stats.COUNTED


def test_a_status_that_does_not_exist_has_no_jobs(chief: Client):
    add_job()

    assert listed(chief, status="unheard-of' OR '1'='1") == []


def test_only_who_may_view_jobs_sees_the_list(log_in: LogIn):
    assert log_in("view_queue").get(url("job_changelist")).status_code == 403
    assert log_in("view_job").get(url("job_changelist")).status_code == 200
