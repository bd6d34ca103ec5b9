"""Have pictures drawn, and show them."""

from django.core.files.base import File
from django.db import transaction
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from django_workers.models import Job

from ..models import Picture, Zone
from ..tasks.pictures import SHOWN, draw_chart, make_thumbnail


@require_POST
def draw(request: HttpRequest, name: str) -> HttpResponse:
    """Have the daylight of one zone drawn; show the job."""
    zone = get_object_or_404(Zone, pk=name)
    result = draw_chart.enqueue(zone.name)
    return redirect("job", result.id)


@require_POST
def draw_many(request: HttpRequest) -> HttpResponse:
    """Have a dozen drawn, all enqueued by one statement."""
    there = Zone.objects.filter(name__in=SHOWN).values_list("name", flat=True)
    draw_chart.enqueue_many([((name,), {}) for name in there])
    return redirect("pictures")


@transaction.non_atomic_requests
@require_GET
def gallery(request: HttpRequest) -> HttpResponse:
    """Show all pictures there are, and how many are being made."""
    names = [draw_chart.key, make_thumbnail.key]
    context = {
        "pictures": Picture.objects.exclude(thumbnail="").select_related("zone"),
        "to_do": Job.objects.filter(task__in=names).unfinished().count(),
        "shown": len(SHOWN),
        "zones": Zone.objects.filter(name__in=SHOWN).exists(),
    }
    return render(request, "atlas/pictures.html", context)


@transaction.non_atomic_requests
@require_GET
def chart(request: HttpRequest, name: str) -> FileResponse:
    """Send a picture."""
    return _file(get_object_or_404(Picture, pk=name).chart)


@transaction.non_atomic_requests
@require_GET
def thumbnail(request: HttpRequest, name: str) -> FileResponse:
    """Send the small version of a picture."""
    return _file(get_object_or_404(Picture, pk=name).thumbnail)


def _file(stored: "File[bytes]") -> FileResponse:
    try:
        return FileResponse(stored.open(), content_type="image/png")
    except (FileNotFoundError, ValueError) as error:
        raise Http404("There is no such picture.") from error
