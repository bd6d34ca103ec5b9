"""Every page, in light and dark, wide and narrow: allowed, readable, reachable."""

from typing import Any

import pytest
from django.utils import timezone

from django_workers.models import Job
from tests.admin.rows import add_job, add_worker
from tests.admin.test_security import every_page
from tests.support import wait_until

pytestmark = pytest.mark.browser

VIEWS: dict[str, dict[str, Any]] = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "narrow": {"width": 360},
}

# Texts of ours that stand out too little from what is behind them: below the 4.5 : 1 of
# WCAG AA. Looks at what is really painted, up to the first opaque background.
FAINT = """() => {
  const channel = v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = c => .2126 * channel(c[0]) + .7152 * channel(c[1])
    + .0722 * channel(c[2]);
  const behind = node => {
    for (; node; node = node.parentElement) {
      const c = parse(getComputedStyle(node).backgroundColor);
      if (c.length === 3 || c[3] > .99) return c;
    }
    return [255, 255, 255];
  };
  const found = [];
  const ours = '.dw, .dw-tabs, .dw-statuses, .dw-filter, .dw-pages, .dw-bulk,'
    + ' #result_list';
  for (const root of document.querySelectorAll(ours)) {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    for (let text; (text = walker.nextNode());) {
      const node = text.parentElement;
      if (!text.data.trim() || !node.checkVisibility()) continue;
      if (node.closest('svg, option, .visually-hidden, .dw-off')) continue;
      const a = light(parse(getComputedStyle(node).color)), b = light(behind(node));
      const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
      if (ratio < 4.5) found.push(`${text.data.trim().slice(0, 30)} ${ratio}`);
    }
  }
  return found;
}"""

# What a screen reader would stumble over.
UNNAMED = """() => {
  const found = [];
  const name = it => (it.getAttribute('aria-label') || it.innerText || it.value
    || [...(it.labels || [])].map(l => l.innerText).join('') || it.title).trim();
  for (const it of document.querySelectorAll(
    '#content a, #content button, #content select, #content textarea,'
    + ' #content input:not([type=hidden])')) {
    if (it.checkVisibility() && !name(it)) found.push(it.outerHTML.slice(0, 80));
  }
  const ids = [...document.querySelectorAll('[id]')].map(it => it.id);
  const again = ids.filter((id, at) => ids.indexOf(id) !== at);
  found.push(...again.map(id => `twice #${id}`));
  for (const it of document.querySelectorAll('[aria-labelledby]')) {
    for (const id of it.getAttribute('aria-labelledby').split(' ')) {
      if (!document.getElementById(id)) found.push(`no #${id}`);
    }
  }
  const heads = [...document.querySelectorAll('#content h1, #content h2, #content h3')];
  if (heads.length && heads[0].tagName !== 'H1') found.push('does not begin with h1');
  return found;
}"""

# Things one can reach with the keyboard that do not show when they are reached.
UNSEEN = """() => {
  const found = [];
  const ours = '.dw a, .dw button, .dw input:not([type=hidden]), .dw select,'
    + ' .dw summary, .dw textarea, .dw-tabs a, .dw-statuses a, .dw-pages a, .dw-bulk a,'
    + ' .dw-filter input, .dw-filter select, .dw-filter button';
  for (const it of document.querySelectorAll(ours)) {
    if (!it.checkVisibility()) continue;
    it.focus({ focusVisible: true });
    const style = getComputedStyle(it);
    if (style.outlineStyle === 'none' || parseFloat(style.outlineWidth) < 1) {
      found.push(it.outerHTML.slice(0, 80));
    }
  }
  return found;
}"""


@pytest.mark.parametrize("view", VIEWS)
def test_every_page_is_allowed_readable_and_reachable(visit: Any, view: str):
    pages = every_page()
    pages.pop("live")
    visitor = visit(**VIEWS[view])
    page = visitor.page

    for name, address in pages.items():
        visitor.go(address)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
            f"{name} is wider than the screen"
        )
        assert page.evaluate(FAINT) == [], name
        assert page.evaluate(UNNAMED) == [], name
        assert page.evaluate(UNSEEN) == [], name
        assert visitor.complaints == [], name


# A list that is wider than its place is cut off at the right.
CUT_OFF = """() => {
  const list = document.querySelector('#result_list');
  return list.offsetWidth > list.parentElement.clientWidth;
}"""


@pytest.mark.parametrize("name", ["job", "workersession"])
def test_long_texts_do_not_cut_off_the_columns_of_a_list(visit: Any, name: str):
    long = "the database went away for longer than the lease allows, and nobody knew"
    host = "web-3-host.example.internal"
    add_worker(worker_id=f"{host}-21877", host=host, queues=["default", "mail"])
    add_worker(state="stopped", stopped_at=timezone.now(), stop_reason=long)
    add_job("failed", task="shop.orders.send_confirmation_mail", reason=long)
    visitor = visit()

    visitor.go(f"/admin/django_workers/{name}/")

    assert not visitor.page.evaluate(CUT_OFF)


def test_fields_have_the_ground_of_the_page_in_the_dark(visit: Any):
    visitor = visit(color_scheme="dark")
    ground = "it => getComputedStyle(it).backgroundColor"
    for address, field in (
        ("/admin/django_workers/job/", "#searchbar"),
        ("/admin/django_workers/queue/default/change/", "#id_until"),
    ):
        visitor.go(address)
        page = visitor.page

        assert page.eval_on_selector(field, ground) == page.eval_on_selector(
            "body", ground
        )


def test_the_switch_of_the_admin_works_on_our_pages(visit: Any):
    every_page()
    visitor = visit(color_scheme="light")
    visitor.go("/admin/django_workers/")
    page = visitor.page
    tone = "getComputedStyle(document.documentElement).getPropertyValue('--dw-good')"
    light = page.evaluate(tone)

    page.evaluate("document.documentElement.dataset.theme = 'dark'")

    assert page.evaluate(tone) != light
    # Links fade from one colour to the other.
    wait_until(lambda: page.evaluate(FAINT) == [], message="something stays faint")


def test_the_measures_of_these_tests_measure(visit: Any):
    visitor = visit()
    visitor.go("/admin/django_workers/job/")
    page = visitor.page

    page.evaluate("""() => {
        document.querySelector('.dw-statuses a').style.color = '#bbb';
        document.querySelector('.dw-filter button').style.outline = 'none';
        document.querySelector('.dw-filter button').textContent = '';
    }""")

    wait_until(lambda: page.evaluate(FAINT))
    assert len(page.evaluate(UNNAMED)) == 1
    assert len(page.evaluate(UNSEEN)) == 1


def test_a_page_that_runs_the_other_way_fits_the_screen(visit: Any, settings: Any):
    settings.LANGUAGE_CODE = "ar"
    pages = every_page()
    visitor = visit(width=360)

    for name in ("dashboard", "jobs", "failed", "queues", "schedule"):
        visitor.go(pages[name])
        assert visitor.page.evaluate("document.dir") == "rtl"
        assert visitor.page.evaluate(
            "document.documentElement.scrollWidth <= innerWidth"
        ), name
    assert Job.objects.exists()
