from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from strandline.learn import plots
from strandline.learn.calibrate import scores_of
from strandline.learn.leakage import LeakedScores
from strandline.learn.report import render_report
from strandline.spec.records import Task
from strandline.spec.scorecard import Scorecard
from strandline.testing.scorecards import make_digests, make_logits, make_scorecard

_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGD4DwABBAEAX+XDSwAAAABJRU5ErkJggg=="
)
_HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "</title></style>{{ 7 * 7 }}",
    "javascript:alert(3)",
    "name\u202egnp.exe",
)
_VOID = {"meta", "img", "br", "input", "line", "rect", "circle", "polyline", "link"}


class _Page(HTMLParser):
    """Collects elements, and checks that each one opened is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def _names(count: int) -> list[str]:
    return [f"label-{index:03}" for index in range(count)]


_CARDS = {
    "two labels": lambda: make_scorecard(labels=("cat", "dog"), items=40),
    "a hundred labels": lambda: make_scorecard(labels=_names(100), items=400, resamples=10),
    "multi-label": lambda: make_scorecard(Task.MULTILABEL, labels=_names(6), items=150),
    "hostile labels": lambda: make_scorecard(labels=_HOSTILE, sources=_HOSTILE * 24),
    "hostile multi-label": lambda: make_scorecard(
        Task.MULTILABEL, labels=_HOSTILE, sources=_HOSTILE * 24
    ),
    "perfect": lambda: make_scorecard(items=30, skill=9.0),
    "no raw scores": lambda: make_scorecard(uncalibrated=None),
}


@pytest.fixture(params=list(_CARDS), scope="module")
def card(request: pytest.FixtureRequest) -> Scorecard:
    return _CARDS[request.param]()


def test_a_report_is_well_formed_and_reaches_for_nothing_outside(card: Scorecard) -> None:
    text = render_report(card, lambda _: _PIXEL, model="m", dataset="d")
    page = _Page(text)
    for name, attributes in page.elements:
        assert not any(key.startswith("on") for key in attributes), name
        assert "style" not in attributes, name
        for key in ("src", "href", "srcset", "action", "data"):
            target = attributes.get(key)
            assert target is None or re.match(r"#|data:image/png;base64,[A-Za-z0-9+/=]+$", target)
    assert {"iframe", "object", "link", "base", "form"}.isdisjoint(dict(page.elements))


def test_only_the_scripts_and_styles_that_the_policy_names_can_run(card: Scorecard) -> None:
    text = render_report(card)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    assert "default-src 'none'" in policy
    for tag in ("style", "script"):
        (body,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_hostile_labels_and_file_names_are_shown_as_text() -> None:
    card = _CARDS["hostile labels"]()
    page = _Page(render_report(card, model=_HOSTILE[0], dataset=_HOSTILE[1]))
    assert [attributes.get("type") for attributes in page.all("script")] == [
        "application/json",
        None,
    ]
    assert page.all("img") == []
    words = "".join(page.words)
    assert "<script>alert(1)</script>" in words
    assert "{{ 7 * 7 }}" in words
    assert "\u202e" not in words
    assert "name\ufffdgnp.exe" in words


def test_headings_tables_and_charts_can_be_read_aloud(card: Scorecard) -> None:
    page = _Page(render_report(card, lambda _: _PIXEL))
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == 1
    assert len(page.all("main")) == 1
    assert all(each.get("aria-label") for each in page.all("svg"))
    assert all(each.get("alt") for each in page.all("img"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for link in page.all("a"):
        assert str(link["href"])[1:] in ids


def test_many_labels_get_a_drawn_matrix_and_few_a_table() -> None:
    assert 'class="matrix"' in render_report(_CARDS["a hundred labels"]())
    few = render_report(_CARDS["two labels"]())
    assert 'class="matrix"' not in few
    assert 'table class="confusion"' in few


def test_pictures_stay_within_their_bound_and_strange_bytes_are_left_out() -> None:
    card = make_scorecard(labels=_names(10), items=300, skill=1.0)
    large = _PIXEL + b"\0" * 20_000
    text = render_report(card, lambda _: large, picture_bytes=200_000)
    pictures = re.findall(r'src="(data:[^"]+)"', text)
    assert 0 < sum(map(len, pictures)) <= 200_000
    assert "data:" not in re.sub(r"img-src data:", "", render_report(card, lambda _: b"<svg>"))


def test_leakage_is_told_when_it_was_measured() -> None:
    logits, truth = make_logits(Task.MULTICLASS, 3, 120)
    leaked = LeakedScores(scores_of(2 * logits, Task.MULTICLASS), truth, make_digests(120), 17)
    text = render_report(make_scorecard(leaked=leaked))
    assert "17 of 120 test images have a near-duplicate" in text
    assert 'id="leakage"' not in render_report(make_scorecard())


def test_facts_are_shown_in_order() -> None:
    text = render_report(make_scorecard(), facts={"Dataset digest": "sha256:0", "Search": "s"})
    assert text.index("Dataset digest") < text.index("<dt>Search")


def test_a_single_mistake_still_shows_in_the_heat_map() -> None:
    assert plots.heat_level(0, 500) == 0
    assert plots.heat_level(1, 500) == 1
    assert plots.heat_level(500, 500) == 8


@pytest.mark.parametrize(("top", "last"), [(1.0, 1.0), (0.05, 0.05), (0.02, 0.02), (0.5, 0.5)])
def test_axis_ticks_are_few_and_end_at_the_top(top: float, last: float) -> None:
    found = plots.ticks(top)
    assert found[-1] == last
    assert 3 <= len(found) <= 6


def _chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.slow
@pytest.mark.skipif(_chromium() is None, reason="needs a chromium to run the page's script")
def test_a_browser_runs_the_page_under_its_policy(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(render_report(_CARDS["hostile labels"]()), encoding="utf-8")
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-background-networking --no-first-run "
        f"--user-data-dir={tmp_path / 'profile'} --enable-logging=stderr --dump-dom"
    )
    done = subprocess.run(
        [str(_chromium()), *flags.split(), page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert '<html lang="en" class="js">' in done.stdout
    assert "At threshold 0.5: precision" in done.stdout
    assert "Content Security Policy" not in done.stderr
    assert "CONSOLE" not in done.stderr
