"""The documents hold together: their links, their examples, the tests they name."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from tests.docs.pages import Page, Snippet, page, pages
from tests.support import ROOT

PAGES = pages()
SNIPPETS = [snippet for each in PAGES for snippet in each.snippets]

PYTHON = ["Programming Language", "Python"]
DJANGO = ["Framework", "Django"]

WORDS = (
    "A task is the function you declare (Django's own word). A job is one queued run "
    "of it, a row of the model `Job`: this is the task model that other queues call "
    "`Task`, the `WorkerTask` of database queues, the job of Celery-like ones. A "
    "worker's heartbeat is its `WorkerSession` row."
)


@pytest.mark.parametrize("each", PAGES, ids=lambda each: each.name)
def test_internal_links_lead_somewhere(each: Page):
    broken = [link for link in each.links if not leads_somewhere(each, link)]

    assert broken == []


def leads_somewhere(start: Page, link: str) -> bool:
    if re.match(r"[a-z]+:", link):
        return True  # another site: not ours to check
    name, _, anchor = link.partition("#")
    path = (start.path.parent / name).resolve() if name else start.path
    if not path.exists():
        return False
    return not anchor or anchor in page(path.relative_to(ROOT).as_posix()).anchors


@pytest.mark.parametrize("each", PAGES, ids=lambda each: each.name)
def test_every_test_that_is_named_exists(each: Page):
    missing = [name for name in each.test_ids if not exists(name)]

    assert missing == []


def exists(test_id: str) -> bool:
    name, *steps = test_id.split("::")
    path = ROOT / name
    if not path.exists():
        return False
    body: list[ast.stmt] = ast.parse(path.read_text()).body
    for step in steps:
        found = [
            node
            for node in body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and node.name == step
        ]
        if not found:
            return False
        body = found[0].body
    return not steps or steps[-1].startswith("test_")


@pytest.mark.parametrize(
    "snippet", [s for s in SNIPPETS if s.language == "python"], ids=str
)
def test_python_compiles(snippet: Snippet):
    # A snippet may wait for something, as a coroutine or a shell would.
    compile(
        snippet.code,
        str(snippet),
        "exec",
        flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        dont_inherit=True,
    )


def test_every_block_of_code_says_its_language():
    assert [str(snippet) for snippet in SNIPPETS if not snippet.language] == []


@pytest.mark.parametrize("each", PAGES, ids=lambda each: each.name)
def test_nobody_is_told_to_install_somebody_elses_package(each: Page):
    assert not re.search(r"pip install [^\n]*\bdjango[-_]workers\b", each.text)


@pytest.mark.parametrize("name", ["README.md", "docs/glossary.md"])
def test_the_words_stand_on_the_first_screen(name: str):
    assert WORDS in " ".join(page(name).text[:6_000].split())


@pytest.mark.parametrize("folder", ["docs", "docs/decisions"])
def test_the_index_names_every_page(folder: str):
    index = page(f"{folder}/README.md")

    listed = {(index.path.parent / link).resolve() for link in index.links}

    assert unlisted(ROOT / folder, listed) == []


def unlisted(folder: Path, listed: set[Path]) -> list[str]:
    return [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*.md"))
        if path not in listed
        and path != folder / "README.md"
        and path.parent.name != "decisions"
    ] + [
        path.name
        for path in sorted(folder.glob("[0-9]*.md"))
        if path.resolve() not in listed
    ]


def test_the_badges_say_what_the_metadata_says():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [line.split(" :: ") for line in project["classifiers"]]
    pythons = [words[-1] for words in named if words[:2] == PYTHON and "." in words[-1]]
    djangos = [words[-1] for words in named if words[:2] == DJANGO and len(words) == 3]
    facts = {
        "badge-python.svg": f"Python {pythons[0]} to {pythons[-1]}",
        "badge-django.svg": f"Django {', '.join(djangos[:-1])} and {djangos[-1]}",
        "badge-licence.svg": f"{project['license']} licence",
    }

    for name, fact in facts.items():
        assert f"<title>{fact}</title>" in (ROOT / "docs/images" / name).read_text()
        assert f"![{fact}](docs/images/{name})" in page("README.md").text
