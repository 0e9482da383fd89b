"""The copy for others: no picture of a patient, no figure on a single one, no word from the owner's machine."""

import base64
import io
import os
import re
import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image
from safetensors.numpy import load_file

from echosynth.cohort.video import read_clip, write_clip
from echosynth.config import preset
from echosynth.files import write_json
from echosynth.report import figures, write_report
from echosynth.report.redaction import FEWEST, Withheld, clips_of_enough, merged_bins, public_metrics, public_options
from echosynth.study import Study
from toy_study import METRICS, SECRET, beating, moved

PATIENTS = 60  # of each split in the study of these tests, two clips each
SIZE = 112


@pytest.fixture(scope="module")
def study(finished: Study, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study of many patients, whose synthetic clips are not those of the cohort; its folders have names that nobody may learn."""
    root = tmp_path_factory.mktemp("SECRETHOME")
    shutil.copytree(finished.root, root / "study")
    shutil.copytree(finished.cohort_path, root / "SECRETSITE")
    more = {"published.tau": 0.912, "volumes.r2": None, "volumes.r2_reason": f"{root}/VolumeTracings.csv: {SECRET}"}
    write_json(root / "study" / "evaluation" / "metrics.json", METRICS | more)
    options = root / "study" / "study.yaml"
    options.write_text(options.read_text().replace("init: simulated", "init: SECRETWEIGHTS"))
    rng, clips = np.random.default_rng(1), 2 * PATIENTS
    index = pd.read_parquet(root / "study" / "latents" / "index.parquet")
    splits = [
        pd.DataFrame(
            {
                "name": np.resize(index["name"], clips),  # so that each of them has a video
                "patient": [f"{SECRET}{split}{i // 2}" for i in range(clips)],
                "split": split,
                "ef": rng.uniform(15, 80, clips),
                "fps": 50.0,
                "frames": 48,
                "shard": 0,
            }
        )
        for split in ("TRAIN", "VAL", "TEST")
    ]
    pd.concat([index, *splits], ignore_index=True).to_parquet(root / "study" / "latents" / "index.parquet")
    for number, path in enumerate(sorted((root / "study" / "synthetic" / "Videos").iterdir())):
        write_clip(path, beating(20 + 10 * number, 48, 32.0, seed=700 + number), 32.0)
    return moved(root / "study", root / "SECRETSITE")


@pytest.fixture(scope="module")
def pages(study: Study) -> tuple[str, str]:
    """The owner's page and the copy for others."""
    before = os.umask(0o022)
    try:
        owners = write_report(study)
    finally:
        os.umask(before)
    return owners.read_text(), owners.with_name("public.html").read_text()


def _pictures(page: str) -> np.ndarray:
    """Every picture in a page, frame by frame, cut into squares of the size of a clip: (n, SIZE * SIZE)."""
    squares = []
    for kind, data in re.findall(r'data:image/(\w+);base64,([^"]+)"', page):
        assert kind in ("webp", "png")
        image = Image.open(io.BytesIO(base64.b64decode(data)))
        for frame in range(image.n_frames):
            image.seek(frame)
            grey = np.asarray(image.convert("L"))
            assert grey.shape[0] % SIZE == 0 and grey.shape[1] % SIZE == 0
            rows, columns = grey.shape[0] // SIZE, grey.shape[1] // SIZE
            squares += [grey[r * SIZE :, c * SIZE :][:SIZE, :SIZE].ravel() for r in range(rows) for c in range(columns)]
    return np.array(squares)


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = rows.reshape(len(rows), -1).astype(np.float32)
    rows -= rows.mean(1, keepdims=True)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _of_patients(study: Study) -> list[np.ndarray]:
    """The frames of each real clip of the study, and of each reconstruction."""
    clips = [read_clip(path)[0] for path in sorted((study.cohort_path / "Videos").iterdir())]
    return [*clips, *(clip for kind in load_file(study.folder("autoencoder") / "examples.safetensors").values() for clip in kind)]


def test_the_copy_has_no_frame_of_a_patient(study: Study, pages: tuple[str, str]):
    owners, public = (_unit(_pictures(page)) for page in pages)
    assert len(public) == 3 * (24 + 1) + 6  # the synthetic clips, moving and still, and their wall
    for frames in map(_unit, _of_patients(study)):
        assert (owners @ frames.T).max() > 0.95
        assert (public @ frames.T).max() < 0.9


def _marks(page: str) -> Counter:
    """How many marks each group of each drawing of a page has: the dots of a scatter lie in one group."""
    found = Counter()
    for number, drawing in enumerate(re.findall(r"<svg.*?</svg>", page, flags=re.S)):
        root = ElementTree.fromstring(drawing)
        for place, group in enumerate(root.iter("{http://www.w3.org/2000/svg}g")):
            found[number, place] = sum(child.tag.endswith("}use") for child in group)
    return found


def test_the_copy_has_no_dot_a_patient(pages: tuple[str, str]):
    owners, public = pages
    assert max(_marks(owners).values()) == 40  # the rows of the tables of the toy study
    assert 1 < max(_marks(public).values()) <= 6  # groups of the calibration
    assert "PathCollection" in owners and "PathCollection" not in public
    for words in ("Scatter plot", "Bland-Altman plot", "Histogram: similarity", "of 4 cohort clips"):
        assert words in owners and words not in public
    assert "of 4 synthetic clips" in public and "Histogram: EF" in public and "Calibration: mean true EF" in public


def test_what_is_withheld_says_why(pages: tuple[str, str]):
    owners, public = pages
    assert "not computed: the reason names a file" in public and "not computed: withheld" not in public
    reasons = Counter(re.findall(r"withheld: ([^<]+)<", public))
    assert reasons == {
        "shows frames of patients": 3,
        "shows single patients": 4,
        "shows scores of single clips": 4 + 2 + 1,
        "fewer than 10 patients": 1,
        "the hour at which each stage finished, its key and its raw figures": 1,
    }
    assert "withheld:" not in owners
    assert "Do not pass it on; public.html is the copy for others." in owners and "For the owner" not in public
    for words in ("0.840 (cosine)", "0.912 (Pearson)"):  # the thresholds are scores of patients
        assert words in owners and words not in public


def test_the_copy_names_nobody_and_no_place(study: Study, pages: tuple[str, str]):
    owners, public = pages
    assert "SECRETSITE" in owners and "SECRETWEIGHTS" in owners and study.fingerprint[:12] in owners and "03:10" in owners
    for text in (public, (study.folder("report") / "metrics.json").read_text()):
        assert "SECRET" not in text and SECRET not in text and str(study.root.parent) not in text and "/tmp" not in text
        assert study.fingerprint[:8] not in text and not re.search(r"\d\d:\d\d", re.sub(r"<svg.*?</svg>|<style.*?</style>", "", text, flags=re.S))
    assert "finished <b>2026-01-02</b>" in public


def test_only_the_owner_may_read_the_owners_page(study: Study, pages: tuple[str, str]):
    modes = {path.name: path.stat().st_mode & 0o777 for path in study.folder("report").iterdir()}
    assert modes == {"index.html": 0o600, "public.html": 0o644, "metrics.json": 0o644}


def test_the_copy_is_not_made_of_what_it_withholds(study: Study, pages: tuple[str, str], tmp_path: Path):
    shutil.copytree(study.root, tmp_path / "study")
    shutil.copytree(study.cohort_path, tmp_path / "cohort")
    shutil.rmtree(tmp_path / "cohort")
    for name in ("autoencoder/examples.safetensors", "reid/scores.parquet", "evaluation/adherence.parquet", "evaluation/volumes.parquet"):
        (tmp_path / "study" / name).unlink()
    motion = pd.read_parquet(tmp_path / "study" / "evaluation" / "motion.parquet")
    motion[motion["kind"] == "synthetic"].to_parquet(tmp_path / "study" / "evaluation" / "motion.parquet")
    write_report(moved(tmp_path / "study", tmp_path / "cohort", fingerprint="77" * 32))
    assert (tmp_path / "study" / "report" / "public.html").read_text() == pages[1]


def test_few_patients_have_no_plot(finished: Study):
    public = write_report(finished).with_name("public.html").read_text()  # three patients, all of the training split
    assert "Histogram" not in public and "Calibration: mean" not in public
    assert public.count("withheld: fewer than 10 patients") == 2 + 2


def test_merged_bins_have_enough_patients_and_keep_all_values():
    rng, edges = np.random.default_rng(0), np.arange(0, 101, 5)
    values, patients = rng.normal(55, 15, 90).clip(0, 100), np.arange(90) // 2
    bins = merged_bins(values, patients, edges)
    assert bins[0] == 0 and bins[-1] == 100 and set(bins) < set(edges)
    for low, high in pairwise(bins):
        assert len(set(patients[(values >= low) & ((values < high) | (high == 100))])) >= FEWEST
    assert np.histogram(values, bins)[0].sum() == 90
    assert list(merged_bins(np.full(10, 50.0), np.arange(10), edges)) == [0, 100]
    with pytest.raises(Withheld, match="fewer than 10 patients"):
        merged_bins(values, patients % 9, edges)


def test_a_merged_bin_has_its_share_spread_evenly(monkeypatch: pytest.MonkeyPatch):
    axes = Figure().add_subplot()
    monkeypatch.setattr(figures, "draw", lambda plot, alt, height: plot(axes))
    values = np.array([2.0, 12.0, 12.0, 42.0])
    figures.shares({"a": (values, figures.REAL)}, "x", "y", np.arange(0, 51, 10), wider={"a": np.array([0, 20, 50])})
    assert axes.patches[0].get_data().values == pytest.approx([75 / 2, 25 / 3])


def test_so_many_clips_are_of_enough_patients():
    assert clips_of_enough(pd.DataFrame({"patient": list("aabc")})) == 20
    assert clips_of_enough(pd.DataFrame({"patient": []})) == clips_of_enough(None) == np.inf


def _cohort(low: int, high: int) -> pd.DataFrame:
    """So many test patients with an EF of 30 and of 60 percent, two clips each, and others of no account."""
    ef = np.repeat([30.0, 60.0], [2 * low, 2 * high])
    test = pd.DataFrame({"patient": [f"p{i // 2}" for i in range(len(ef))], "split": "TEST", "ef": ef})
    others = pd.DataFrame({"patient": [f"q{i}" for i in range(40)], "split": "TRAIN", "ef": np.tile([30.0, 60.0], 20)})
    return pd.concat([test, others, others.assign(split="TEST", ef=np.nan)])


def test_figures_on_a_few_patients_are_null():
    metrics = {"tstr.auc_40": 0.9, "tstr.worst_stratum": "EF < 40", "tstr.worst_stratum_mae": 7.0, "adherence.auc_40": 0.8, "tstr.r2": 0.7}
    assert public_metrics(metrics, _cohort(10, 10)) == metrics
    for cohort in (_cohort(9, 30), None):
        shared = public_metrics(metrics, cohort)
        assert [shared[key] for key in metrics] == [None, None, None, 0.8, 0.7]
        assert shared["tstr.auc_40_reason"] == "withheld: fewer than 10 patients on one side"
        assert shared["tstr.worst_stratum_mae_reason"] == "withheld: fewer than 10 patients"
    assert public_metrics(metrics, _cohort(30, 9))["tstr.auc_40"] is None
    assert public_metrics(metrics, _cohort(30, 9))["tstr.worst_stratum"] == "EF < 40"


def test_figures_without_selection_are_withheld_alike():
    metrics = {"tstr.auc_40_unselected": 0.9, "tstr.worst_stratum_unselected": "EF < 40", "tstr.worst_stratum_mae_unselected": 7.0}
    assert public_metrics(metrics, _cohort(10, 10)) == metrics
    shared = public_metrics(metrics, _cohort(9, 30))
    assert [shared[key] for key in metrics] == [None] * 3


def test_figures_that_are_scores_or_name_a_file_are_withheld():
    shared = public_metrics({"published.tau": 0.9, "volumes.r2": None, "volumes.r2_reason": "/data/x/VolumeTracings.csv: row 3"}, None)
    assert shared["published.tau"] is None and shared["volumes.r2_reason"] == "the reason names a file"
    assert public_metrics(METRICS, None) == METRICS


def test_options_that_users_wrote_are_withheld():
    config = preset("smoke").model_copy(update={"init": "mercy-hospital"})
    joint = config.joint.model_copy(update={"lead": "mercy", "others": ("grace", "hope")})
    evaluation = config.evaluation.model_copy(update={"detectors": ("i3d=/home/me/i3d.pt",), "pretrained": "kinetics.pt"})
    shared = public_options(config.model_copy(update={"joint": joint, "evaluation": evaluation}))
    assert shared["init"] == shared["joint"]["lead"] == shared["evaluation"]["pretrained"] == "withheld"
    assert shared["joint"]["others"] == ["withheld"] * 2 and shared["evaluation"]["detectors"] == ["withheld"]
    every = preset("full").model_dump(mode="json")
    assert public_options(preset("full")) == every
    assert public_options(preset("paper")) == preset("paper").model_dump(mode="json")
