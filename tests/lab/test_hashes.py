"""The hash of code: what computes counts, what is only read by people does not."""

import pytest

from t2vz.lab import hashes

FILES = {
    "__init__.py": "VERSION = 1\n",
    "pipe.py": '"""A pipeline."""\nfrom .maths import double\nfrom . import step\nrun = double\n',
    "maths/__init__.py": "from .core import double\n",
    "maths/core.py": 'def double(x):\n    """Twice x."""\n    return 2 * x\n',
    "step.py": "import os\n\n\ndef step():\n    from t2vz import late\n    return late\n",
    "late.py": "LATE = 1\n",
    "unused.py": "OTHER = 1\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package of the same name, and a function that changes one of its files."""
    root = tmp_path / "t2vz"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(hashes, "ROOT", root)

    def changed(name, old, new):
        (root / name).write_text(FILES[name].replace(old, new))
        found = hashes.code_hash(("t2vz.pipe",))
        (root / name).write_text(FILES[name])
        return found

    return changed


def test_every_module_that_is_imported_counts(package):
    assert set(hashes.reached(("t2vz.pipe",))) == {
        "t2vz.pipe",
        "t2vz.maths",
        "t2vz.maths.core",
        "t2vz.step",
        "t2vz.late",
    }
    assert {"t2vz.unet.unet", "t2vz.motion.warp"} & set(hashes.reached(("t2vz.pipe",))) == set()


@pytest.mark.parametrize(
    "name, old, new, same",
    [
        ("maths/core.py", "2 * x", "3 * x", False),
        ("late.py", "1", "2", False),
        ("maths/core.py", "Twice x", "x, twice", True),
        ("maths/core.py", "2 * x", "2 * x  # doubled", True),
        ("pipe.py", "A pipeline", "The pipeline", True),
        ("unused.py", "1", "2", True),
    ],
)
def test_changes_of_code_show_and_changes_of_words_do_not(package, name, old, new, same):
    before = hashes.code_hash(("t2vz.pipe",))
    assert (package(name, old, new) == before) is same


def test_the_real_pipeline_reaches_its_networks_and_not_the_trainings():
    found = set(hashes.reached(("t2vz.pipelines.text_to_video", "t2vz.lab.measure")))
    assert {"t2vz.unet.unet", "t2vz.motion.warp", "t2vz.vae.vae", "t2vz.metrics.motion"} <= found
    assert not any(name.startswith(("training", "t2vz.commands", "t2vz.lab.report")) for name in found)


def test_the_hash_of_files_is_of_names_and_contents(tmp_path):
    folder = tmp_path / "frames"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.png").write_bytes(b"1")
    (folder / "deep/b.png").write_bytes(b"2")
    first = hashes.content_hash(folder)
    (folder / ".hidden").write_bytes(b"3")
    assert hashes.content_hash(folder) == first
    (folder / "a.png").rename(folder / "c.png")
    assert hashes.content_hash(folder) != first
    assert hashes.content_hash(folder / "c.png") == (
        "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
    )  # SHA-256 of "1"
