"""From runs to tables: differences, effects and the best, against loops written out; the files read back."""

import csv
import json

import pytest
from lab_study import MADE, finished_study, numbers_of

from t2vz.lab.results import run_rows, write_results
from t2vz.lab.runs import RunFolder

NAMES = [
    "attention own, motion off",
    "attention own, motion on",
    "attention first, motion off",
    "attention first, motion on",
]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return finished_study(RunFolder(tmp_path_factory.mktemp("study")))[0]


def by_hand(results, variant, metric):
    return {run.place: numbers_of(run)[metric] for run, _ in results.runs if run.variant.name == variant}


def test_means_and_paired_differences(results):
    for name in NAMES:
        for metric in results.metrics:
            own, base = by_hand(results, name, metric), by_hand(results, NAMES[0], metric)
            found = results.of(name, metric)
            assert found.value.mean == pytest.approx(sum(own.values()) / 6) and found.value.count == 6
            if name == NAMES[0]:
                assert found.difference is None
            else:
                assert found.difference.mean == pytest.approx(sum(own[p] - base[p] for p in own) / 6)
    assert results.of(NAMES[2], "consistency_first").difference.sign == 1


def test_effects_average_over_the_other_axes(results):
    assert [(e.axis, e.value, e.against) for e in results.effects[:1]] == [("attention", "first", "own")]
    for effect in results.effects:
        changed = [name for name in NAMES if f"{effect.axis} {effect.value}" in name]
        total = 0.0
        for name in changed:
            base = name.replace(f"{effect.axis} {effect.value}", f"{effect.axis} {effect.against}")
            own, other = by_hand(results, name, effect.metric), by_hand(results, base, effect.metric)
            total += sum(own[place] - other[place] for place in own)
        assert effect.difference.mean == pytest.approx(total / 12) and effect.difference.count == 6
    assert {(e.axis, e.metric) for e in results.effects} == {
        (axis, metric) for axis in ("attention", "motion") for metric in results.metrics
    }


def test_the_best_is_the_highest_or_the_lowest_or_nobody(results):
    for metric, choose in (("consistency_first", max), ("background_change", min)):
        means = {name: results.of(name, metric).value.mean for name in NAMES}
        assert results.best(metric) == {choose(means, key=means.get)}
    assert results.best("motion_x") == set()


def test_a_study_may_ask_for_some_measures_only(tmp_path):
    from lab_study import STUDY

    text = STUDY.replace("show = 1", 'show = 1\nmetrics = ["motion_x", "clip_score"]')
    found, _ = finished_study(RunFolder(tmp_path), text)
    assert found.metrics == ("clip_score", "motion_x")


def test_the_files_say_what_was_found(results, tmp_path):
    write_results(results, tmp_path, MADE)
    with open(tmp_path / "results.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["variant"] for row in rows] == [name for name in NAMES for _ in range(6)]
    assert [(row["prompt"], row["seed"]) for row in rows[1:4]] == [
        ("a red ball", "5"),
        ("a red ball", "8"),
        ('a "blue" kite', "3"),
    ]
    assert rows[6]["motion"] == "on" and rows[0]["attention"] == "own"
    for row, (run, _) in zip(rows, results.runs, strict=True):
        assert float(row["clip_score"]) == pytest.approx(numbers_of(run)["clip_score"], rel=1e-5)
    with open(tmp_path / "summary.csv", newline="", encoding="utf-8") as file:
        summary = {(row["variant"], row["metric"]): row for row in csv.DictReader(file)}
    row = summary[NAMES[2], "consistency_first"]
    assert float(row["difference_low"]) < float(row["difference"]) < float(row["difference_high"])
    assert summary[NAMES[0], "clip_score"]["difference"] == ""
    found = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert found["made"] == MADE and len(found["runs"]) == 24 and found["study"]["baseline"] == NAMES[0]
    assert [list(one.values()) for one in found["runs"]] == [list(one.values()) for one in run_rows(results)]
