"""The models as Django's own checks see them."""

import pytest
from django.apps import apps
from django.core.checks import run_checks


@pytest.mark.mariadb
@pytest.mark.postgresql
@pytest.mark.sqlite
@pytest.mark.django_db
def test_no_database_is_said_to_lack_what_the_models_need():
    said = run_checks(
        app_configs=[apps.get_app_config("django_workers")], databases=["default"]
    )

    assert [message for message in said if message.id.startswith("models.")] == []
