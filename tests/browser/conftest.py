"""A real browser on a real server, under a policy that allows nothing inline."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User

CHROMIUM = "/usr/bin/chromium"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Return the browser; one for the session, each test has a profile of its own."""
    from playwright.sync_api import sync_playwright

    # Playwright keeps an event loop in this thread, where Django would refuse to ask
    # the database, though nothing here is async.
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        yield browser
        browser.close()
    if before is None:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def server(transactional_db: None, settings: Any) -> Iterator[str]:
    """Return the address of the site, served with a strict policy."""
    from pytest_django.live_server_helper import LiveServer

    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.browser.policy.StrictPolicy"]
    live = LiveServer("localhost")
    yield live.url
    live.stop()


class Visitor:
    """One window of the browser; whatever its console complains about is kept."""

    def __init__(self, context: Any, server: str) -> None:
        self.server = server
        self.complaints: list[str] = []
        self.page = context.new_page()
        self.page.on("console", self._note_console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _note_console(self, message: Any) -> None:
        # The browser asks for an icon by itself; that there is none is nobody's fault.
        if message.type in ("error", "warning") and "favicon" not in str(
            message.location
        ):
            self.complaints.append(message.text)

    def go(self, address: str) -> None:
        """Open a page of the site and wait until it has loaded."""
        response = self.page.goto(self.server + address)
        assert response.status == 200, (address, response.status)

    def log_in(self) -> None:
        """Log in as the superuser, through the form."""
        self.page.goto(f"{self.server}/admin/login/?next=/admin/")
        self.page.fill("#id_username", "ada")
        self.page.fill("#id_password", "countess")
        self.page.click("input[type=submit]")
        self.page.wait_for_url(f"{self.server}/admin/")


@pytest.fixture
def visit(chromium: Any, server: str) -> Iterator[Any]:
    """Return a function that opens a window, logged in; no console may complain."""
    User.objects.create_superuser("ada", password="countess")
    contexts: list[Any] = []
    visitors: list[Visitor] = []

    def visit(*, width: int = 1280, **options: Any) -> Visitor:
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, **options
        )
        context.set_default_timeout(15_000)
        contexts.append(context)
        visitor = Visitor(context, server)
        visitors.append(visitor)
        visitor.log_in()
        return visitor

    yield visit
    complaints = [text for visitor in visitors for text in visitor.complaints]
    for context in contexts:
        context.close()
    assert complaints == []
