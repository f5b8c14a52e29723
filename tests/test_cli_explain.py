"""`t2vz explain` as a user meets it: one page, one line; and one line with the right exit code for all else."""

import re
import shlex
import sys
from pathlib import Path

import pytest

PROMPT = "a red ball on a green meadow"
FAST = "--steps 2 --frames 2 --height 48 --width 48 --device cpu --quiet".split()


@pytest.fixture
def run(call):
    """`t2vz explain`."""
    return lambda *words: call("explain", *words)


def test_explain_writes_one_page_whose_links_lead_to_the_code(run, models, tmp_path):
    flags = "--out pages/ball.html --seed 7 --dtype float32".split()
    code, out, err = run(PROMPT, *FAST, *flags, "--weights", models / "tiny")
    assert code == 0 and not err and out.startswith("pages/ball.html: 2 frames explained") and out.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["ball.html"]
    html = (tmp_path / "pages/ball.html").read_text(encoding="utf-8")
    for href, line, name in re.findall(r'<a href="([^"#]+)#L(\d+)"><code>[^<]+</code></a> <b>([^<]+)</b>', html):
        code = (tmp_path / "pages" / href).resolve().read_text(encoding="utf-8").splitlines()
        assert f"def {name}(" in code[int(line) - 1]
    command = re.search(r"<code>(t2vz explain .*)</code>", html)[1].replace("&#39;", "'")
    typed = {"--seed=7", "--steps=2", "--dtype=float32", PROMPT, f"--weights={models / 'tiny'}"}
    assert typed <= set(shlex.split(command))


def test_pages_are_named_after_the_prompt_and_never_overwritten(run, models, tmp_path):
    Path("a-red-ball-on-a-green-meadow.html").write_text("mine")
    flags = "--attention own --motion -12,0 --point 0.5,0.5 --link-base https://host/main".split()
    code, _, err = run(PROMPT, *FAST[:-1], "--weights", models / "tiny", *flags)
    assert code == 0 and 'then the same with attention "first"' in err
    assert Path("a-red-ball-on-a-green-meadow.html").read_text() == "mine"
    html = Path("a-red-ball-on-a-green-meadow-2.html").read_text(encoding="utf-8")
    assert "https://host/main/t2vz/motion/warping.py#L" in html and "(0.50, 0.50)" in html and "λδ = (-12, 0)" in html
    assert "--dtype" not in re.search(r"<code>(t2vz explain .*)</code>", html)[1]


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--frames", "1"], "--frames must be at least 2"),
        (["--out", "page.pdf"], "give it a name that ends in .html"),
        (["--out", "mine.html"], "exists already; choose another name, or pass --overwrite"),
        (["--out", "folder.html"], "is a folder"),
        (["--point", "0.5"], "is not X,Y"),
        (["--point", "2,0"], "outside the frame"),
        (["--steps", "0"], "steps = 0"),
    ],
)
def test_what_cannot_work_is_one_line_before_the_model_is_loaded(refused, monkeypatch, argv, message):
    monkeypatch.setattr("t2vz.commands.explain.load_model", lambda *_: pytest.fail("loaded"))
    Path("mine.html").write_text("mine")
    Path("folder.html").mkdir()
    refused(["explain", PROMPT, *argv], message)


def test_a_missing_package_is_named_before_the_model_is_loaded(refused, monkeypatch):
    monkeypatch.setattr("t2vz.commands.explain.load_model", lambda *_: pytest.fail("loaded"))
    monkeypatch.setitem(sys.modules, "jinja2", None)
    refused(["explain", PROMPT], "pip install 't2vz[lab]'")
