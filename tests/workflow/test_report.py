"""The report as a reader meets it: one file that opens without a network and answers to clicks and keys."""

import re

import numpy as np
import pyarrow.parquet as pq
import pytest

from approxgrad.evaluation.metrics import METRICS
from approxgrad.storage.tables import read_attributions
from browser import EXECUTABLE, Browser
from running import REPOSITORY

pytestmark = pytest.mark.workflow
in_a_browser = pytest.mark.skipif(EXECUTABLE is None, reason="no Chromium is installed")
FRAME = "document.querySelector('iframe')"


@pytest.fixture(scope="module")
def report(tiny):
    style = REPOSITORY / "workflow/report/report.css"
    outcome = tiny.run("--report", "report.html", "--report-stylesheet", str(style))
    assert outcome.code == 0, outcome.text
    return tiny.directory / "report.html"


@pytest.fixture
def browser(tmp_path):
    with Browser(tmp_path / "profile") as browser:
        yield browser
        assert not browser.errors
        assert not browser.requests


def click(browser, text):
    """Click a link or button of the report by its text."""
    links = f"[...document.querySelectorAll('#app a')].filter(item => item.textContent.trim() === {text!r})"
    browser.wait(f"{links}.length")
    browser.evaluate(f"{links}[0].click()")


def open_first(browser, icon):
    """Click the first icon of a list: `eye` shows the item, `information-circle` its caption."""
    browser.wait(f"document.querySelector('#app table a[iconname={icon}]')")
    browser.evaluate(f"document.querySelector('#app table a[iconname={icon}]').click()")


def choose(browser, **choices):
    """Choose from drop-downs of the explorer as a person would, and wait until it is drawn again."""
    for name, value in choices.items():
        before = browser.evaluate("Number(document.body.dataset.drawn)")
        options = browser.evaluate(f"[...document.getElementById({name!r}).options].map(option => option.value)")
        assert value in options
        browser.evaluate(
            f"(() => {{ const list = document.getElementById({name!r}); list.value = {value!r}; "
            "list.dispatchEvent(new Event('change', { bubbles: true })); })()"
        )
        browser.wait(f"Number(document.body.dataset.drawn) > {before}")


def text(browser, name):
    return browser.evaluate(f"document.getElementById({name!r}).innerText")


def pixels(browser, name):
    """The picture that a chart shows, as text."""
    return browser.evaluate(f"document.querySelector('#{name} canvas').toDataURL()")


def test_the_report_is_one_file_with_story_and_captions(report):
    html = report.read_text().replace("\\n", " ").replace("\n", " ")
    for words in (
        "How far is a feature attribution from its exact counterpart",
        "The findings in short",
        "What the tables of this study say, in sentences.",
        "Choose a data set, model, method and gradient source",
        "Run times by rule",
        "Agreement between approximated and exact attributions (saliency)",
        "with the true effects",
        "Training of cnn on digits",
        "Every measure of agreement over the attributed test rows",
        "The first drawn test images of digits",
        "Completeness of Integrated Gradients for mlp on synthetic_linear",
        "bootstrap intervals at a level of 0.95 (2000 resamples of the rows, seed 0)",
        "Which of two gradient sources is better on the same test rows?",
        "Relative L2 error of attributions of mlp on synthetic_linear",
        "The step to use, by the median over the samples",
    ):
        assert words in html, words
    assert "{{ snakemake" not in html
    assert "{% " not in html
    assert '<script src="http' not in html
    assert '<link href="http' not in html


def test_the_story_tells_the_numbers_of_the_tables(tiny):
    story = (tiny.directory / "results/report/story.html").read_text()
    assert "This study compares 5 approximated attributions with the exact counterpart: 2 data sets, 2 models" in story
    assert "Saliency:</strong> the median correlation with the exact attribution is" in story
    run = (tiny.directory / "results/report/run.html").read_text()
    assert re.search(r"<td>attribute</td><td class=\"number\">11</td>", run)
    assert all(f"<td>{rule}</td>" in run for rule in ("train_model", "tell_story", "build_explorer"))


@in_a_browser
@pytest.mark.parametrize("page", ["story", "run"])
@pytest.mark.parametrize("width", [390, 1366])
def test_pages_fit_the_window(tiny, browser, page, width):
    browser.resize(width, 768)
    browser.open(tiny.directory / f"results/report/{page}.html")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate("document.querySelectorAll('h2').length") >= 3


@in_a_browser
def test_the_report_opens_its_pages_and_captions(report, browser):
    browser.open(report)
    browser.wait("document.body.innerText.includes('The findings in short')")
    # The heading is not pushed out of the window by a long text.
    assert 0 <= browser.evaluate("document.querySelector('#app h1').getBoundingClientRect().top") < 200
    for category in ("Story", "About this run", "Explore"):
        click(browser, category)
        open_first(browser, "eye")
        browser.wait(f"{FRAME} && {FRAME}.src.startsWith('data:text/html')")
        click(browser, "Results")
    click(browser, "digits")
    open_first(browser, "eye")
    browser.wait("document.querySelector('#app img[src^=\"data:image/svg\"]')")
    open_first(browser, "information-circle")
    browser.wait("document.body.innerText.toLowerCase().includes('description')")


@in_a_browser
def test_the_menu_leaves_a_phone_the_width_of_its_window(report, browser):
    browser.resize(390, 768)
    browser.open(report)
    browser.wait("document.body.innerText.includes('The findings in short')")
    heading = browser.evaluate("document.querySelector('#app .grow h1').getBoundingClientRect().toJSON()")
    assert 0 <= heading["left"] < 40
    assert 350 < heading["right"] <= 390


@in_a_browser
def test_the_explorer_runs_inside_the_report(report, browser):
    browser.open(report)
    click(browser, "Explore")
    open_first(browser, "eye")
    # What runs in the frame is of another origin, so it is looked at by the browser and not by the page.
    inside = browser.inside("Explore the attributions")
    browser.wait("document.body.dataset.drawn", inside)
    assert browser.evaluate("document.querySelectorAll('#distribution canvas').length", inside) == 1


@in_a_browser
@pytest.mark.parametrize("width", [390, 1366])
def test_the_explorer_offers_what_the_study_has(tiny, browser, width):
    browser.resize(width, 768)
    browser.open(tiny.directory / "results/report/explorer.html")
    browser.wait("document.body.dataset.drawn")
    choose(browser, dataset="digits")
    offered = "[...document.getElementById('method').options].map(option => option.text)"
    assert browser.evaluate(offered) == ["Integrated Gradients"]
    assert "Integrated Gradients of the CNN on digits, compared with the exact attribution." in text(
        browser, "distribution-text"
    )
    assert browser.evaluate("document.querySelectorAll('#maps canvas').length") == 4
    assert browser.evaluate("document.getElementById('features').hidden")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width

    choose(browser, dataset="synthetic_linear", method="saliency", source="forward, h = 2", reference="truth")
    assert browser.evaluate("document.querySelectorAll('#features canvas').length") == 2
    assert browser.evaluate("document.getElementById('maps').hidden")
    assert "compared with the true effects. With forward, h = 2 the median is" in text(browser, "distribution-text")
    drawn = pixels(browser, "distribution")
    choose(browser, metric="relative_error")
    assert pixels(browser, "distribution") != drawn
    assert browser.evaluate("document.documentElement.scrollWidth") <= width


@in_a_browser
@pytest.mark.parametrize(
    ("dataset", "model", "method", "step"),
    [("digits", "cnn", "integrated_gradients", 0.1), ("synthetic_linear", "mlp", "saliency", 2)],
)
def test_the_explorer_shows_the_numbers_of_the_files(tiny, browser, dataset, model, method, step):
    folder = f"dataset={dataset}/model={model}/method={method}"
    results = tiny.directory / "results"
    exact, approximated = (
        read_attributions(results / f"attributions/{folder}/gradient={gradient}/part-0.parquet")
        for gradient in ("exact", f"forward-h{step}")
    )
    metrics = pq.read_table(results / f"metrics/{folder}/part-0.parquet").to_pandas()
    browser.open(results / "report/explorer.html")
    browser.wait("document.body.dataset.drawn")
    choose(browser, dataset=dataset, method=method, source=f"forward, h = {step}")
    sample = int(exact.sample[0])
    assert f"test row {sample}" in text(browser, "sample-name")
    maps = [exact.attribution[0], approximated.attribution[0], approximated.attribution[0] - exact.attribution[0]]
    peaks = [float(values[np.abs(values).argmax()]) for values in maps]
    numbers = r"exact attribution is ([-\d.e]+), .* one ([-\d.e]+)\. The largest difference is ([\d.e-]+) % of"
    told = [float(number) for number in re.search(numbers, text(browser, "maps-text")).groups()]
    # Two digits are told, of maps that are rounded to 1/127 of their largest value.
    expected = [*peaks[:2], 100 * abs(peaks[2] / peaks[0])]
    assert told == pytest.approx(expected, rel=0.05 + 1 / 127)
    row = (
        metrics[(metrics["gradient"] == f"forward-h{step}") & (metrics["reference"] == "exact")]
        .set_index("sample")
        .loc[sample]
    )
    shown = browser.evaluate(
        "[...document.querySelectorAll('#measures tbody tr')].map(line => line.cells[1].innerText)"
    )
    assert [float(value) for value in shown] == pytest.approx(list(row[list(METRICS)].astype(float)), rel=5e-4)


@in_a_browser
def test_the_slider_shows_another_row_by_the_keyboard(tiny, browser):
    browser.open(tiny.directory / "results/report/explorer.html")
    browser.wait("document.body.dataset.drawn")
    choose(browser, dataset="digits")
    first, picture, exact = text(browser, "sample-name"), pixels(browser, "picture"), pixels(browser, "exact")
    browser.evaluate("document.getElementById('reference').focus()")
    for _ in range(5):
        browser.press("Tab")
        if browser.evaluate("document.activeElement.id") == "sample":
            break
    before = browser.evaluate("Number(document.body.dataset.drawn)")
    browser.press("ArrowRight")
    browser.wait(f"Number(document.body.dataset.drawn) > {before}")
    assert "(1 of 3)" in first
    assert "(2 of 3)" in text(browser, "sample-name")
    assert pixels(browser, "picture") != picture
    assert pixels(browser, "exact") != exact
