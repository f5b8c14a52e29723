"""A small finished study with invented numbers, for tests of tables and reports: nothing is generated.

results = finished_study(folder)             # 2 × 2 variants, 2 prompts, 3 seeds
"""

from pathlib import Path

import numpy as np

from t2vz.lab.results import Results, collect
from t2vz.lab.runs import RunFolder, run_key
from t2vz.lab.study import parse_study
from t2vz.pipelines.settings import Settings
from t2vz.video import Video

STUDY = """
title = "A study <of> tests"
about = "First paragraph.\\n\\nSecond & last."
prompts = ["a red ball", 'a "blue" kite']
seeds = [3, 5, 8]
baseline = "attention own, motion off"
show = 1

[settings]
frames = 3

[grid]
attention = ["own", "first"]
motion = { off = "off", on = [12, 12] }
"""
MADE = {
    "weights": "embedded",
    "clip": "embedded",
    "model": {"weights": "ab" * 32, "dtype": "float32"},
    "device": "cpu",
    "command": "t2vz ablate tests.toml --seeds 3",
    "date": "2026-01-02",
    "seconds": 100.0,
    "versions": {"t2vz": "0", "torch": "1", "python": "3"},
}


def numbers_of(trial) -> dict[str, float]:
    """Invented measures: attention raises consistency by 0.1 and the CLIP score by noise, motion moves the camera."""
    rng = np.random.default_rng([len(trial.prompt), trial.seed, len(trial.variant.name)])
    first, moves = trial.settings["attention"] == "first", trial.settings["motion"] is not None
    hard = len(trial.prompt) / 100
    return {
        "clip_score": 25 + rng.normal(),
        "consistency_first": 0.7 + hard + 0.1 * first + 0.001 * rng.normal(),
        "motion_x": 2.0 * moves + 0.01 * rng.normal(),
        "background_change": 20 - 5 * first + rng.normal(),
    }


def finished_study(folder: Path, text: str = STUDY) -> Results:
    """The study, all its runs in the folder."""
    study, store, runs = parse_study(text, "tests", "tests.toml"), RunFolder(folder), []
    for number, trial in enumerate(study.trials(), start=1):
        frames = np.random.default_rng(number).integers(0, 256, (3, 32, 48, 3), dtype=np.uint8)
        settings = {**Settings.resolve(trial.settings).to_dict(), "height": 32, "width": 48}
        record = {"settings": settings, "video": None, "metrics": numbers_of(trial), "notes": ["said once"]}
        key = run_key(trial.settings)
        store.make(key, lambda folder, video=Video(frames), record=record: video.save(folder / "video.mp4") and record)
        runs.append((trial, store.read(key)))
    return collect(study, runs)
