"""The strictest policy that a site could have."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse


class StrictPolicy:
    """Middleware: everything from this site, nothing inline, on every Django."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers["Content-Security-Policy"] = "default-src 'self'"
        return response
