"""The hashes of code and files: what computes counts, what is only read by people does not."""

import shutil

import pytest

from t2vz.lab.runs import ROOT, code_hash, content_hash


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A copy of some of the package's code, and the hash of it."""
    root = tmp_path_factory.mktemp("copy") / "t2vz"
    for name in ("motion", "lab", "unet"):
        shutil.copytree(ROOT / name, root / name)
    return root, code_hash(root)


@pytest.mark.parametrize(
    "name, line, same",
    [
        ("motion/warping.py", "MORE = 1", False),
        ("unet/new.py", "", False),
        ("lab/measure.py", "MORE = 1", False),
        ("motion/warping.py", "# a remark", True),
        ("motion/warping.py", "", True),
        ("commands/generate.py", "MORE = 1", True),
        ("lab/report.py", "MORE = 1", True),
        ("world/objects.py", "MORE = 1", True),  # what it paints for a study counts, pixel by pixel
        ("cli.py", "MORE = 1", True),
    ],
)
def test_changes_of_what_computes_show_and_others_do_not(package, name, line, same):
    root, before = package
    file = root / name
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"{text}\n{line}\n", encoding="utf-8")
    assert (code_hash(root) == before) is same
    file.write_text(text, encoding="utf-8") if text else file.unlink()


def test_the_hash_of_files_is_of_names_and_contents(tmp_path):
    folder = tmp_path / "frames"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.png").write_bytes(b"1")
    (folder / "deep/b.png").write_bytes(b"2")
    first = content_hash(folder)
    (folder / ".hidden").write_bytes(b"3")
    assert content_hash(folder) == first
    (folder / "a.png").rename(folder / "c.png")
    assert content_hash(folder) != first
    assert content_hash(folder / "c.png") == (
        "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
    )  # SHA-256 of "1"
