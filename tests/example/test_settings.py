"""What the example site takes from its environment."""

import json
import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.example.support import manage
from tests.support import ROOT

# The site under test is a copy that uses SQLite, whatever this session runs on.
pytestmark = [pytest.mark.sqlite, pytest.mark.thorough]

SHOW = "import json; from django.conf import settings as s; print(json.dumps({}))"


def shown(clone: Path, expression: str, **variables: str):
    """Return what an expression about the settings, `s`, says."""
    done = manage(clone, "shell", "-c", SHOW.format(expression), **variables)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_without_a_word_the_site_is_safe_and_asks_for_a_key(clone):
    refused = manage(clone, "check")

    assert refused.returncode != 0
    assert "SECRET_KEY" in refused.stderr
    assert shown(clone, "s.DEBUG", SECRET_KEY="k" * 50) is False


def test_the_demo_leaves_settings_for_the_commands_beside_it(clone):
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, clone)
    planned = subprocess.run(
        ["make", "--dry-run", "demo"],
        cwd=clone,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    shutil.copy(clone / ".env.example", clone / ".env")

    assert "cp .env.example .env" in planned
    assert manage(clone, "check").returncode == 0


def test_the_defaults_are_an_sqlite_file_five_jobs_and_five_minutes(clone):
    database, workers = shown(
        clone, "[s.DATABASES['default'], s.DJANGO_WORKERS]", DEBUG="True"
    )

    assert database["NAME"] == str(clone / "db.sqlite3")
    assert "journal_mode = WAL" in database["OPTIONS"]["init_command"]
    assert database["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert database["OPTIONS"]["timeout"] == 20
    assert workers == {"CONCURRENCY": 5, "TIMEOUT": 300}


def test_the_environment_decides(clone):
    names, engine, workers = shown(
        clone,
        "[s.ALLOWED_HOSTS, s.DATABASES['default']['ENGINE'], s.DJANGO_WORKERS]",
        SECRET_KEY="k" * 50,
        ALLOWED_HOSTS="a.example.com,b.example.com",
        DATABASE_URL="postgres://ada:secret@db.example.com/atlas",
        JOB_CONCURRENCY="8",
        JOB_TIMEOUT="1500",
    )

    assert names == ["a.example.com", "b.example.com"]
    assert engine == "django.db.backends.postgresql"
    assert workers == {"CONCURRENCY": 8, "TIMEOUT": 1.5}


def test_the_file_env_is_read_and_the_environment_beats_it(clone):
    (clone / ".env").write_text("DEBUG=True\nJOB_CONCURRENCY=3\n")
    concurrency = "s.DJANGO_WORKERS['CONCURRENCY']"

    assert shown(clone, concurrency) == 3
    assert shown(clone, concurrency, JOB_CONCURRENCY="4") == 4


def test_the_sample_file_names_exactly_what_is_read_and_works(clone):
    settings = (clone / "example_project" / "settings.py").read_text()
    sample = (clone / ".env.example").read_text()
    read = re.findall(r'(?:env\.\w+|database)\(\s*"([A-Z_]+)"', settings)
    named = re.findall(r"^#?([A-Z_]+)=", sample, re.MULTILINE)

    assert set(named) == set(read)
    shutil.copy(clone / ".env.example", clone / ".env")
    assert manage(clone, "check").returncode == 0


def test_a_site_without_debug_passes_the_checks_for_deployment(clone):
    done = manage(
        clone,
        *("check", "--deploy"),
        SECRET_KEY="".join(map(chr, range(40, 110))),
        ALLOWED_HOSTS="atlas.example.com",
    )

    # Two that only the owner of a domain can answer: whether all of its subdomains,
    # and browsers for ever, may rely on HTTPS.
    assert set(re.findall(r"\((\w+\.[EW]\d+)\)", done.stderr)) <= {
        "security.W005",
        "security.W021",
    }


def test_the_queue_may_have_a_database_of_its_own(clone):
    files = {name: clone / f"{name}.sqlite3" for name in ("data", "queue")}
    variables = {
        "DEBUG": "True",
        "DATABASE_URL": f"sqlite:///{files['data']}",
        "QUEUE_DATABASE_URL": f"sqlite:///{files['queue']}",
    }
    for arguments in (
        ["migrate", "-v", "0"],
        ["migrate", "-v", "0", "--database", "queue"],
        ["load_sample"],
        ["runworkers", "--burst", "--no-reload", "--processes", "1"],
    ):
        done = manage(clone, *arguments, **variables)
        assert done.returncode == 0, done.stderr

    def asked(name: str, question: str):
        with closing(sqlite3.connect(files[name])) as connection:
            return dict(connection.execute(question).fetchall())

    tables = "SELECT name, name FROM sqlite_master WHERE type = 'table'"
    assert not any(name.startswith("django_workers") for name in asked("data", tables))
    assert not any(name.startswith("atlas") for name in asked("queue", tables))
    by_task = "SELECT task, status FROM django_workers_job WHERE status != 'successful'"
    # One is there to fail; the report waits for its hour, the others for seconds.
    left = asked("queue", by_task)
    assert left.pop("trial:fail") == "failed"
    assert left.pop("report:changes") == "scheduled"
    assert left.keys() <= {"mail:almanac", "trial:retry"}
    counted = asked("data", "SELECT 'changes', COUNT(*) FROM atlas_transition")
    assert counted == {"changes": 4576}


def test_the_sample_file_lies_beside_manage_py():
    assert (ROOT / ".env.example").exists()
    assert (ROOT / "manage.py").exists()
