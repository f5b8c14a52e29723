"""From runs to tables: differences, effects and the best, against loops written out; the files read back."""

import csv
import json

import pytest
from lab_study import MADE, STUDY, finished_study, numbers_of

from t2vz.lab.results import run_rows, write_results

NAMES = [
    "attention own, motion off",
    "attention own, motion on",
    "attention first, motion off",
    "attention first, motion on",
]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return finished_study(tmp_path_factory.mktemp("study"))


def by_hand(results, variant, metric):
    return {run.place: numbers_of(run)[metric] for run, _ in results.runs if run.variant.name == variant}


def test_means_and_paired_differences(results):
    for name in NAMES:
        for metric in results.metrics:
            own, base = by_hand(results, name, metric), by_hand(results, NAMES[0], metric)
            found = results.means[name][metric]
            assert found.mean == pytest.approx(sum(own.values()) / 6) and found.count == 6
            if name != NAMES[0]:
                difference = results.differences[name][metric]
                assert difference.mean == pytest.approx(sum(own[p] - base[p] for p in own) / 6)
    assert results.differences[NAMES[2]]["consistency_first"].sign == 1 and NAMES[0] not in results.differences


def test_effects_average_over_the_other_axes(results):
    assert list(results.effects) == [("attention", "first", "own"), ("motion", "on", "off")]
    for (axis, value, against), found in results.effects.items():
        assert tuple(found) == results.metrics
        for metric, difference in found.items():
            total = 0.0
            for name in (name for name in NAMES if f"{axis} {value}" in name):
                base = name.replace(f"{axis} {value}", f"{axis} {against}")
                own, other = by_hand(results, name, metric), by_hand(results, base, metric)
                total += sum(own[place] - other[place] for place in own)
            assert difference.mean == pytest.approx(total / 12) and difference.count == 6


def test_the_best_is_the_highest_or_the_lowest_or_nobody(results):
    for metric, choose in (("consistency_first", max), ("background_change", min)):
        means = {name: results.means[name][metric].mean for name in NAMES}
        assert results.best(metric) == {choose(means, key=means.get)}
    assert results.best("motion_x") == set()


def test_a_study_may_ask_for_some_measures_only(tmp_path):
    text = STUDY.replace("show = 1", 'show = 1\nmetrics = ["motion_x", "clip_score"]')
    assert finished_study(tmp_path, text).metrics == ("clip_score", "motion_x")


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
