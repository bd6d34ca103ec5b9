"""Read the documents: their tables, code, links and the tests they name."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from tests.support import ROOT

_FENCE = re.compile(r"^( *)```(\w*)([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_IMAGE = re.compile(r"""(?:!\[[^\]]*\]\(|\b(?:src|srcset)=")([^)\s"]+)""")
_TEST_ID = re.compile(r"`(tests/[\w/]+\.py(?:::\w+)*)`")


@dataclass(frozen=True)
class Snippet:
    """A block of code. `words` are what stands behind the language in its fence."""

    page: str
    line: int
    language: str
    words: tuple[str, ...]
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Table:
    """A table below the heading `section`, its rows by the names of its columns."""

    section: str
    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]

    def column(self, name: str) -> list[str]:
        """Return one column, without the backticks of a cell that is all code."""
        return [code_of(row[name]) for row in self.rows]


class Page:
    """One Markdown file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.relative_to(ROOT).as_posix()
        self.text = path.read_text()

    @cached_property
    def prose(self) -> str:
        """The text without its blocks of code and its comments."""
        return _COMMENT.sub("", _FENCE.sub("", self.text))

    @property
    def snippets(self) -> list[Snippet]:
        """Every block of code."""
        return [
            Snippet(
                page=self.name,
                line=self.text.count("\n", 0, found.start()) + 1,
                language=found[2],
                words=tuple(found[3].split()),
                code=_dedented(found[4], len(found[1])),
            )
            for found in _FENCE.finditer(self.text)
        ]

    @property
    def anchors(self) -> set[str]:
        """The names under which the page's headings can be linked."""
        return {_anchor(found[1]) for found in _HEADING.finditer(self.prose)}

    @property
    def links(self) -> list[str]:
        """The targets of its links and images."""
        return [*_LINK.findall(self.prose), *_IMAGE.findall(self.text)]

    @property
    def test_ids(self) -> list[str]:
        """The tests it names."""
        return _TEST_ID.findall(self.prose)

    @property
    def tables(self) -> list[Table]:
        """Its tables, in order."""
        return list(_tables(self.prose))

    def table(self, *columns: str, section: str = "") -> Table:
        """Return the first table that begins with these columns, below a heading."""
        for table in self.tables:
            if table.columns[: len(columns)] == columns and section in table.section:
                return table
        raise AssertionError(f"{self.name} has no table {columns} below {section!r}")


def page(name: str) -> Page:
    """Return a page by its path from the root."""
    return _page(ROOT / name)


@lru_cache
def _page(path: Path) -> Page:
    return Page(path)


def pages() -> list[Page]:
    """Return every document of the project."""
    top = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")]
    return [_page(path) for path in [*top, *sorted((ROOT / "docs").rglob("*.md"))]]


def code_of(cell: str) -> str:
    """Return what a cell holds, without the backticks if all of it is code."""
    found = re.fullmatch(r"`([^`]*)`", cell)
    return found[1] if found else cell


def literal(cell: str) -> Any:
    """Return the Python value a cell shows."""
    return ast.literal_eval(code_of(cell))


def _tables(text: str) -> Iterator[Table]:
    section, lines = "", []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            lines.append(line)
            continue
        if lines:
            columns, _, *rows = [_cells(line) for line in lines]
            yield Table(
                section,
                tuple(columns),
                tuple(dict(zip(columns, row, strict=True)) for row in rows),
            )
            lines = []
        if line.startswith("#"):
            section = line.lstrip("# ")


def _cells(line: str) -> list[str]:
    cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
    return [cell.strip().replace(r"\|", "|") for cell in cells]


def _anchor(heading: str) -> str:
    """Return the name that code browsers give a heading."""
    words = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return words.replace(" ", "-")


def _dedented(code: str, indent: int) -> str:
    return "".join(line[indent:] for line in code.splitlines(keepends=True))
