"""What the health checks have found."""

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from django_workers import control

from ..models import HealthReport
from ..tasks.health import check_health


@transaction.non_atomic_requests
@require_GET
def page(request: HttpRequest) -> HttpResponse:
    """Show the latest checks, and how the queue is right now."""
    context = {"reports": HealthReport.objects.all()[:12], "queue": control.health()}
    return render(request, "atlas/health.html", context)


@require_POST
def check(request: HttpRequest) -> HttpResponse:
    """Run the check that the clock runs every ten minutes, now."""
    return redirect("job", check_health.enqueue().id)
