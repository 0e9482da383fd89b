"""Figures as text: units, targets, intervals, tables."""

import numpy as np
import pytest
from rich.console import Console

from echosynth.metrics.kernel import kid, kid_with_floor
from echosynth.report.facts import beat_sentence, headline, metric_row, one_sentence, results_table, run_facts, tables, targets, without_paths
from echosynth.report.glossary import ENTRIES, KEY_FIGURES, SECOND_FIGURES, Target, entry, show
from toy_study import METRICS


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("autoencoder.psnr", 25.348, "25.3 dB"),
        ("screen.planted_recall", 0.9741, "97.4 %"),
        ("seconds.total", 1234.4, "1,234 s"),
        ("tstr.r2", -0.456, "−0.46"),
        ("seconds.image", 3.21, "3.2 s"),
    ],
)
def test_figures_as_text(key: str, value: float, text: str):
    assert show(value, entry(key)) == text


@pytest.mark.parametrize(
    ("key", "value", "met"),
    [("tstr.r2", 0.8, True), ("tstr.r2", 0.7999, False), ("screen.false_rejection", 0.07, True), ("screen.false_rejection", 0.071, False), ("trtr.r2", 1.0, None)],
)
def test_targets(key: str, value: float, met: bool | None):
    assert metric_row({key: value}, key)["met"] is met


def test_no_value_has_a_reason_and_no_verdict():
    given = metric_row({"tstr.r2": None, "tstr.r2_reason": "the test split is empty"}, "tstr.r2")
    assert (given["value"], given["met"], given["reason"]) == (None, None, "not computed: the test split is empty")
    for metrics in ({"tstr.r2": None}, {}):
        assert metric_row(metrics, "tstr.r2")["reason"] == "not computed: the evaluation has left no value"


def test_tables_fold_intervals_and_keep_every_other_key():
    rows = {row["key"]: row for table in tables(METRICS | {"tstr.limits_low": -8.0, "tstr.limits_high": 9.0}) for row in table["rows"]}
    assert rows["tstr.r2"]["interval"] == "0.69 to 0.81"
    assert "tstr.r2_low" not in rows and "video.frechet_reason" not in rows
    assert {"tstr.limits_low", "tstr.limits_high", "video.frechet"} <= set(rows)
    assert rows["tstr.limits_low"]["value"] == "−8.0 EF points" and rows["video.encoder"]["value"] == "5e5e5e5e5e5e"


def test_tables_set_real_beside_synthetic():
    pairs = {row["key"]: row for table in tables(METRICS | {"grey.synthetic.sd": 40.0}) for row in table["pairs"]}
    assert (pairs["temporal.*.dominant_period"]["value"], pairs["temporal.*.dominant_period"]["synthetic"]) == ("97 %", "94 %")
    assert pairs["speckle.*.down_1"]["synthetic"] is None and pairs["speckle.*.down_1"]["label"] == "Down, 1 pixel"
    alone = [row["key"] for table in tables(METRICS | {"grey.synthetic.sd": 40.0}) if table["prefix"] == "grey" for row in table["rows"]]
    assert alone == ["grey.synthetic.sd"]


def test_unknown_words_stay_out_of_the_tables():
    keys = [row["key"] for table in tables({"some.path": "/home/someone", "some.unheard_of": 0.25}) for row in table["rows"]]
    assert keys == ["some.unheard_of"] and entry("some.unheard_of").label == "Unheard of"


def test_beat_sentence():
    told = "97 % of the real and 94 % of the synthetic clips have a dominant period of a beat, with a median beat of 0.88 s and 0.91 s"
    assert beat_sentence(METRICS) == f"{told}."
    both = {"temporal.real.beat_regularity": 0.98, "temporal.synthetic.beat_regularity": 0.81}
    assert beat_sentence(METRICS | both) == f"{told}; where three beats are seen, their regularity is 98 % and 81 %."
    assert beat_sentence({}) == ""


def test_every_entry_is_explained():
    assert all(about.words and about.label for about in ENTRIES.values())
    assert entry("tstr.auc_40_unselected").label == "AUC, EF < 40 %, without selection"
    assert all(entry(key).brief for key in (*KEY_FIGURES, *SECOND_FIGURES))


def test_one_sentence_says_what_there_is():
    assert one_sentence({}, None, None) == "No synthetic clips were made."
    full = one_sentence({"tstr.r2": 0.8, "tstr.r2_of_trtr": 0.9, "screen.planted_recall": 0.97, "screen.false_rejection": 0.05}, 240, 1200)
    assert "rejects 5.0 % of patients" in full
    assert full.startswith("240 synthetic clips were made from a cohort of 1,200 clips; ") and "R² 0.80, 90 %" in full
    assert "without the selection" not in full
    both = one_sentence({"tstr.r2": 0.8, "tstr.r2_unselected": 0.71, "tstr.r2_of_trtr_unselected": 0.75}, 240, 1200)
    assert "R² 0.80 (0.71, 75 % of that of training on real clips without the selection of clips by their EF)" in both
    assert "every planted near-copy of 97.0 % of patients" in full and "5.0 %" in full
    assert "97.4 % of patients, the worst kind of moved or near copy (shift 6, images) of 40.0 %, and rejects" in one_sentence(METRICS, 240, 1200)


def test_paths_are_cut_to_their_last_name():
    assert without_paths({"init": "/home/a/w", "more": [{"x": "b/c"}, 1.5, "simulated"]}) == {"init": "w", "more": [{"x": "c"}, 1.5, "simulated"]}


def test_run_facts_report_numbers_only():
    stage = {"stage": "image", "seconds": 30.0, "finished": "2026-01-02T03:04:05+00:00", "key": "abcdef0123", "versions": {"torch": "2.9"}}
    facts = run_facts(
        [
            stage | {"summary": {"name": "0X12", "loss": {"first": 1.23456, "ok": True}, "count": 12000}},
            stage | {"stage": "video", "seconds": 90.0, "versions": {"torch": "2.10"}, "summary": {}},
        ]
    )
    assert facts["stages"][0]["reported"] == "loss first 1.235, count 12,000"
    assert [row["share"] for row in facts["stages"]] == [25.0, 75.0] and facts["total"] == "120 s"
    assert facts["versions"] == {"torch": "2.10, 2.9"}


def test_results_table_fits_a_terminal():
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(results_table(METRICS))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    assert any("EF adherence, R²" in line and "0.82 to 0.89" in line and "✗ ≥ 0.95" in line for line in lines)
    assert any("without selection" in line and "0.71" in line and "✗ ≥ 0.90" in line for line in lines)
    assert any("planted near-copies caught" in line and "✓ ≥ 95.0 %" in line for line in lines)
    assert any("unseen patients rejected" in line and "✗ ≤ 7.0 %" in line for line in lines)
    assert any("radiomics" in line and "76.7" in line and "3.9" in line and "✗ ≤ 3 × floor" in line for line in lines)
    assert any("recall" in line and "✓ ≥ floor−0.05" in line for line in lines)
    assert any("needs 64 clips" in line for line in lines)
    closed = {"form": "quick", "gate": {"clips": {"open": False}, "counts": {"passed": 9, "failed": 2}}}
    console.print(results_table(METRICS, closed))
    printed = console.export_text()
    assert "closed" in printed and "✗ 9 passed, 2" in printed and "failed" in printed.splitlines()[-1] and max(map(len, printed.splitlines())) <= 80
    wide = {"tstr.verdict": "inconclusive", "video.kid_low": -0.01, "video.kid_high": -0.005, "video.kid_floor": -0.001}
    console.print(results_table(METRICS | wide))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    assert any("verdict" in line and "inconclusive" in line and "✗ non-inferior" in line for line in lines)
    assert any("KID" in line and "✓ low ≤ floor" in line for line in lines)
    assert any("worst kind of copy: shift 6" in line and "40.0 %" in line and "✗ ≥ 95.0 %" in line for line in lines)
    without = {key: value for key, value in METRICS.items() if not key.endswith("_unselected")}
    assert not any(row["key"].endswith("_unselected") for row in headline(without))


def test_a_share_of_caught_copies_is_never_rounded_up():
    assert "near-copy of 99.9 % of patients" in one_sentence({"screen.planted_recall": 0.9999, "screen.false_rejection": 0.02}, 1, 1)


def test_targets_by_a_floor():
    triple, near = Target(3, "at most", "times"), Target(0.05, "at least", "within")
    assert triple.met(2.9, 1.0) and not triple.met(3.1, 1.0) and triple.met(3.1) is None
    assert near.met(0.91, 0.95) and not near.met(0.89, 0.95) and near.met(0.99, 0.95)


def test_the_verdict_decides_about_a_loss_and_not_its_point():
    """MAE 0.90 more, of which 1.0 may be lost, with an interval that goes to 2.00: nothing is shown."""
    metrics = {"tstr.mae_more_than_trtr": 0.9, "tstr.mae_more_than_trtr_low": -0.2, "tstr.mae_more_than_trtr_high": 2.0, "tstr.verdict": "inconclusive"}
    rows = {row["key"]: row for row in headline(metrics)}
    assert rows["tstr.mae_more_than_trtr"]["met"] is None and not rows["tstr.mae_more_than_trtr"]["target"]
    assert (rows["tstr.verdict"]["value"], rows["tstr.verdict"]["met"], rows["tstr.verdict"]["target"]) == ("inconclusive", False, "non-inferior")
    assert metric_row({"tstr.verdict": "non-inferior"}, "tstr.verdict")["met"] is True
    assert metric_row({"tstr.verdict_unselected": "inferior"}, "tstr.verdict_unselected")["met"] is False


def test_a_verdict_that_there_is_not_is_missing_with_its_whole_reason():
    row = metric_row({"tstr.verdict": "none: 20 patients, 30 needed"}, "tstr.verdict")
    assert (row["value"], row["met"], row["reason"]) == (None, None, "not computed: 20 patients, 30 needed")
    assert metric_row({"tstr.worst_stratum": "EF 40-50 and more words"}, "tstr.worst_stratum")["value"] == "EF 40-50 and more words"


def test_figures_without_selection_follow_those_with_it():
    keys = [row["key"] for row in headline(METRICS)]
    for key in ("tstr.r2", "tstr.r2_of_trtr", "tstr.mae_more_than_trtr", "tstr.verdict", "adherence.r2", "appearance.detectability_56", "appearance.detectability_clips"):
        assert keys[keys.index(key) + 1] == f"{key}_unselected"
    assert metric_row(METRICS, "appearance.detectability_56_unselected")["floor"] == "0.52"  # the same real clips


def test_a_missing_figure_stays_among_the_targets():
    rows = headline(METRICS)
    counts = targets(rows)
    assert counts["of"] == counts["met"] + counts["missed"] + counts["open"] == sum(bool(row["target"]) for row in rows)
    assert counts["open"] == 2  # video.frechet has no value, video.kid no interval
    less = targets(headline({key: value for key, value in METRICS.items() if key not in ("adherence.slope", "video.recall")}))
    assert less["of"] == counts["of"] and less["open"] == 4


def test_a_perfect_generator_meets_the_target_of_an_unbiased_distance():
    """Its distance and its floor both scatter about 0: with a multiple of the floor for a target it would miss in half of the trials."""
    target, met, missed = ENTRIES["video.kid"].target, 0, 0
    patients = np.repeat(np.arange(60), 2)
    for trial in range(60):
        rng = np.random.default_rng(trial)
        hearts = rng.normal(size=(60, 8))[patients] + 0.5 * rng.normal(size=(120, 8))
        fresh = rng.normal(size=(120, 8)) + 0.5 * rng.normal(size=(120, 8))
        for made, count in ((fresh, "perfect"), (fresh + 0.6, "shifted")):
            floor = kid_with_floor(hearts, patients, made, 0, splits=10)
            value, error = kid(hearts, made)
            found = target.met(value, floor.floor, value - 1.96 * error)
            met, missed = met + (found and count == "perfect"), missed + (not found and count == "shifted")
    assert met >= 57 and missed >= 57


def test_the_floor_of_a_figure_of_synthetic_clips_is_that_of_real_ones():
    assert metric_row(METRICS, "temporal.synthetic.dominant_period")["floor"] == "97"
    assert metric_row({"temporal.synthetic.dominant_period": 0.9}, "temporal.synthetic.dominant_period")["floor"] == ""
