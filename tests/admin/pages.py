"""Reading pages: links, messages, what stands where."""

import re
from html import unescape
from html.parser import HTMLParser
from typing import Any

from django.urls import reverse

INLINE_HANDLER = re.compile(r"^on[a-z]+$")


def url(name: str, *args: object, site: str = "admin") -> str:
    """Return the address of one of our pages on a site."""
    return reverse(f"admin:django_workers_{name}", args=args, current_app=site)


def text_of(response: Any) -> str:
    """Return the page as text without tags, spaces run together."""
    html = response.content.decode()
    html = re.sub(r"<(script|style).*?</\1>", " ", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html))).strip()


def messages_of(response: Any) -> list[str]:
    """Return the messages the visitor was shown, as text."""
    return [
        re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", "", str(message))))
        for message in response.context["messages"]
    ]


class _Inline(HTMLParser):
    """Collects what a strict content security policy would refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "style" or "style" in values:
            self.found.append(f"<{tag} style>")
        self.found += [
            f"<{tag} {name}>" for name in values if INLINE_HANDLER.match(name)
        ]
        if (values.get("href") or "").strip().lower().startswith("javascript:"):
            self.found.append(f"<{tag} href=javascript:>")
        data = values.get("type") in ("application/json", "text/template")
        self._inside = "script" if tag == "script" and not data else ""

    def handle_data(self, data: str) -> None:
        if self._inside and data.strip():
            self.found.append(f"<script>{data.strip()[:40]}")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""


def inline_code_of(response: Any) -> list[str]:
    """Return every inline script, style and handler of a page."""
    parser = _Inline()
    parser.feed(response.content.decode())
    return parser.found
