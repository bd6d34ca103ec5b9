"""The story of a job as an operator sees it, in a real browser with a real worker."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from django_workers import control
from django_workers.models import Job
from tests.admin.rows import add_job
from tests.support import wait_until
from tests.tasks import fail_until

pytestmark = pytest.mark.browser


def wait_for_status(visitor: Any, status: str) -> None:
    """Reload the page of a job until it shows the status."""

    def is_shown() -> bool:
        visitor.page.reload()
        pill = visitor.page.locator(".dw-head-line .dw-pill").first
        return bool(pill.inner_text() == status)

    wait_until(is_shown, deadline=20, pause=0.1, message=f"it is not {status}")


def test_a_job_fails_is_retried_and_succeeds(
    visit: Any, run_worker: Callable[..., Any], tmp_path: Path
):
    operator = visit()
    page = operator.page
    notes = tmp_path / "attempts"
    with run_worker():
        # Enqueue a task that fails three times, with the form of its page.
        page.click("text=Task dashboard")
        page.click("nav.dw-tabs >> text=Tasks")
        page.click("text=tests.tasks.fail_until")
        page.fill("#id_args", f'["{notes}", 4]')
        page.click("button:text-is('Enqueue')")
        page.click(".messagelist a")

        # See it fail, with what went wrong in each attempt.
        wait_for_status(operator, "failed")
        text = page.inner_text("#content")
        assert "Attempt 3" in text
        assert "ValueError" in text
        assert 'raise ValueError(f"attempt {attempt}")' in text

        # Retry it, and see it succeed.
        page.click("button:text-is('Retry')")
        assert "1 job will run again" in page.inner_text(".messagelist")
        wait_for_status(operator, "successful")
        text = page.inner_text("#content")
        assert "Attempt 4" in text
        assert page.inner_text("section[aria-labelledby=dw-result-title] pre") == "4"

    assert page.locator("button:text-is('Retry')").count() == 0
    assert len(notes.read_text().splitlines()) == 4


def test_the_dashboard_shows_a_failure_by_itself_and_retries_it(
    visit: Any,
    run_worker: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("django_workers.admin.site.REFRESH_SECONDS", 0.2)
    operator = visit()
    operator.go("/admin/django_workers/")
    figure = operator.page.locator
    with run_worker():
        # No reload: the page's own script brings the news.
        result = fail_until.enqueue(str(tmp_path / "attempts"), 4)
        figure("[data-figure=failed] >> text=/^1$/").wait_for()
        figure(f"a[href*='{result.id}']").first.wait_for()

        operator.page.click(f"form[action*='{result.id}'] >> button")

        assert operator.page.url.endswith("/admin/django_workers/")
        figure("[data-figure=completed] >> text=/^1$/").wait_for()
        figure("[data-figure=failed] >> text=/^0$/").wait_for()


def test_jobs_are_chosen_and_acted_upon_in_the_list(visit: Any):
    jobs = [add_job("failed", queue="mail") for _ in range(3)]
    operator = visit()
    operator.go("/admin/django_workers/job/?status=failed")
    page = operator.page

    page.check(f"input[value='{jobs[0].pk}']")
    page.check(f"input[value='{jobs[1].pk}']")
    page.select_option("select[name=action]", "retry_jobs")
    page.click("button[name=index]")

    assert page.url.endswith("?status=failed")
    assert "2 jobs will run again" in page.inner_text(".messagelist")
    page.wait_for_load_state()
    assert page.locator("#result_list tbody tr").count() == 1
    page.click("text=Retry…")
    assert "Jobs it changes" in page.inner_text("#content")
    page.click("form.dw-actions button")
    assert Job.objects.filter(status="ready").count() == 3


def test_a_queue_is_paused_with_a_reason(visit: Any):
    add_job(queue="mail")
    operator = visit()
    operator.go("/admin/django_workers/queue/")
    page = operator.page

    page.check("input[name=queue][value=mail]")
    page.fill("input[name=reason]", "the server is away")
    page.click("button[name=action][value=pause]")

    assert "paused" in page.inner_text(".dw-table")
    assert "the server is away" in page.inner_text(".dw-table")
    page.click("button[aria-label='Resume mail']")
    assert "open" in page.inner_text(".dw-table")


def test_everything_works_without_javascript(visit: Any):
    job = add_job("failed")
    running = add_job("running")
    operator = visit(java_script_enabled=False)
    page = operator.page

    operator.go("/admin/django_workers/")
    assert not page.is_visible("#dw-refresh")
    page.click(f"form[action*='{job.pk}'] >> button")
    assert "1 job will run again" in page.inner_text(".messagelist")
    page.click(f"form[action*='{running.pk}'] >> button")
    assert "asked to stop" in page.inner_text(".messagelist")
    operator.go("/admin/django_workers/job/")
    page.select_option("select[name=task]", "tests.tasks.add")
    page.click("button:text-is('Filter')")
    assert "task=tests.tasks.add" in page.url
    assert page.locator("#result_list tbody tr").count() == 2


def test_the_live_part_waits_while_somebody_works_in_it(
    visit: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("django_workers.admin.site.REFRESH_SECONDS", 0.2)
    add_job("failed")
    operator = visit()
    operator.go("/admin/django_workers/")
    page = operator.page
    state = page.locator("#dw-refresh-state")
    button = page.locator(".dw-do button").first

    button.focus()
    page.locator("#dw-refresh-state >> text=/Waits while/").wait_for()
    add_job("failed")
    assert button.evaluate("it => it === document.activeElement")
    button.blur()
    page.locator("[data-figure=failed] >> text=/^2$/").wait_for()
    assert "Live" in state.inner_text()


def test_the_live_part_can_be_paused_and_keeps_what_is_open(
    visit: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("django_workers.admin.site.REFRESH_SECONDS", 0.2)
    operator = visit()
    operator.go("/admin/django_workers/")
    page = operator.page

    page.click("#dw-chart-table summary")
    page.evaluate("document.activeElement.blur()")
    add_job("failed")
    page.locator("[data-figure=failed] >> text=/^1$/").wait_for()
    assert page.locator("#dw-chart-table[open]").count() == 1

    page.click("#dw-refresh-toggle")
    assert page.inner_text("#dw-refresh-state") == "Paused"
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    add_job("failed")
    page.wait_for_timeout(600)
    assert requests == []
    page.click("#dw-refresh-toggle")
    page.locator("[data-figure=failed] >> text=/^2$/").wait_for()


def test_the_page_of_a_job_refreshes_itself_until_it_has_ended(
    visit: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("django_workers.admin.site.REFRESH_SECONDS", 0.2)
    job = add_job("running")
    operator = visit()
    operator.go(f"/admin/django_workers/job/{job.pk}/change/")
    page = operator.page
    pill = page.locator(".dw-head-line .dw-pill").first

    # What is filled in is not taken away.
    page.fill("#dw-reason", "ordered twice")
    page.evaluate("document.activeElement.blur()")
    page.locator("#dw-refresh-state >> text=/Waits while/").wait_for()
    control.cancel(job.pk)
    assert pill.inner_text() == "running"
    page.fill("#dw-reason", "")
    page.evaluate("document.activeElement.blur()")
    page.locator(".dw-head-line .dw-pill >> text=stopping").wait_for()

    now = timezone.now()
    Job.objects.update(status="cancelled", session=None, finished_at=now)
    page.locator(".dw-head-line .dw-pill >> text=cancelled").wait_for()
    assert not page.is_visible("#dw-refresh")
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.wait_for_timeout(600)
    assert requests == []


def test_it_tries_again_later_when_no_answer_comes(
    visit: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("django_workers.admin.site.REFRESH_SECONDS", 0.2)
    operator = visit()
    operator.go("/admin/django_workers/")
    page = operator.page

    page.route("**/live/", lambda route: route.abort())
    page.locator("#dw-refresh-state >> text=/No answer/").wait_for()
    page.unroute("**/live/")
    page.locator("#dw-refresh-state >> text=/Live/").wait_for()
    assert control.stats()["total"] == 0
    # The requests that were cut off are what the console complains about here.
    operator.complaints.clear()


def test_it_says_when_the_session_has_ended(
    visit: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("django_workers.admin.site.REFRESH_SECONDS", 0.2)
    operator = visit()
    operator.go("/admin/django_workers/")

    operator.page.context.clear_cookies()

    operator.page.locator("#dw-refresh-state >> text=/Signed out/").wait_for()
