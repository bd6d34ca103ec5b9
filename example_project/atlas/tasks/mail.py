"""Write to people."""

from smtplib import SMTPException

from django.utils import timezone

from django_workers import Cancel, Snooze, exponential, task

from ..emails import EmailService
from ..models import Subscription

# What the task sends with. Whoever wants it done otherwise, such as a test, puts
# another one here.
service = EmailService()


@task(
    name="mail:almanac",
    queue_name="mail",
    priority="high",
    max_attempts=5,
    backoff=exponential(initial=2, cap=300),
    # What a mail server that is away looks like. Anything else is our own mistake,
    # which another attempt would not mend.
    retry_on=(OSError, SMTPException),
    timeout=30,
)
def send_almanac(subscription_id: int) -> str:
    """Send a subscriber the next changes of a zone's clocks; return the subject."""
    found = Subscription.objects.select_related("zone").filter(pk=subscription_id)
    subscription = found.first()
    if subscription is None:
        raise Cancel("the subscription is gone")
    changes = subscription.zone.transitions.all()
    if not changes.exists():
        # Each zone has at least one line. It has not been imported yet: look again
        # later, which counts as no attempt.
        raise Snooze(5)
    coming = changes.filter(at__gt=timezone.now())
    return service.send_almanac(
        subscription.zone, to=subscription.email, changes=list(coming[:6])
    )
