"""`t2vz app`: what its buttons run, and the page in a real browser, on a desktop and on a phone."""

import os
import shlex
import time

import numpy as np
import pytest
from browser import Browser

from t2vz.cli import build_parser, main
from t2vz.commands import app
from t2vz.commands.app import ARROW, SIDE, Jobs, Stopped, arrow_picture, motion_to, variants_of
from t2vz.errors import InputError

SET = """((selector, value) => {
    const field = document.querySelector(`${selector} textarea, ${selector} input`);
    Object.getOwnPropertyDescriptor(Object.getPrototypeOf(field), "value").set.call(field, value);
    field.dispatchEvent(new Event("input", {bubbles: true}));
})"""

LINES = "(all => all.length && all.map(one => one.textContent))([...document.querySelectorAll('#line-{} .cm-line')])"
TABS = "[...document.querySelectorAll('button[role=tab]')]"


def parsed(folder, *words):
    return build_parser().parse_args(["app", f"--folder={folder}", "--port=0", "--device=cpu", *words])


@pytest.fixture
def jobs(tmp_path):
    return Jobs(parsed(tmp_path), tmp_path)


def test_what_is_left_empty_is_no_flag():
    words = variants_of("generate", "a kite", {"motion": "20,0", "seed": " ", "t_prime": "801"})
    assert words == {"video": ["a kite", "--motion=20,0", "--t-prime=801"]}
    words = variants_of("control", "a kite", {"control_scale": "0.5"}, source="clip.mp4")
    assert words == {"video": ["clip.mp4", "a kite", "--scale=0.5"]}


def test_an_idea_with_and_without():
    values = {"motion": "off", "attention": "causal", "seed": "3"}
    words = variants_of("generate", "a red ball", values, "motion")
    assert words["with"] == ["a red ball", "--motion=12,12", "--attention=causal", "--seed=3"]
    assert words["without"] == ["a red ball", "--motion=off", "--attention=causal", "--seed=3"]
    words = variants_of("generate", "a red ball", values, "cross-frame attention")
    assert [line[2] for line in words.values()] == ["--attention=causal", "--attention=own"]


def test_a_prompt_is_never_a_flag_and_a_value_never_another_flag(jobs, tmp_path):
    def run(values):
        (words,) = variants_of("generate", "--weights=/etc/passwd", values).values()
        return jobs.run("generate", words, tmp_path / "video.mp4", "me", lambda *told: None)

    with pytest.raises(InputError, match="--seed"):
        run({"seed": "0 --weights=/etc/passwd"})
    line = run({"frames": "1", "steps": "1", "motion": "off"})
    assert shlex.split(line)[-2:] == ["--", "--weights=/etc/passwd"] and (tmp_path / "video.mp4").exists()


def test_stop_ends_the_job_of_that_user_and_leaves_no_file(jobs, tmp_path):
    seen = []

    def progress(done, total, stage):
        seen.append(done)
        jobs.stop("another")
        if len(seen) == 2:
            jobs.stop("me")

    out = jobs.new_folder() / "video.mp4"
    with pytest.raises(Stopped):
        jobs.run("generate", ["a red ball", "--frames=2", "--steps=9"], out, "me", progress)
    assert len(seen) == 2 and os.listdir(out.parent) == []
    model = next(iter(jobs.models.values()))[1]
    jobs.stopped.clear()
    jobs.run("generate", ["a red ball", "--frames=1", "--steps=1"], out, "me", lambda *told: None)
    assert out.exists() and next(iter(jobs.models.values()))[1] is model  # kept


@pytest.mark.parametrize("motion, frames", [("20,-10", "5"), ("12,12", "8"), ("-30,0", "8")])
def test_the_arrow_ends_where_a_click_gives_that_motion(motion, frames):
    x, y = map(float, motion.split(","))
    steps = int(frames) - 1
    tip = round(SIDE / 2 + x * steps), round(SIDE / 2 + y * steps)  # 512ths of the frame are its pixels
    assert motion_to(tip, frames) == f"{x:g},{y:g}"
    picture = np.asarray(arrow_picture(None, motion, frames))
    blue = np.argwhere((picture == ARROW).all(-1))[:, ::-1]  # (x, y)
    along = (blue - SIDE / 2) @ np.array([x, y]) / np.hypot(x, y)
    assert along.max() == pytest.approx(np.hypot(x, y) * steps, abs=6)
    assert not (np.asarray(arrow_picture(None, "off", frames)) == ARROW).all(-1).any()


@pytest.fixture
def page(tmp_path, monkeypatch):
    """The address of a page that is being served, and its folder."""
    pytest.importorskip("gradio", reason="gradio is not installed (pip install 't2vz[app]')")
    monkeypatch.chdir(tmp_path)
    served = app.serve(parsed(tmp_path / "files"))
    yield served.local_url, tmp_path / "files"
    served.close()


def wait(tab, expression, seconds=120):
    """The value of a JavaScript expression as soon as there is one."""
    until = time.monotonic() + seconds
    while not (value := tab.evaluate(expression)):
        assert time.monotonic() < until, expression
        time.sleep(0.2)
    return value


def click(tab, button, expression):
    """Click until the expression holds: a page that has just appeared may not listen yet."""
    until = time.monotonic() + 120
    while not tab.evaluate(expression):
        assert time.monotonic() < until, button
        tab.evaluate(f"document.querySelector('{button}').click()")
        for _ in range(100):
            if tab.evaluate(expression):
                return
            time.sleep(0.2)


def errors(tab):
    """What went wrong; a video that has played stops its download, which is none."""
    return [error for error in tab.errors if "net::ERR_ABORTED" not in error]


def opened(browser, address, width, height):
    tab = browser.open(address, width=width, height=height)
    wait(tab, "!!document.querySelector('#make-generate')")
    time.sleep(1)  # until its buttons are connected
    return tab


def test_the_page_on_a_desktop(page, tmp_path):
    address, folder = page
    with Browser() as browser:
        tab = opened(browser, address, 1280, 900)
        x, y, side = tab.evaluate(
            "(box => [box.x, box.y, box.width])(document.querySelector('#arrow img').getBoundingClientRect())"
        )
        tab.evaluate(f"{SET}('.set-frames', '3'); {SET}('.set-seed', '5')")
        for kind in ("mousePressed", "mouseReleased"):
            place = {"x": x + 0.75 * side, "y": y + 0.5 * side}
            tab.send("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)
        right, down = map(float, wait(tab, "document.querySelector('.set-motion textarea').value").split(","))
        assert (right, down) == pytest.approx((64, 0), abs=2)  # a quarter of the frame in two steps
        tab.evaluate(
            "[...document.querySelectorAll('#tab-generate label, label')].find("
            "one => one.innerText.trim() == 'cross-frame attention').click()"
        )
        tab.evaluate("document.querySelector('#make-generate').click()")
        wait(tab, "document.querySelectorAll('.made-generate video').length == 2")
        lines = wait(tab, LINES.format("generate"))
        tab.evaluate(f"{SET}('.set-frames', 'many')")
        tab.evaluate("document.querySelector('#make-generate').click()")
        assert "--frames" in wait(tab, "document.querySelector('.toast-body')?.innerText")
        assert errors(tab) == [] and all(request.startswith((address, "blob:")) for request in tab.requests)
    assert ["--attention=own" in line for line in lines] == [False, True]
    (job,) = (one for one in folder.iterdir() if (one / "with.mp4").exists())
    assert main([*shlex.split(lines[1])[1:], "--out", "again.mp4", "--quiet", "--device", "cpu"]) == 0
    assert (tmp_path / "again.mp4").read_bytes() == (job / "without.mp4").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["again.json", "again.mp4", "files"]


@pytest.mark.parametrize("name", ["control", "edit", "explain"])
def test_the_other_tabs_on_a_phone(page, name):
    with Browser() as browser:
        tab = opened(browser, page[0], 390, 844)
        assert tab.evaluate("document.documentElement.scrollWidth") == 390
        tab.evaluate(f"{TABS}.find(one => one.innerText.trim() == '{name.capitalize()}').click()")
        wait(tab, f"document.querySelector('#make-{name}')?.offsetParent != null")
        if name != "explain":
            click(tab, f"#draw-{name}", f"!!document.querySelector('#source-{name} video')")
        tab.evaluate(f"document.querySelector('#make-{name}').click()")
        result = "iframe.page" if name == "explain" else f".made-{name} video"
        wait(tab, f"!!document.querySelector('{result}')")
        assert wait(tab, LINES.format(name))[0].startswith(f"t2vz {name} ")
        assert tab.evaluate("document.documentElement.scrollWidth") == 390
        assert errors(tab) == []
