"""A small finished study with invented numbers, for tests of tables and reports: nothing is generated.

results, keys = finished_study(store)        # 2 × 2 variants, 2 prompts, 3 seeds
"""

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


def finished_study(store: RunFolder, text: str = STUDY) -> tuple[Results, list[str]]:
    """The study, all its runs on the disk, and their keys in order."""
    study = parse_study(text, "tests", "tests.toml")
    runs, keys = [], []
    for trial in study.trials():
        settings = {**Settings.resolve(trial.settings).to_dict(), "height": 32, "width": 48}
        record = {
            "settings": settings,
            "video": None,
            "metrics": numbers_of(trial),
            "notes": ["said once"],
            "seconds": 1.0,
        }
        runs.append((trial, record))
        keys.append(run_key(trial.settings))
        frames = np.random.default_rng(len(keys)).integers(0, 256, (3, 32, 48, 3), dtype=np.uint8)
        store.make(keys[-1], lambda folder, frames=frames: {"video": str(Video(frames).save(folder / "video.mp4"))})
    return collect(study, runs), keys
