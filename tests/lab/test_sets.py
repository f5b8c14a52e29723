"""Sets of videos compared: what counts as one witness. The rest is tested through `t2vz score`."""

from pathlib import Path

import numpy as np
import pytest

from t2vz.lab.sets import Film, VideoSet, compare_sets, over_prompts, pair
from t2vz.metrics import MEASURES


def test_from_ten_prompts_on_the_videos_of_one_count_as_one():
    values = np.random.default_rng(0).normal(size=30)
    films = [Film(Path(f"{k}.mp4"), str(k), f"prompt {k // 3}", None) for k in range(30)]
    for film, value in zip(films, values, strict=True):
        film.measures = {**dict.fromkeys(MEASURES), "clip_score": value}
    sets = [VideoSet("ours", films, [])]
    assert pair(sets) == []
    ((own, difference),) = compare_sets(sets)["clip_score"]
    assert own.count == 10 and own.mean == pytest.approx(values.mean()) and difference is None
    assert over_prompts(sets) and not over_prompts([VideoSet("ours", films[:9], [])])
