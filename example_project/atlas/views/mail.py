"""Subscribe to a zone, and read what was sent while developing."""

from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from ..forms import SubscriptionForm
from ..models import Zone
from ..tasks.mail import send_almanac
from .world import zone_context

SHOWN = 30


@require_POST
def subscribe(request: HttpRequest, name: str) -> HttpResponse:
    """Save a subscription, and write to the subscriber once it is really saved."""
    form = SubscriptionForm(request.POST)
    if not form.is_valid():
        return render(request, "atlas/zone.html", zone_context(name, form), status=422)
    form.instance.zone = get_object_or_404(Zone, pk=name)
    subscription = form.save()
    # Enqueued when this request's transaction has committed: right even where the
    # queue lives in another database, whose workers could not see the row before.
    send_almanac.enqueue_on_commit(subscription.pk)
    messages.success(request, f"A message to {subscription.email} is on its way.")
    return redirect("zone", name)


@transaction.non_atomic_requests
@require_GET
def outbox(request: HttpRequest) -> HttpResponse:
    """Show the latest e-mail, which goes to files under DEBUG."""
    if not settings.DEBUG:
        raise Http404("E-mail is kept in files under DEBUG only.")
    files = sorted(settings.OUTBOX_DIR.glob("*.log"), reverse=True)
    context = {
        "mails": [
            {
                "subject": mail["Subject"],
                "to": mail["To"],
                "date": mail["Date"],
                "text": mail.get_content(),
            }
            for file in files[:SHOWN]
            for mail in read_mails(file)
        ],
        "folder": settings.OUTBOX_DIR,
    }
    return render(request, "atlas/outbox.html", context)


def read_mails(file: Path) -> list[EmailMessage]:
    """Read what Django's file backend has written: mails, divided by a line of 79 -."""
    parts = file.read_bytes().split(b"\n" + b"-" * 79 + b"\n")
    return [
        message_from_bytes(part, policy=policy.default)
        for part in parts
        if part.strip()
    ]
