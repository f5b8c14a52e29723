"""The report: everything is in the one file, says what the tables say, and works in a real browser."""

import re

import pytest
from browser import Browser
from lab_study import MADE, STUDY, finished_study
from parsed import Page

from t2vz.lab import report as report_module
from t2vz.lab.measure import MEASURES
from t2vz.lab.page import TEMPLATES
from t2vz.lab.report import write_report


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """(path, results) of a report on the small finished study."""
    folder = tmp_path_factory.mktemp("report")
    results = finished_study(folder)
    write_report(results, MADE, folder / "report.html")
    return folder / "report.html", results


def test_the_page_is_whole_and_asks_for_nothing(report):
    text = report[0].read_text(encoding="utf-8")
    Page(text).check_alone(text)


def test_words_of_the_study_are_escaped_and_all_there(report):
    page = Page(report[0].read_text(encoding="utf-8"))
    for words in (
        "A study <of> tests",
        "First paragraph.",
        "Second & last.",
        'a "blue" kite',
        "said once",
        "each frame attends to itself",
        "cross-frame attention (E12)",
        "the camera moves by (12, 12)/512",
        "no motion dynamics",
        "embedded",
        "ab" * 32,
        "2026-01-02",
        "torch 1",
        "t2vz ablate tests.toml --seeds 3",
        "2 min",
    ):
        assert words in page.text, words
    assert page.text.count("said once") == 1
    assert "smooth background 0" in page.text and "frames 3" in page.text  # the same in all


def test_the_tables_mark_the_best_and_the_clear(report):
    path, results = report
    text = path.read_text(encoding="utf-8")
    tables = re.findall(r"<table.*?</table>", text, re.DOTALL)
    assert len(tables) == 3  # effects, means, differences
    means = tables[1]
    assert means.count("★") == 3  # of the four measures one is neither good nor bad
    header = re.findall(r'<th scope="col">(.*?)<small>', means)
    assert header == [variant.name for variant in results.study.variants]
    best = [
        i
        for i, cell in enumerate(re.findall(r"<td.*?</td>", _row(means, "each with the first"), re.DOTALL))
        if "★" in cell
    ]
    assert [header[i] for i in best] == list(results.best("consistency_first"))
    effect = re.findall(r'<td class="(\w+)">([^<]*)', _row(tables[0], "each with the first"))
    assert effect[0][0] == "good" and float(effect[0][1]) == pytest.approx(0.1, abs=0.005)
    assert 'class="clear"' in _row(tables[0], "camera motion to the right")
    assert len(re.findall("<td", _row(tables[2], "CLIP score"))) == 3  # no difference of the baseline to itself


@pytest.mark.parametrize(
    "value, places, signed, text",
    [
        (0.93, 2, False, "0.93"),
        (-1.5, 1, False, "−1.5"),
        (0.25, 2, True, "+0.25"),
        (-0.004, 2, True, "0.00"),
        (0.004, 2, True, "0.00"),
        (-0.4, 0, False, "0"),
        (12.6, 0, True, "+13"),
    ],
)
def test_numbers_have_a_minus_sign_and_no_minus_zero(value, places, signed, text):
    assert report_module.number(value, places, signed) == text


@pytest.mark.parametrize(
    "seconds, words", [(4.4, "4 s"), (89, "89 s"), (120, "2 min"), (5399, "90 min"), (9000, "2.5 h")]
)
def test_times_in_words(seconds, words):
    assert report_module.words_for(seconds) == words


def test_every_measure_is_explained():
    text = (TEMPLATES / "report.html").read_text(encoding="utf-8")
    assert set(re.findall(r'^  "(\w+)": "', text, re.MULTILINE)) == set(MEASURES)


def _row(table, words):
    return next(row for row in re.findall(r"<tr>.*?</tr>", table, re.DOTALL) if words in row)


def test_every_variant_has_its_video_and_strip_at_the_same_seed(report):
    page = Page(report[0].read_text(encoding="utf-8"))
    videos = [attributes for tag, attributes in page.tags if tag == "video"]
    assert len(videos) == 4 and all(video["src"].startswith("data:video/mp4;base64,") for video in videos)
    assert len({video["src"] for video in videos}) == 4
    assert {"autoplay", "loop", "muted", "playsinline"} <= set(videos[0])
    assert "“a red ball”, seed 3" in page.text and "seed 5" not in page.text
    plots = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(plots) == 4 and all(plot["role"] == "img" and plot["aria-label"] for plot in plots)
    assert sum(tag == "circle" for tag, _ in page.tags) == 4 * 4  # a dot for every variant


def test_a_large_study_stays_within_its_budget(tmp_path, monkeypatch):
    results = finished_study(tmp_path, STUDY.replace("show = 1", "show = 2"))
    assert [len(film["variants"]) for film in report_module._films(results)] == [4, 4]
    monkeypatch.setattr(report_module, "BUDGET", 10)
    assert len(report_module._films(results)) == 1  # at least one prompt is shown


@pytest.mark.parametrize("width, height", [(390, 844), (1280, 900)])
def test_in_a_browser_it_fits_and_plays(report, width, height):
    with Browser() as browser:
        page = browser.open(report[0], width, height)
        wide, window = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert wide <= window  # tables scroll inside, the page does not
        times = page.evaluate(
            "new Promise(done => setTimeout(() => done([...document.querySelectorAll('video')].map("
            "video => [video.readyState, video.paused, video.videoWidth])), 500))"
        )
        assert len(times) == 4 and all(ready >= 2 and not paused and wide == 48 for ready, paused, wide in times)
        page.evaluate("document.getElementById('play').click()")
        assert page.evaluate("[...document.querySelectorAll('video')].every(video => video.paused)")
        pictures = page.evaluate("[...document.images].map(image => [image.complete, image.naturalWidth])")
        assert pictures and all(complete and width == 3 * 48 for complete, width in pictures)
        smallest = page.evaluate(
            "Math.min(...[...document.querySelectorAll('.plots svg')].map(s => s.getBoundingClientRect().width))"
        )
        assert smallest > 250
        assert page.errors == [] and page.requests[1:] == []
