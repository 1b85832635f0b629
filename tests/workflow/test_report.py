"""The report as a reader meets it: one file that opens without a network and answers to clicks and keys."""

import re

import pandas as pd
import pyarrow.parquet as pq
import pytest

from approxgrad.evaluation.metrics import METRICS
from approxgrad.report import wording
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


def opened(browser, tiny, group):
    """Open the explorer and choose the comparison whose text begins so."""
    browser.open(tiny.directory / "results/report/explorer.html")
    browser.wait("document.body.dataset.drawn")
    options = browser.evaluate("[...document.getElementById('comparison').options].map(option => option.text)")
    (place,) = (place for place, text in enumerate(options) if text.startswith(group))
    choose(browser, "#comparison", place)
    return options


def choose(browser, selector, value):
    """Choose from a list as a person would, and wait until everything is drawn again."""
    if selector != "#comparison":
        selector = f"#bindings select[name={selector}]"
    before = browser.evaluate("Number(document.body.dataset.drawn)")
    assert str(value) in offered(browser, selector)
    browser.evaluate(
        f"(() => {{ const list = document.querySelector({selector!r}); list.value = {str(value)!r}; "
        "list.dispatchEvent(new Event('input', { bubbles: true })); "
        "list.dispatchEvent(new Event('change', { bubbles: true })); })()"
    )
    if selector == "#comparison":
        browser.wait(f"Number(document.body.dataset.drawn) > {before}")
    browser.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def offered(browser, selector):
    return browser.evaluate(f"[...document.querySelector({selector!r}).options].map(option => option.value)")


def chart_text(browser):
    """All text of the charts, in the order in which it stands in the page."""
    lines = "#chart text:not(:has(tspan)), #chart tspan"
    return browser.evaluate(f"[...document.querySelectorAll('{lines}')].map(item => item.textContent)")


def marks(browser, kind):
    """How the marks of one kind are drawn, as text."""
    return browser.evaluate(
        f"[...document.querySelectorAll('#chart .mark-{kind} path')].map(item => item.getAttribute('fill') + "
        "item.getAttribute('d') + item.getAttribute('transform')).join()"
    )


def measures(browser, names):
    """The numbers of the chosen row, their medians and those of perfect agreement, by the names of metrics."""
    rows = browser.evaluate(
        "[...document.querySelectorAll('#measures tr')].map(row => [...row.cells].map(cell => cell.textContent))"
    )
    assert len(rows) == len(names)
    return {name: [float(text.replace("−", "-")) for text in row[1:]] for name, row in zip(names, rows, strict=True)}


def measure_names(browser):
    return browser.evaluate("[...document.querySelectorAll('#measures tr')].map(row => row.cells[0].textContent)")


def test_the_report_is_one_file_with_story_and_captions(report):
    html = report.read_text().replace("\\n", " ").replace("\n", " ")
    for words in (
        "What happens to a feature attribution when its gradient is only approximated?",
        "How near approximations come",
        "What the tables of this study say, in sentences.",
        "Choose a comparison, a metric, a gradient source and a row",
        "Run times by rule",
        "Agreement between approximated and exact attributions (saliency)",
        "with the true effects",
        "Training of cnn on digits",
        "Every metric over the attributed test rows",
        "The first drawn test images of digits",
        "Completeness for mlp on synthetic_linear",
        "bootstrap intervals at a level of 0.95 (2000 resamples of the rows, seed 0)",
        "Which of two gradient sources is better on the same test rows?",
        "Relative L2 error of attributions of mlp on synthetic_linear",
        "The setting to use, by the median over the samples",
    ):
        assert words in html, words
    assert "{{ snakemake" not in html
    assert "{% " not in html
    assert '<script src="http' not in html
    assert '<link href="http' not in html


def test_the_story_tells_the_numbers_of_the_tables(tiny):
    story = (tiny.directory / "results/report/story.html").read_text()
    assert "This study compares 5 approximated attributions with the reference: 2 data sets, 2 models" in story
    table = pq.read_table(tiny.directory / "results/summary/summary.parquet").to_pandas()
    keys = {"dataset": "digits", "metric": "relative_error", "gradient": "forward-h0.1", "reference": "exact"}
    (row,) = table[(table[list(keys)] == pd.Series(keys)).all(axis=1)].to_dict("records")
    assert f'<td class="number">{wording.percent(row["median"])}</td>' in story
    run = (tiny.directory / "results/report/run.html").read_text()
    assert re.search(r"<td>attribute</td><td class=\"number\">5</td>", run)
    assert re.search(r"<td>differentiate</td><td class=\"number\">6</td>", run)
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
    browser.wait("document.body.innerText.includes('How near approximations come')")
    # The heading is not pushed out of the window by a long text.
    assert 0 <= browser.evaluate("document.querySelector('#app h1').getBoundingClientRect().top") < 200
    for category in ("Story", "About this run", "Explore"):
        click(browser, category)
        open_first(browser, "eye")
        browser.wait(f"{FRAME} && {FRAME}.src.startsWith('data:text/html')")
        click(browser, "Results")
    click(browser, "Figures for digits")
    open_first(browser, "eye")
    browser.wait("document.querySelector('#app img[src^=\"data:image/svg\"]')")
    open_first(browser, "information-circle")
    browser.wait("document.body.innerText.toLowerCase().includes('description')")


@in_a_browser
def test_the_menu_leaves_a_phone_the_width_of_its_window(report, browser):
    browser.resize(390, 768)
    browser.open(report)
    browser.wait("document.body.innerText.includes('How near approximations come')")
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
    assert browser.evaluate("document.querySelectorAll('#chart svg').length", inside) == 1


@in_a_browser
@pytest.mark.parametrize("width", [390, 1366])
def test_the_explorer_offers_what_the_study_has(tiny, browser, width):
    browser.resize(width, 768)
    assert opened(browser, tiny, "digits, CNN: Integrated Gradients") == [
        "synthetic linear, MLP: Saliency",
        "synthetic linear, MLP: Integrated Gradients",
        "synthetic linear, MLP: Integrated Gradients (published variant)",
        "digits, CNN: Integrated Gradients",
    ]
    assert {"input", "exact", "approximated", "difference"} <= set(chart_text(browser))
    # Four pictures of 8 by 8 pixels, and the box and its median.
    assert browser.evaluate("document.querySelectorAll('#chart .mark-rect path').length") >= 4 * 64
    assert browser.evaluate("document.documentElement.scrollWidth") <= width

    opened(browser, tiny, "synthetic linear, MLP: Saliency")
    choose(browser, "reference", "the true effects")
    assert {"Pearson correlation", "compared with the true effects"} <= set(chart_text(browser))
    assert "approximated − exact" in chart_text(browser)
    drawn = marks(browser, "symbol")
    choose(browser, "measure", "relative_error")
    assert marks(browser, "symbol") != drawn
    # The metric stays what it was when another comparison is chosen.
    choose(browser, "#comparison", 3)
    assert {"Relative L2 error", "compared with the reference attribution"} <= set(chart_text(browser))
    assert browser.evaluate("document.documentElement.scrollWidth") <= width


@in_a_browser
@pytest.mark.parametrize(
    ("dataset", "model", "method", "step", "comparison"),
    [
        ("digits", "cnn", "integrated_gradients", 0.1, "digits, CNN: Integrated Gradients"),
        ("synthetic_linear", "mlp", "saliency", 2, "synthetic linear, MLP: Saliency"),
    ],
)
def test_the_explorer_shows_the_numbers_of_the_files(tiny, browser, dataset, model, method, step, comparison):
    path = tiny.directory / f"results/metrics/dataset={dataset}/model={model}/method={method}/part-0.parquet"
    table = pq.read_table(path, partitioning=None).to_pandas()
    rows = table[(table["gradient"] == f"forward-h{step}") & (table["reference"] == "exact")].set_index("sample")
    opened(browser, tiny, comparison)
    choose(browser, "source_source", f"forward differences, h = {step}")
    for sample in map(int, offered(browser, "#bindings select[name=sample_sample]")[:2]):
        choose(browser, "sample_sample", sample)
        # A map of Saliency has no signs to compare.
        known = [name for name in METRICS if rows[name].notna().any()]
        assert (set(METRICS) - set(known)) == ({"sign_agreement"} if method == "saliency" else set())
        features = {"digits": "top 7 of 64", "synthetic_linear": "top 2 of 12"}[dataset]
        assert any(features in text for text in measure_names(browser))
        for name in known:
            metric = METRICS[name]
            row, median, perfect = measures(browser, known)[name]
            assert (row, median) == pytest.approx((rows.loc[sample, name], rows[name].median()), rel=5e-4, abs=1e-12)
            assert perfect == metric.best


@in_a_browser
@pytest.mark.parametrize("width", [390, 1366])
def test_two_comparisons_stand_beside_each_other_with_the_same_row_and_metric(tiny, browser, width):
    browser.resize(width, 768)
    opened(browser, tiny, "synthetic linear, MLP: Saliency")
    second = offered(browser, "#bindings select[name=sample_sample]")[1]
    choose(browser, "sample_sample", second)
    browser.evaluate("document.getElementById('beside').click()")
    other = "document.querySelector('#bindings-2 select[name={}]')?.value"
    here = "document.querySelector('#bindings select[name={}]').value"
    # The same comparison, row and metric, and another source.
    browser.wait(f"{other.format('source_source')} === 'forward differences, h = 2'")
    assert browser.evaluate(here.format("source_source")) == "forward differences, h = 0.5"
    assert browser.evaluate(other.format("sample_sample")) == second
    choose(browser, "measure", "relative_error")
    browser.wait(f"{other.format('measure')} === 'relative_error'")
    assert browser.evaluate(here.format("source_source")) == "forward differences, h = 0.5"
    boxes = "[...document.querySelectorAll('.panel')].map(item => item.getBoundingClientRect()).map(({x, y}) => [x, y])"
    (x, y), (x_2, y_2) = browser.evaluate(boxes)
    assert (x < x_2 and y == y_2) if width > 1000 else (x == x_2 and y < y_2)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(
        "[...document.querySelectorAll('.chart')].every(item => item.scrollWidth <= item.clientWidth)"
    )
    # Drawn once more, the maps are still there; then one is alone again.
    choose(browser, "#comparison", 3)
    assert browser.evaluate("document.querySelectorAll('#chart .mark-rect path').length") >= 4 * 64
    browser.evaluate("document.getElementById('beside').click()")
    browser.wait("document.querySelectorAll('.panel').length === 1")


@in_a_browser
@pytest.mark.parametrize("width", [390, 1366])
def test_the_tables_open_and_are_searched_and_sorted(tiny, browser, width):
    browser.resize(width, 768)
    browser.open(tiny.directory / "results/report/tables.html")
    browser.wait("document.body.dataset.drawn")
    offered = browser.evaluate("[...document.getElementById('table').options].map(option => option.text)")
    assert offered[:2] == ["models", "summary"]
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    for element, value, event in (("table", "1", "change"), ("words", "CNN relative_error", "input")):
        browser.evaluate(
            f"(() => {{ const item = document.getElementById('{element}'); item.value = '{value}'; "
            f"item.dispatchEvent(new Event('{event}')); }})()"
        )
    table = pd.read_csv(tiny.directory / "results/summary/summary.csv")
    found = table[(table["model"] == "cnn") & (table["metric"] == "relative_error")]
    cells = "[...document.querySelectorAll('tbody tr')].map(row => row.cells[{}].textContent)"
    place = list(table).index("median")
    assert len(found) == len(browser.evaluate(cells.format(place)))
    assert f"out of {len(table)} in results/summary/summary.csv" in browser.evaluate("document.body.innerText")
    browser.evaluate("document.getElementById('words').value = ''")
    for ascending in (True, False):
        browser.evaluate(f"document.querySelectorAll('th button')[{place}].click()")
        shown = [float(text) for text in browser.evaluate(cells.format(place)) if text]
        assert shown == sorted(shown, reverse=not ascending)
        assert len(shown) > 20


@in_a_browser
def test_the_explorer_shows_another_row_by_the_keyboard_and_by_a_click(tiny, browser):
    opened(browser, tiny, "digits, CNN: Integrated Gradients")
    rows = offered(browser, "#bindings select[name=sample_sample]")
    row = "document.querySelector('#bindings select[name=sample_sample]').value"
    picture = marks(browser, "rect")
    browser.evaluate("document.querySelector('#bindings select[name=sample_sample]').focus()")
    browser.press("ArrowDown")
    browser.wait(f"{row} === {rows[1]!r}")
    assert marks(browser, "rect") != picture
    # The dots come in the order of the samples; the last one marks the chosen row.
    x, y = browser.evaluate(
        "(({ x, y, width, height }) => [x + width / 2, y + height / 2])"
        "(document.querySelectorAll('#chart .mark-symbol path')[2].getBoundingClientRect())"
    )
    browser.click(x, y)
    browser.wait(f"{row} === {rows[2]!r}")
