"""docs/method.md keeps what it promises: each equation with its function, its test and its picture, links that arrive.

The check is `docs/make.py --check`; here it must find nothing, and it must find what is broken on purpose.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "examples" / "README.md",
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
EQUATIONS = [f"E{n}" for n in range(1, 18)]


@pytest.fixture(scope="module")
def make():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "docs"))
        import make

        yield make


@pytest.fixture(scope="module")
def draw():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "docs"))
        import draw

        yield draw


@pytest.fixture
def text(make):
    return make.BOOK.read_text(encoding="utf-8")


def test_nothing_is_wrong_with_the_book(make, text):
    found = [line for line in make.problems(text) if "pictures/" not in line]
    assert not found, "\n".join(found)


def test_links_point_at_the_lines_of_what_they_name(text):
    """Read again without make.py's parser: the line itself must begin the function or class."""
    entries = re.findall(r"^\[`([\w.]+)`\]: (\S+)#L(\d+)$", text, re.MULTILINE)
    assert len(entries) > 150
    for name, path, number in entries:
        lines = (ROOT / "docs" / path).read_text(encoding="utf-8").splitlines()
        wanted = rf"\s*(def|class) {name.split('.')[-1]}\b"
        assert re.match(wanted, lines[int(number) - 1]), f"{name}: {path}#L{number} is: {lines[int(number) - 1]}"


def test_every_equation_s_functions_and_tests_are_real(make, text):
    """Functions can be imported, tests would be collected."""
    assert list(make.sections(text)) == EQUATIONS
    entries = {name: path for name, path, _ in make.ENTRY.findall(text)}
    for tag, section in make.sections(text).items():
        tests = [name for name in make.USED.findall(section) if entries[name].startswith("../tests/")]
        assert tests and all(name.split(".")[-1].startswith("test_") for name in tests), tag
        assert all(Path(entries[name]).name.startswith("test_") for name in tests), tag


@pytest.mark.parametrize("tag", EQUATIONS)
def test_the_check_misses_what_an_equation_loses(make, text, tag):
    section = make.sections(text)[tag]

    def found(changed: str) -> list[str]:
        return list(make.problems(text.replace(section, changed)))

    paths = {name: path for name, path, _ in make.ENTRY.findall(text)}
    functions = [name for name in make.USED.findall(section) if paths[name].startswith("../t2vz/")]
    tests = [name for name in make.USED.findall(section) if paths[name].startswith("../tests/")]
    for what, names in (("function", functions), ("test", tests)):
        changed = section
        for name in names:
            changed = changed.replace(f"[`{name}`]", f"`{name}`")
        assert f"{tag} has no {what}" in found(changed)
    assert f"{tag} has no formula" in found(section.replace("$$", "$"))
    assert f"{tag} has no picture" in found(section.replace("(pictures/", "(lost/"))
    heading = next(line for line in text.splitlines() if line.startswith(f"### {tag} "))
    assert any("is needed once, in order" in line for line in make.problems(text.replace(heading, "### Untagged")))


def test_the_check_sees_moved_and_vanished_definitions_and_missing_pictures(make, text):
    moved = re.sub(r"(\[`warp`\]: \S+#L)\d+", r"\g<1>1", text)
    assert any(line.startswith("[`warp`]: is on line") for line in make.problems(moved))
    renamed = text.replace("`warp`]", "`wrap`]")
    assert "[`wrap`]: ../t2vz/motion/warping.py does not define it" in list(make.problems(renamed))
    assert "pictures/e08-wrap.png is missing; run --pictures e08-wrap" in list(
        make.problems(text.replace("e08-warp", "e08-wrap"))
    )


def test_links_are_written_anew_from_any_lines(make, text):
    assert make.relinked(text) == text
    assert make.relinked(re.sub(r"#L\d+$", "#L1", text, flags=re.MULTILINE)) == text
    without = re.sub(r"^\[`warp`\]: .*\n", "", text, flags=re.MULTILINE)
    assert make.relinked(without) == text  # only one file defines it
    with pytest.raises(SystemExit, match="no file defines it"):
        make.relinked(text.replace("[`warp`]", "[`no_such_function`]"))
    with pytest.raises(SystemExit, match=r"\[`run`\]: enter one of .*commands/ablate.py.*commands/edit.py"):
        make.relinked(text.replace("[`warp`]", "[`run`]"))


def test_every_picture_is_there_is_drawn_by_the_code_and_is_shown(make, draw, text):
    shown = make.PICTURE.findall(text)
    assert sorted(shown) == sorted(draw.PICTURES) and len(set(shown)) == len(shown)
    stored = {path.stem for path in (ROOT / "docs" / "pictures").iterdir()}
    assert stored <= set(shown)
    missing = [name for name in shown if name not in stored]
    without_model = [name for name in missing if draw.missing_model(name)]
    assert missing == without_model, f"run docs/make.py --pictures {' '.join(missing)}"
    if without_model:
        pytest.skip(f"not drawn: {', '.join(without_model)}: {draw.missing_model(without_model[0])}")


def test_a_picture_is_the_same_bytes_each_time(draw, tmp_path):
    for name in ("schedule", "e07-global-motion"):
        for copy in ("a.png", "b.png"):
            draw.save(draw.PICTURES[name](draw.Studio()), tmp_path / copy)
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_docs_stay_small():
    assert sum(path.stat().st_size for path in (ROOT / "docs").rglob("*") if path.is_file()) < 8 * 2**20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_and_to_files_arrive(page):
    """Files and folders exist; #headings are headings of their page."""
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^\[[^\]]+\]: (\S+)$", text, re.MULTILINE)
    for target in targets:
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        file = page if not path else page.parent / path
        if file.suffix == ".png" and file.parent.name == "pictures":
            continue  # those have a test of their own
        assert file.exists(), f"{page.name}: {target}"
        if anchor and not re.fullmatch(r"L\d+", anchor):
            assert anchor in anchors(file.read_text(encoding="utf-8")), f"{page.name}: {target}"


def test_functions_the_pages_name_beside_a_file_are_in_it(make):
    """[`warp`](t2vz/motion/warping.py), as README and architecture.md have them."""
    for page in PAGES:
        for names, target in re.findall(r"\[([^\]]*`[^\]]*)\]\(([^)\s]+\.py)\)", page.read_text(encoding="utf-8")):
            for name in re.findall(r"`([A-Za-z_][\w.]*)`", names):
                if "/" not in name and not name.endswith(".py"):
                    assert make.line_of(page.parent / target, name), f"{page.name}: {name} is not in {target}"


def anchors(text: str) -> set[str]:
    """GitHub's names for the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
