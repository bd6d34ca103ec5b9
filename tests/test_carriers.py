"""Carriers: what is captured where a job is enqueued, and what is refused."""

import json
from contextvars import ContextVar
from datetime import UTC, timedelta
from datetime import timezone as fixed
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import pytest
from django.test import override_settings
from django.utils import timezone, translation

from django_workers import carriers, task
from django_workers.carriers import (
    METADATA_KEY,
    ContextVarCarrier,
    LanguageCarrier,
    TimeZoneCarrier,
    capture,
    restored,
)
from django_workers.checks import check_settings
from django_workers.exceptions import ConfigurationError, UnencodableValue
from django_workers.models import Job

TENANT: ContextVar[Any] = ContextVar("tenant")
HERE = __name__


class TenantCarrier(ContextVarCarrier):
    name = "tenant"
    variable = TENANT


class LoudCarrier:
    """Notes in which order values are restored and put back."""

    name = "loud"
    heard: ClassVar[list[str]] = []

    def capture(self) -> str:
        return "loud"

    def restore(self, value: str) -> Any:
        from contextlib import contextmanager

        @contextmanager
        def said() -> Any:
            self.heard.append(f"restored {value}, tenant {TENANT.get('none')}")
            yield
            self.heard.append("put back")

        return said()


class AnotherTenant(TenantCarrier):
    pass


class Nameless(ContextVarCarrier):
    variable = TENANT


class NumberedCarrier(TenantCarrier):
    name = 5  # type: ignore[assignment]


class NeedsArguments(TenantCarrier):
    def __init__(self, tenant: str) -> None:
        self.tenant = tenant


class NotOne:
    name = "not one"


@task
def noop() -> None:
    pass


@pytest.fixture(autouse=True)
def no_tenant() -> Any:
    token = TENANT.set(None)
    yield
    TENANT.reset(token)


def use(settings: Any, *names: str) -> None:
    settings.DJANGO_WORKERS = {"CARRIERS": [f"{HERE}.{name}" for name in names]}


# Language and time zone travel by themselves


def test_what_is_the_sites_own_does_not_travel():
    with translation.override("en"), timezone.override("UTC"):
        assert capture() == {}


def test_the_language_and_the_time_zone_travel():
    with translation.override("de"), timezone.override("Asia/Tokyo"):
        captured = capture()

    assert captured == {"language": "de", "timezone": "Asia/Tokyo"}
    with restored(captured):
        assert translation.get_language() == "de"
        assert timezone.get_current_timezone_name() == "Asia/Tokyo"
    assert translation.get_language() == "en"
    assert timezone.get_current_timezone_name() == "UTC"


def test_no_language_at_all_does_not_travel():
    with translation.override(None):
        assert LanguageCarrier().capture() is None


def test_a_zone_travels_by_its_name():
    with timezone.override(ZoneInfo("Europe/Berlin")):
        assert TimeZoneCarrier().capture() == "Europe/Berlin"


@pytest.mark.parametrize(
    "zone",
    [
        fixed(timedelta(hours=2)),
        fixed(timedelta(hours=-9, minutes=-30), "Marquesas"),
        timezone.get_fixed_timezone(330),
        fixed(timedelta(seconds=-75)),
    ],
    ids=["hours", "named", "Django's", "seconds"],
)
def test_a_zone_without_a_name_travels_as_its_offset(zone: Any):
    with timezone.override(zone):
        carried = json.loads(json.dumps(capture()))

    with restored(carried):
        now = timezone.localtime()
        assert now.utcoffset() == zone.utcoffset(None)


def test_utc_travels_by_its_name(settings: Any):
    settings.TIME_ZONE = "Asia/Tokyo"

    with timezone.override(UTC):
        assert TimeZoneCarrier().capture() == "UTC"


def test_the_sites_own_is_what_the_settings_say():
    with (
        override_settings(LANGUAGE_CODE="de", TIME_ZONE="Asia/Tokyo"),
        translation.override("de"),
        timezone.override("Asia/Tokyo"),
    ):
        assert capture() == {}


# A carrier of one's own


def test_a_context_variable_travels(settings: Any):
    use(settings, "TenantCarrier")
    assert capture() == {}, "None carries nothing"

    TENANT.set({"id": 5})
    captured = capture()
    TENANT.set("mine")

    assert captured == {"tenant": {"id": 5}}
    with restored(captured):
        assert TENANT.get() == {"id": 5}
    assert TENANT.get() == "mine"


def test_the_value_is_put_back_after_an_error(settings: Any):
    use(settings, "TenantCarrier")

    with pytest.raises(ZeroDivisionError), restored({"tenant": 5}):
        raise ZeroDivisionError

    assert TENANT.get() is None


def test_values_are_restored_in_the_order_of_the_setting(settings: Any):
    use(settings, "TenantCarrier", "LoudCarrier")
    LoudCarrier.heard.clear()

    with restored({"loud": "x", "tenant": 7}):
        pass

    assert LoudCarrier.heard == ["restored x, tenant 7", "put back"]


def test_a_value_without_a_carrier_is_left_out(settings: Any):
    use(settings, "TenantCarrier")

    with restored({"language": "de", "gone": 5}):
        assert translation.get_language() == "en"


def test_no_carrier_at_all_is_fine(settings: Any):
    settings.DJANGO_WORKERS = {"CARRIERS": []}

    with translation.override("de"):
        assert capture() == {}
    assert list(carriers.carriers()) == []


@pytest.mark.django_db
def test_what_is_captured_stands_in_the_metadata(settings: Any):
    use(settings, "TenantCarrier")
    TENANT.set("acme")

    result = noop.using(metadata={"user": 5}).enqueue()

    expected = {"user": 5, METADATA_KEY: {"tenant": "acme"}}
    assert result.metadata == Job.objects.get().metadata == expected
    again = noop.using(metadata=result.metadata).enqueue()
    assert again.metadata == expected, "a result's metadata may be used again"


@pytest.mark.django_db
def test_a_value_json_cannot_hold_is_refused_at_the_call(settings: Any):
    use(settings, "TenantCarrier")
    TENANT.set(object())

    with pytest.raises(UnencodableValue, match="tenant"):
        noop.enqueue()


# What is no carrier


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (f"{HERE}.Nothing", "cannot be imported"),
        ("tests.no_such_module.Carrier", "cannot be imported"),
        (f"{HERE}.Nameless", "no carrier: .*name"),
        (f"{HERE}.NumberedCarrier", "its name is no text"),
        (f"{HERE}.NeedsArguments", "no carrier: .*tenant"),
        (f"{HERE}.NotOne", "no carrier: .*capture"),
        (f"{HERE}.noop", "no carrier"),
        (f"{HERE}.HERE", "no carrier"),
    ],
)
def test_what_is_no_carrier_is_refused(settings: Any, path: str, said: str):
    settings.DJANGO_WORKERS = {"CARRIERS": [path]}

    with pytest.raises(ConfigurationError, match=said):
        capture()
    (message,) = check_settings()
    assert message.id == "django_workers.E013"
    assert path in message.msg
    assert message.hint


def test_two_carriers_of_one_name_are_refused(settings: Any):
    use(settings, "TenantCarrier", "AnotherTenant")

    with pytest.raises(ConfigurationError, match="'tenant' too"):
        capture()
    (message,) = check_settings()
    assert message.id == "django_workers.E013"
    assert message.hint
