"""`t2vz explain` on a tiny model: what it gathers, against other ways to the same numbers; its page, parsed, opened."""

import re
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from browser import Browser
from parsed import Page
from tiny import tiny_sd

import t2vz
from t2vz.errors import InputError
from t2vz.lab.explain import chosen_layers, evenly, explain, notable_points
from t2vz.lab.explain_page import page
from t2vz.lab.page import ROOT
from t2vz.pipelines.settings import Settings
from t2vz.pipelines.text_to_video import generate

PROMPT = "a red ball on a green meadow"
# Five steps (801, 601, 401, 201, 1); 48 × 64 pixels are 6 × 8 cells, where 128/512ths of the width are 2 cells.
SETTINGS = Settings(PROMPT, steps=5, frames=3, height=48, width=64, motion=(128.0, 64.0), t_prime=401, t=601)


@pytest.fixture(scope="module")
def sd(tmp_path_factory):
    return tiny_sd(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def explained(sd):
    return explain(sd, SETTINGS)


@pytest.fixture(scope="module")
def html(explained, sd):
    return page(explained, sd, "../code", 't2vz explain "…"')


def test_the_videos_are_those_that_generate_makes(sd, explained):
    assert torch.equal(explained.video.latents, generate(sd, SETTINGS).latents)
    other = generate(sd, replace(SETTINGS, attention="own"))
    assert explained.other_attention == "own" and torch.equal(explained.other.latents, other.latents)
    assert torch.equal(explained.other.latents[0], explained.video.latents[0]), "frame 1 sees only itself in both"


def test_x_0_is_decoded_at_the_steps_shown(sd, explained):
    assert list(explained.together) == [601, 401, 201, 1] and list(explained.alone) == [801, 601]
    steps = {}
    generate(sd, SETTINGS, on_step=lambda step: steps.update({(step.stage, step.t): step}))
    for t, pictures in explained.together.items():
        assert (pictures == sd.decode(steps["all frames", t].x_0)).all()
    for t, stage in ((801, "frame 1 to T"), (601, "frame 1 to T'")):
        x_t, picture = explained.alone[t]
        assert torch.equal(x_t, steps[stage, t].x_t) and (picture == sd.decode(steps[stage, t].x_0)[0]).all()


def test_looks_are_rows_of_the_attention_during_the_generation(sd, explained):
    t, points = explained.look_t, explained.points
    with t2vz.trace(f"attention/*attn1/all frames/{t}") as run:
        generate(sd, SETTINGS)
    assert explained.targets == [0, 0, 0] and len(explained.looks) == 2
    for layer, maps in explained.looks.items():
        every = run[f"attention/{layer}/all frames/{t}"][-1, :, :, 0]  # (m, cells, cells of frame 1)
        h, w = maps.shape[-2:]
        for p, (x, y) in enumerate(points):
            row = every[:, int(y * h) * w + int(x * w)]
            torch.testing.assert_close(maps[:, p].flatten(1), row, rtol=1e-4, atol=1e-6)


def test_the_words_share_the_attention_among_them(explained):
    assert list(explained.words) == ["a", "red", "ball", "on", "green", "meadow"]
    total = sum(explained.words.values())
    assert total.shape == (3, 6, 8)
    torch.testing.assert_close(total, torch.ones_like(total))
    assert explained.subject == ["red", "ball"]


def test_the_jump_back_up_is_the_schedules(sd, explained):
    assert explained.timesteps == {"start": 801, "T": 601, "T_prime": 401}
    alphas = sd.schedule.alphas[401:601]  # the release's slice
    assert explained.ratio == pytest.approx(float(alphas.log().sum().exp()), rel=1e-9)


def test_points_are_where_the_subject_is_and_far_from_it():
    share, mask = torch.zeros(8, 12), torch.zeros(8, 12)
    share[1:4, 2:5] = mask[1:4, 2:5] = 1.0
    share[7, 11] = 3.0  # a single cell: noise
    (x, y), (far_x, far_y) = notable_points(share, mask)
    assert (x * 12, y * 8) == (3.5, 2.5)
    assert far_x > 0.6 and 0.2 < far_y < 0.8
    assert len(notable_points(share, torch.zeros(8, 12))) == len(notable_points(share, torch.ones(8, 12))) == 1


def test_one_layer_of_each_of_the_largest_sizes_coarse_first():
    cells = {"down 0": 256, "down 1": 64, "down 2": 16, "mid": 4, "up 1": 16, "up 2a": 64, "up 2b": 64, "up 3": 256}
    assert chosen_layers(cells) == ["down 2", "up 2a", "down 0"]
    assert chosen_layers({"only": 9}) == ["only"]


@pytest.mark.parametrize("count", [1, 4, 5, 6, 50])
def test_evenly_takes_both_ends(count):
    values = list(range(count, 0, -1))
    chosen = evenly(values, 5)
    assert len(chosen) == min(count, 5) and chosen[0] == count and chosen[-1] == 1
    assert sorted(set(chosen), reverse=True) == chosen


def test_progress_runs_once_from_nothing_to_all(sd):
    seen = []
    explain(sd, replace(SETTINGS, frames=2, steps=2), progress=lambda done, total, stage: seen.append((done, total)))
    done, totals = [d for d, _ in seen], {total for _, total in seen}
    assert done == sorted(done) and len(totals) == 1 and done[-1] == totals.pop()


@pytest.mark.parametrize(
    "changes, points, message",
    [
        ({"frames": 1}, None, "at least 2 frames"),
        ({}, [(0.5, 1.1)], r"point \(0.5, 1.1\)"),
        ({"foreground": ("cow",)}, None, '"cow"'),
    ],
)
def test_what_cannot_be_explained_is_refused_before_the_work(sd, changes, points, message, monkeypatch):
    monkeypatch.setattr(sd, "unet", SimpleNamespace(config=sd.unet.config))  # it cannot be called
    with pytest.raises(InputError, match=message):
        explain(sd, replace(SETTINGS, **changes), points)


def test_the_page_is_well_formed_and_stands_alone(html):
    tree = Page(html)
    tree.check_alone(html, links="../code/")
    assert tree.all("img", "src") and all(src.startswith("data:image/png;base64,") for src in tree.all("img", "src"))


def test_every_equation_has_its_function_and_every_link_its_line(html):
    sections = re.findall(r'<section class="step.*?</section>', html, re.S)
    assert len(sections) == 9
    for section in sections:
        assert ("<math" not in section) or 'class="source"' in section
    links = re.findall(r'<a href="\.\./code/([^"#]+)#L(\d+)"><code>([^<]+)</code></a> <b>([^<]+)</b>', html)
    assert len(links) == html.count('class="source"') > 15
    for path, line, shown, name in links:
        assert shown == f"{path}:{line}"
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8").splitlines()[int(line) - 1]


def test_every_step_of_the_algorithm_is_on_the_page(html):
    text = "".join(Page(html).words)
    for tag in ("E6", "E7 · E8", "E9", "E10", "E11", "E12", "E13"):
        assert tag in text
    assert "δ" in text and "1.99, 0.74" in text and "2, 1" in text, "128 and 64/512ths of 8 × 6 cells, less the slip"


def test_a_prompt_is_text_not_markup(sd, explained):
    evil = '<b>"bold"</b> & <script>alert(1)</script>'
    changed = replace(explained, settings=replace(SETTINGS, prompt=evil), subject=[])
    tree = Page(page(changed, sd))
    assert "alert(1)" in "".join(tree.words) and "script" not in {tag for tag, _ in tree.tags}


def test_the_page_without_motion_with_smoothing_and_other_attention(sd):
    settings = replace(SETTINGS, frames=2, steps=2, motion=None, attention="causal", smooth_background=0.6)
    explained = explain(sd, settings, points=[(0.9, 0.1)])
    html = page(explained, sd)
    text = "".join(Page(html).words)
    assert 'id="e8"' not in html and "Motion is off" in text and "α = 0.6" in text and "“causal”" in text
    assert len(explained.points) == 1 and torch.equal(explained.foreground, explained.trace["foreground"])
    zoomed = explain(sd, replace(SETTINGS, frames=2, steps=2, zoom=1.3), points=[(0.5, 0.5)])
    assert page(zoomed, sd).count("<line ") == 16


def test_the_page_in_a_browser(html, tmp_path):
    path = tmp_path / "explain.html"
    path.write_text(html, encoding="utf-8")
    with Browser() as browser:
        for width, height in ((390, 844), (1280, 900)):
            opened = browser.open(path, width, height)
            assert opened.errors == [] and opened.requests == [path.as_uri()]
            assert opened.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out sideways"
            assert opened.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
            heights = "[...document.querySelectorAll('math')].map(m => m.getBoundingClientRect().height)"
            assert min(opened.evaluate(heights)) > 10
            picture = opened.screenshot(tmp_path / f"{width}.png")
            assert picture.stat().st_size > 20_000
        position = "getComputedStyle(document.querySelector('.film')).backgroundPositionX"
        seen = set()
        until = time.monotonic() + 20
        while len(seen) < 3 and time.monotonic() < until:
            seen.add(opened.evaluate(position))
        assert seen == {"0%", "50%", "100%"}, "the film shows its three frames"
        opened.evaluate("document.querySelector('.pause input').click()")
        stopped = opened.evaluate(position)
        time.sleep(1)
        assert opened.evaluate(position) == stopped
