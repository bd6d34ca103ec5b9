"""Addresses of the atlas."""

from django.urls import path

from .views import (
    health,
    imports,
    jobs,
    mail,
    meetings,
    pictures,
    reports,
    trials,
    world,
)

urlpatterns = [
    path("", world.front, name="front"),
    path("zones/", world.zones, name="zones"),
    path("zones/<path:name>/draw/", pictures.draw, name="draw"),
    path("zones/<path:name>/subscribe/", mail.subscribe, name="subscribe"),
    path("zones/<path:name>/chart.png", pictures.chart, name="chart"),
    path("zones/<path:name>/thumbnail.png", pictures.thumbnail, name="thumbnail"),
    path("zones/<path:name>/", world.zone, name="zone"),
    path("import/", imports.page, name="import"),
    path("import/start/", imports.start, name="start_import"),
    path("pictures/", pictures.gallery, name="pictures"),
    path("pictures/draw/", pictures.draw_many, name="draw_many"),
    path("meeting/", meetings.planner, name="meeting"),
    path("reports/", reports.page, name="reports"),
    path("reports/<int:pk>.csv", reports.download, name="report"),
    path("health/", health.page, name="health"),
    path("health/check/", health.check, name="check_health"),
    path("outbox/", mail.outbox, name="outbox"),
    path("trials/fail/", trials.fail, name="fail"),
    path("trials/retry/", trials.retry, name="retry"),
    path("trials/sail/", trials.sail_away, name="sail"),
    path("jobs/", jobs.latest, name="jobs"),
    path("jobs/<uuid:job_id>/", jobs.status, name="job"),
    path("jobs/<uuid:job_id>/cancel/", jobs.cancel, name="cancel_job"),
    path("jobs/<uuid:job_id>/run-now/", jobs.run_now, name="run_job_now"),
]
