"""Every example runs as it is, on the embedded model, with few steps; so does the notebook, in a kernel of its own."""

import re
import runpy
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image

from t2vz.checkpoints import embedded_controlnet, embedded_edit, embedded_weights
from t2vz.errors import InputError
from t2vz.lab.study import load_study
from t2vz.video import read_video

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
STEPS = "3"
NEEDS = {"follow_edges": embedded_controlnet, "edit_a_video": embedded_edit}  # the others: embedded_weights
LEAVES = {  # what each script writes: files and their numbers of frames, sheets (None)
    "generate": {"balloon.mp4": 8, "balloon.png": None},
    "camera_path": {"camera-path.gif": 8},
    "own_noise": {"from-noise-to-noise.gif": 6},
    "cross_frame_attention": {"attention-first.png": None, "attention-own.png": None},
    "where_it_looks": {"where-it-looks.png": None},
    "follow_edges": {"source.png": None, "follows-edges.png": None},
    "edit_a_video": {"snow-1.png": None, "snow-2.png": None},
    "measure": {},
    "compare_with_diffusers": {},
}


def run(name, tmp_path, monkeypatch, capsys) -> str:
    """Run a script as `python examples/NAME.py STEPS` does, in an empty folder; what it printed."""
    try:
        NEEDS.get(name, embedded_weights)()
    except InputError as error:
        pytest.skip(f"examples/{name}.py: {error}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", STEPS])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    return capsys.readouterr().out


def test_each_script_is_listed_here_and_in_the_readme():
    scripts = {path.stem for path in EXAMPLES.glob("*.py")}
    assert scripts == set(LEAVES)
    linked = set(re.findall(r"\]\(([\w.]+)\)", (EXAMPLES / "README.md").read_text(encoding="utf-8")))
    assert linked == {path.name for path in EXAMPLES.iterdir() if path.is_file()} - {"README.md"}


@pytest.mark.parametrize("name", LEAVES)
@pytest.mark.filterwarnings("ignore")
def test_example(name, tmp_path, monkeypatch, capsys):
    printed = run(name, tmp_path, monkeypatch, capsys)
    assert {path.name for path in tmp_path.iterdir()} == set(LEAVES[name])
    for file, frames in LEAVES[name].items():
        if frames is None:
            picture = np.asarray(Image.open(tmp_path / file))
        else:
            picture = read_video(tmp_path / file).frames
            assert len(picture) == frames
        assert picture.std() > 5, f"{file} shows nothing"
    if name == "compare_with_diffusers":
        assert float(printed.split()[-1]) < 1e-4
    if name == "cross_frame_attention":
        assert [line.split()[1] for line in printed.splitlines()] == ["first", "own"]
    if name == "measure":
        assert "CLIP score (E16)" in printed and len(printed.splitlines()) >= 9


def test_scripts_are_short():
    for name in LEAVES:
        lines = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 35, name


def test_the_study_is_one_that_t2vz_ablate_reads():
    study = load_study(EXAMPLES / "study.toml")
    assert study.baseline in [variant.name for variant in study.variants]
    assert len(list(study.trials())) == len(study.variants) * len(study.prompts) * len(study.seeds) > 1


def test_the_notebook_runs_and_its_latents_are_text_to_video_s(tmp_path, monkeypatch):
    """The notebook itself asserts that; here every cell must run, and show pictures. It is stored without outputs."""
    monkeypatch.setenv("T2VZ_STEPS", STEPS)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(EXAMPLES / "text2video_zero.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for cell in cells for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 6
    said = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    assert float(said.split()[-1]) < 1e-4
