"""Workers: who is alive, how busy, who fell silent, who ended."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from django_workers.models import WorkerSession
from tests.admin.conftest import LogIn
from tests.admin.pages import text_of, url
from tests.admin.rows import add_job, add_worker


def add_silent(**fields: object) -> WorkerSession:
    then = timezone.now() - timedelta(minutes=2)
    return add_worker(worker_id="silent", heartbeat_at=then, lease_until=then, **fields)


def add_ended() -> WorkerSession:
    return add_worker(
        worker_id="ended",
        state="stopped",
        stopped_at=timezone.now() - timedelta(hours=1),
        stop_reason="SIGTERM",
    )


def test_the_list_tells_load_heartbeat_queues_and_end(chief: Client):
    add_worker(queues=["mail", "images"])
    add_ended()

    text = text_of(chief.get(url("workersession_changelist")))

    for words in ("3/10", "mail, images", "running", "stopped", "1 h ago", "SIGTERM"):
        assert words in text, words
    assert "0.1.0" in text


def test_a_narrow_screen_names_what_the_values_are(chief: Client):
    add_worker()

    html = chief.get(url("workersession_changelist")).content.decode()

    for name in ("host", "process id", "version"):
        assert f'<span class="dw-label">{name}</span>' in html, name


def test_a_search_is_for_what_the_page_shows(chief: Client):
    add_worker(host="eu-1", cluster="atlantis")

    def found(term: str) -> int:
        page = chief.get(url("workersession_changelist"), {"q": term})
        assert "cluster" not in text_of(page)
        return len(page.context["cl"].result_list)

    assert [found("eu-1"), found("atlantis")] == [1, 0]


def test_one_that_fell_silent_is_marked(chief: Client):
    add_worker()
    silent = add_silent()

    listing = text_of(chief.get(url("workersession_changelist")))
    page = text_of(chief.get(url("workersession_change", silent.pk)))

    assert listing.count("running stale") == 1
    assert "running stale" in page


def test_one_that_ended_is_never_stale(chief: Client):
    add_silent(state="stopped")

    assert "stopped stale" not in text_of(chief.get(url("workersession_changelist")))


@pytest.mark.parametrize(
    ("which", "names"),
    [("alive", {"w-1"}), ("stale", {"silent"}), ("ended", {"ended"})],
)
def test_the_list_is_filtered(chief: Client, which: str, names: set[str]):
    add_worker()
    add_silent()
    add_ended()

    page = chief.get(url("workersession_changelist"), {"is": which})

    assert {row.worker_id for row in page.context["cl"].result_list} == names


def test_a_page_shows_the_jobs_it_holds(chief: Client):
    worker = add_worker(tasks=["tests.tasks.add"])
    held = add_job("running", session=worker.pk)
    add_job("running")

    page = chief.get(url("workersession_change", worker.pk))

    html = page.content.decode()
    assert url("job_change", held.pk) in html
    assert [job.pk for job in page.context["held"]] == [held.pk]
    assert f"?status=running&amp;session={worker.pk}" in html


def test_a_viewer_of_workers_is_not_shown_jobs(log_in: LogIn):
    worker = add_worker()
    job = add_job("running", session=worker.pk)
    client = log_in("view_workersession")

    html = client.get(url("workersession_change", worker.pk)).content.decode()

    assert str(job.pk) not in html


def test_the_pages_need_the_permission(log_in: LogIn):
    worker = add_worker()
    stranger = log_in("view_job")

    for page in (
        url("workersession_changelist"),
        url("workersession_change", worker.pk),
    ):
        assert stranger.get(page).status_code == 403


def test_nothing_is_edited_or_deleted_here(chief: Client):
    worker = add_worker()
    path = url("workersession_changelist")

    assert chief.post(f"{path}add/").status_code == 403
    assert chief.post(f"{path}{worker.pk}/delete/", {"post": "yes"}).status_code == 403
    chief.post(url("workersession_change", worker.pk), {"state": "stopped"})

    worker.refresh_from_db()
    assert worker.state == "running"


@pytest.mark.parametrize("key", ["01890000-0000-7000-8000-000000000000", "nonsense"])
def test_an_unknown_worker_is_not_found(chief: Client, key: str):
    assert chief.get(url("workersession_change", key)).status_code == 404
