"""Projects that read from a replica, as Django's documentation shows it.

What is read about one job comes from one database: a replica may lag behind.
"""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils.connection import ConnectionDoesNotExist

from django_workers.models import Attempt, Job
from tests.admin.pages import text_of, url
from tests.admin.rows import add_attempt, add_job
from tests.tasks import add


class PrimaryReplicaRouter:
    """Reads of our rows go to an alias that does not exist: whoever asks it fails."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return "replica" if model._meta.app_label == "django_workers" else None

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "default"


@pytest.fixture(autouse=True)
def _reads_go_elsewhere(db: None, settings: Any) -> None:
    settings.DATABASE_ROUTERS = [PrimaryReplicaRouter()]
    settings.ROOT_URLCONF = "tests.admin.urls"


def failed_job() -> Job:
    job = add_job("failed")
    add_attempt(job)
    return Job.objects.using("default").get(pk=job.pk)


def test_the_router_is_asked_where_nobody_names_a_database():
    with pytest.raises(ConnectionDoesNotExist):
        Attempt.objects.exists()


def test_a_result_has_its_attempts_from_where_its_job_is():
    result = add.get_backend().get_result(str(failed_job().pk))

    assert [error.exception_class_path for error in result.errors] == [
        "builtins.ValueError"
    ]
    assert result.worker_ids == ["w-1"]


def test_a_jobs_errors_come_from_where_it_is():
    assert [error["exception"] for error in failed_job().errors] == [
        "builtins.ValueError"
    ]


def test_the_page_of_a_job_has_its_attempts_from_where_it_is():
    job = failed_job()
    for epoch in range(2, 40):
        add_attempt(job, epoch=epoch, number=epoch)
    client = Client()
    client.force_login(User.objects.create_superuser("chief"))

    page = client.get(url("job_change", job.pk))

    assert page.status_code == 200
    assert "no such number" in text_of(page)
    assert "Attempt 39" in text_of(page)
