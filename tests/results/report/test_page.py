"""The page in a real browser: nothing fails or is fetched, all answers to pointer and keys, and axe finds nothing serious.

Skipped where Chromium, Playwright or axe are not installed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipway.results.report.content import read_content
from slipway.results.report.files import write_report
from slipway.training.tasks.answers import pack_clip
from slipway.training.tasks.samples.view import describe_sample
from tests.results.report.runs import HOSTILE, train_small

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of a run with hostile names, two clips and a text."""
    run = train_small(tmp_path_factory.mktemp("runs"))
    answers = json.loads((run / "answers.json").read_text())
    random = np.random.default_rng(0)
    for row in answers["worst"][:2]:
        row["clip"] = pack_clip(random.normal(size=(6, 3, 2)))
    answers["worst"][2] |= describe_sample(
        (HOSTILE[0], random.random((8, 8)), random.random((20, 2)), {HOSTILE[1]: 3}, 0)
    )
    (run / "answers.json").write_text(json.dumps(answers))
    spec = json.loads((run / "best/spec.json").read_text())
    layout = {"num_landmarks": 3, "num_coords": 2, "bones": [[0, 1], [1, 2]]}
    (run / "best/spec.json").write_text(json.dumps({**spec, "layout": layout}))
    return write_report(read_content(run))[0]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    """Return the open page; nothing that it logs, raises or asks for passes."""
    page = browser.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url))
    page.goto(report.as_uri())
    yield page
    page.close()
    assert said == [report.as_uri()]


def test_a_curve_answers_to_the_pointer_and_to_keys(page: Any) -> None:
    plot, said = page.locator("[data-plot]").first, page.locator("output").first
    before = said.text_content()
    assert before.startswith("at the end: training, each step")
    box = plot.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    middle = said.text_content()
    assert middle.startswith("step ")
    assert "validation, each epoch" in middle
    page.mouse.move(0, 0)
    assert said.text_content() == before
    plot.focus()
    page.keyboard.press("Home")
    first = said.text_content()
    page.keyboard.press("ArrowRight")
    assert said.text_content() != first
    assert plot.get_attribute("aria-valuetext") == said.text_content()


def test_everything_that_answers_is_reached_by_the_tab_key(page: Any) -> None:
    wanted = page.locator(
        "[data-plot], input:not([hidden]), button:not([hidden]), summary, nav a, .scroll:visible"
    ).count()
    reached = set()
    for _ in range(wanted + 40):
        page.keyboard.press("Tab")
        place = page.evaluate(
            "() => { const all = [...document.querySelectorAll('*')]; return all.indexOf(document.activeElement); }"
        )
        if place in reached:
            break
        reached.add(place)
    assert len(reached) >= wanted


def test_a_clip_moves_when_asked_and_can_be_stepped_by_hand(page: Any) -> None:
    path, slider, button = (
        page.locator(".moving path").first,
        page.locator("input[type=range]").first,
        page.locator("#play"),
    )
    assert button.text_content() == "Play the clips"
    still = path.get_attribute("d")
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert slider.input_value() == "1"
    assert path.get_attribute("d") != still
    button.click()
    assert button.text_content() == "Pause the clips"
    now = path.get_attribute("d")
    page.wait_for_function("before => document.querySelector('.moving path').getAttribute('d') !== before", arg=now)
    button.click()


def test_hostile_names_are_text_on_the_page(page: Any) -> None:
    assert page.locator("img:not(.sample), b, iframe").count() == 0
    assert HOSTILE[0] in page.locator("#classes + p + div").text_content()


def test_a_sample_of_any_kind_is_drawn(page: Any) -> None:
    assert page.locator("img.sample").evaluate("image => image.naturalWidth") == 8
    assert page.locator("svg.sample polyline").count() == 2
    assert page.locator("blockquote").text_content() == HOSTILE[0]
    assert page.locator("dl.values").nth(2).text_content() == f"input 3.{HOSTILE[1]}3"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_axe_finds_nothing_and_no_width_is_exceeded(page: Any, width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=scheme)
    found = axe.Axe().run(page).response["violations"]
    assert [(one["id"], one["impact"], one["nodes"][0]["html"][:200]) for one in found] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
