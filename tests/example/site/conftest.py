"""Fixtures: a worker of the example site, and the e-mail it has sent."""

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from example_project.atlas import catalogue
from example_project.atlas.models import Zone
from tests.support import RunningWorker, wait_until

ENVIRONMENT = {"DJANGO_SETTINGS_MODULE": "tests.example.settings"}
# The client follows a form's answer to the page of the job it has started.
Answer = Any


@pytest.fixture
def zones(transactional_db: None) -> None:
    """Have all zones in the database, without the changes of their clocks."""
    rows = catalogue.zones().values()
    Zone.objects.bulk_create([Zone(**row._asdict()) for row in rows])


@pytest.fixture
def tokyo(zones: None) -> Zone:
    """Have a zone whose clocks are never changed."""
    zone = Zone.objects.get(pk="Asia/Tokyo")
    zone.transitions.create(
        at=datetime(2016, 1, 1, tzinfo=UTC),
        offset_before=32400,
        offset_after=32400,
        abbreviation="JST",
    )
    return zone


@pytest.fixture
def worker(run_worker: Callable[..., Any]) -> Iterator[RunningWorker]:
    """Have a worker of the example site on the database of this test."""
    with run_worker("--processes", "1", env=ENVIRONMENT) as running:
        yield running


@pytest.fixture
def outbox() -> Iterator[Callable[[], list[EmailMessage]]]:
    """Return a function that reads the e-mail sent to files since the test began."""
    from example_project.atlas.views.mail import read_mails

    folder: Path = settings.OUTBOX_DIR

    def read() -> list[EmailMessage]:
        return [mail for file in folder.glob("*.log") for mail in read_mails(file)]

    yield read
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def shows(client: Client) -> Callable[..., Answer]:
    """Return a function that asks for a page until its text has certain words."""

    def look(url: str, *words: str, deadline: float = 15) -> Answer:
        def has_them() -> Answer:
            answer = client.get(url)
            text = answer.content.decode()
            return answer if all(word in text for word in words) else None

        return wait_until(
            has_them,
            deadline=deadline,
            pause=0.05,
            message=lambda: f"no {words} in:\n{client.get(url).content.decode()}",
        )

    return look
