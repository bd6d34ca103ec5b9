"""The front page, the list of zones, and the page of each."""

from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.db.models import F, Min, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.http import require_GET

from .. import catalogue
from ..forms import SubscriptionForm
from ..models import Picture, Transition, Zone
from ..worldmap import draw_map
from .jobs import latest_jobs


# Pages that only read need no transaction. That matters most on SQLite, where one would
# take the write lock.
@transaction.non_atomic_requests
@require_GET
def front(request: HttpRequest) -> HttpResponse:
    """Show the world, what can be done here, and the latest jobs."""
    now = datetime.now(UTC)
    context = {
        "map": draw_map(Zone.objects.all(), now),
        "now": now,
        "zone_count": len(catalogue.zones()),
        "change_count": catalogue.transition_count(),
        "imported": Transition.objects.exists(),
        **latest_jobs(),
    }
    return render(request, "atlas/front.html", context)


@transaction.non_atomic_requests
@require_GET
def zones(request: HttpRequest) -> HttpResponse:
    """List the zones whose name or country has some words in it."""
    words = request.GET.get("q", "").strip()
    region = request.GET.get("region", "")
    found = with_next_change(Zone.objects.all())
    for word in words.replace(" ", "_").split("_"):
        found = found.filter(Q(name__icontains=word) | Q(country__icontains=word))
    if region:
        found = found.filter(name__startswith=f"{region}/")
    context = {
        "zones": found,
        "words": words,
        "region": region,
        "regions": sorted({name.partition("/")[0] for name in catalogue.zones()}),
    }
    return render(request, "atlas/zones.html", context)


@transaction.non_atomic_requests
@require_GET
def zone(request: HttpRequest, name: str) -> HttpResponse:
    """Show one zone: its time, its daylight, and every change of its clocks."""
    return render(request, "atlas/zone.html", zone_context(name))


def zone_context(name: str, form: SubscriptionForm | None = None) -> dict[str, Any]:
    """What the page of a zone shows; raises Http404 for one that is not there."""
    found = get_object_or_404(Zone, pk=name)
    now = timezone.now()
    # A zone's first line says how its clocks stood, not that they changed.
    changes = found.transitions.exclude(offset_before=F("offset_after"))
    return {
        "zone": found,
        "picture": Picture.objects.exclude(chart="").filter(zone=found).first(),
        "coming": changes.filter(at__gt=now),
        "past": changes.filter(at__lte=now).order_by("-at"),
        "form": form or SubscriptionForm(),
    }


def with_next_change(zones: QuerySet[Zone]) -> QuerySet[Zone]:
    """Add when the clocks of each change next, as `next_change`."""
    coming = Q(transitions__at__gt=timezone.now())
    return zones.annotate(next_change=Min("transitions__at", filter=coming))
