"""The servers that the tests bring along, and the addresses they hand out."""

import sys

import environ
import pytest

from tests.databases import PostgresServer, run_beside, url_of


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////tmp/a/b.sqlite3",
        "postgresql://postgres@/postgres?host=/tmp/a/data",
        "postgresql://me:p%40ss@db.example:5433/shop",
        "mysql://root@localhost/shop?unix_socket=/tmp/a/socket",
    ],
)
def test_an_address_survives_the_way_through_django(url):
    settings = environ.Env.db_url_config(url)
    options = settings.setdefault("OPTIONS", {})
    settings["HOST"] = options.get("host", settings["HOST"])

    assert url_of(settings) == url


def test_the_exit_code_of_the_command_is_passed_on():
    assert run_beside("sqlite", [sys.executable, "-c", "raise SystemExit(7)"]) == 7


def test_a_given_database_of_another_kind_is_not_used(monkeypatch, tmp_path):
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@nowhere/nothing")
    seen = tmp_path / "seen"
    code = (
        f"import os; open({str(seen)!r}, 'w').write(str('DATABASE_URL' in os.environ))"
    )

    run_beside("sqlite", [sys.executable, "-c", code])

    assert seen.read_text() == "False"


@pytest.mark.postgresql
def test_a_server_keeps_its_data_through_a_crash():
    import psycopg

    with PostgresServer() as server:
        with psycopg.connect(server.dsn) as connection:
            connection.execute("CREATE TABLE kept ()")

        server.restart("immediate")

        with psycopg.connect(server.url) as connection:
            connection.execute("SELECT FROM kept")
    assert not server.folder.exists()
