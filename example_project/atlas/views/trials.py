"""Start the tasks that do not go well, and the long one."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from ..tasks.trials import ask_time_server, visit_nowhere
from ..tasks.voyages import sail


@require_POST
def fail(request: HttpRequest) -> HttpResponse:
    """Enqueue what always fails."""
    return redirect("job", visit_nowhere.enqueue().id)


@require_POST
def retry(request: HttpRequest) -> HttpResponse:
    """Enqueue what fails twice, then works."""
    return redirect("job", ask_time_server.enqueue().id)


@require_POST
def sail_away(request: HttpRequest) -> HttpResponse:
    """Enqueue what takes a minute."""
    return redirect("job", sail.enqueue().id)
