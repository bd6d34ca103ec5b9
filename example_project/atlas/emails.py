"""What the site writes to people."""

from collections.abc import Sequence

from django.conf import settings
from django.core.mail import EmailMessage
from django.template.loader import render_to_string

from .models import Transition, Zone


class EmailService:
    """Fills in a template and sends it; the mail tasks are given one of these."""

    def __init__(self, *, sender: str = "") -> None:
        """`sender` is where messages come from: the site's own address unless given."""
        self.sender = sender or settings.DEFAULT_FROM_EMAIL

    def send_almanac(
        self, zone: Zone, *, to: str, changes: Sequence[Transition]
    ) -> str:
        """Tell somebody when the clocks of a zone change; return the subject.

        Raises OSError or SMTPException when the message cannot be handed over.
        """
        subject = f"The clocks of {zone.city}"
        context = {"zone": zone, "changes": changes}
        message = EmailMessage(
            subject=subject,
            body=render_to_string("atlas/mail/almanac.txt", context),
            from_email=self.sender,
            to=[to],
        )
        message.send()
        return subject
