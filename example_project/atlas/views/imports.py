"""Import the shipped file, and watch it arrive."""

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from django_workers.models import Job

from .. import catalogue
from ..models import Transition, Zone
from ..tasks.imports import CHUNK, import_everything, import_transitions


@transaction.non_atomic_requests
@require_GET
def page(request: HttpRequest) -> HttpResponse:
    """Show how much of the file is there: counting rows is all it takes."""
    jobs = Job.objects.filter(task=import_transitions.key)
    context = {
        "zones": Zone.objects.count(),
        "zone_count": len(catalogue.zones()),
        "imported": Transition.objects.count(),
        "change_count": catalogue.transition_count(),
        "chunk": CHUNK,
        "to_do": jobs.unfinished().count(),
        "failed": jobs.failed().count(),
    }
    return render(request, "atlas/import.html", context)


@require_POST
def start(request: HttpRequest) -> HttpResponse:
    """Enqueue the whole file; first remove what is there, if asked to."""
    if "again" in request.POST:
        Zone.objects.all().delete()
    # Not before the old rows are gone for the workers, too.
    transaction.on_commit(import_everything)
    return redirect("import")
