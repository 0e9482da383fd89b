"""Is the synthetic cohort useful, and does it obey? What regressors that were trained on it, on real clips, or on both say of real test patients, and of synthetic clips."""

import math
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from echosynth.cohort.echonet import Cohort
from echosynth.config import EvaluationSection
from echosynth.evaluation.trainings import Trained, videos
from echosynth.files import atomic_file
from echosynth.metrics.ejection import agreement, auc, bootstrap_interval, calibration, ef_strata, mae, patient_weights, r2, rmse, strata_mae
from echosynth.metrics.utility import compare_training
from echosynth.networks.base import Network
from echosynth.randomness import numpy_rng
from echosynth.training.regressor import readings

LOW_EF = (35.0, 40.0, 50.0)  # percent: defibrillators, reduced, mildly reduced
JUDGED = 256  # real clips on which the judge is measured
UNSELECTED = "tstr_unselected"


def usefulness(
    trained: Trained, real: Cohort, synthetic: Cohort, section: EvaluationSection, folder: Path, seed: int, unselected: Cohort | None = None
) -> dict:
    """Figures "adherence.*", "judge.*", "trtr.*", "trts.*", "tstr.*" and so on; leaves a table of the readings of each in `folder`.

    Where clips were left out for the EF they show, `unselected` are those as they came: "adherence.r2_unselected" and the like are read off them.
    Intervals are 95 % bootstraps over patients (each synthetic clip is a patient of its own), paired where two kinds read the same clips.
    """
    made = [synthetic.path(name) for name in synthetic.clips["name"]]
    asked = synthetic.clips["ef"].to_numpy(float)
    alone = patient_weights(np.arange(len(asked)), section.bootstraps, numpy_rng(seed, "bootstrap adherence"))
    by_judge, by_real = np.split(readings([trained.judge, *(trained.real if trained.judge_is_held_out else [])], made, "EF of synthetic clips"), [1])
    _table(folder / "adherence.parquet", asked=asked, measured=by_judge[0])
    metrics = figures("adherence", asked, by_judge, alone)
    if unselected is not None:
        first = [unselected.path(name) for name in unselected.clips["name"]]
        wanted = unselected.clips["ef"].to_numpy(float)
        drawn = patient_weights(np.arange(len(wanted)), section.bootstraps, numpy_rng(seed, "bootstrap adherence"))
        by_judge = readings([trained.judge], first, "EF of unselected clips")
        _table(folder / "adherence_unselected.parquet", asked=wanted, measured=by_judge[0])
        metrics |= without_selection("adherence", figures("adherence", wanted, by_judge, drawn))
    if trained.judge_is_held_out:
        unseen = videos(real, ("TRAIN",))[:JUDGED]
        truth = np.array([ef for _, ef in unseen])
        metrics |= _flat("judge", agreement(truth, readings([trained.judge], [path for path, _ in unseen], "the judge on real clips")[0]).as_dict())
        metrics |= figures("trts", asked, by_real, alone)

    test = real.split("TEST")
    paths, ef, patients = [real.path(name) for name in test["name"]], test["ef"].to_numpy(float), test["patient"].to_numpy().astype(str)
    weights = patient_weights(patients, section.bootstraps, numpy_rng(seed, "bootstrap test"))
    kinds = {"trtr": trained.real, "tstr": trained.synthetic, UNSELECTED: trained.unselected, "mixed": trained.mixed, "relabelled": trained.relabelled}
    read = _by_kind({kind: regressors for kind, regressors in kinds.items() if regressors}, paths)
    for kind, predicted in read.items():
        _table(folder / f"{kind}.parquet", ef=ef, **{f"predicted_{k + 1}" if k else "predicted": one for k, one in enumerate(predicted)})
        found = figures("tstr" if kind == UNSELECTED else kind, ef, predicted, weights)
        if kind != "trtr":
            unequal = "" if kind == "mixed" else _unequal(trained)
            found |= _beside_trtr(kind, ef, read["trtr"], predicted, weights, patients, seed, unequal)
        metrics |= without_selection("tstr", found) if kind == UNSELECTED else found
    metrics |= {"trtr.train_clips": trained.real_clips, "tstr.train_clips": trained.clips}
    metrics |= _curve(trained, paths, ef, weights, folder)
    return metrics


def _by_kind(kinds: dict[str, list[Network]], paths: list[Path]) -> dict[str, np.ndarray]:
    """EF in percent (seeds, n) that the regressors of each kind read from the test clips."""
    read = readings([regressor for regressors in kinds.values() for regressor in regressors], paths, "EF of test clips")
    ends = np.cumsum([len(regressors) for regressors in kinds.values()])[:-1]
    return dict(zip(kinds, np.split(read, ends), strict=True))


def without_selection(prefix: str, found: dict) -> dict:
    """Figures "adherence.r2", "adherence.r2_low" and so on of unselected clips, under the keys "adherence.r2_unselected", "adherence.r2_unselected_low"."""
    ends = ("_low", "_high", "_reason", "_floor_sd", "_floor")
    renamed = {}
    for key, value in found.items():
        assert key.startswith(f"{prefix}.")
        # "limits_low" is a figure itself, and no end of another
        end = next((end for end in ends if key.endswith(end) and key.removesuffix(end) in found), "")
        renamed[f"{key.removesuffix(end)}_unselected{end}" if end else f"{key}_unselected"] = value
    return renamed


def _unequal(trained: Trained) -> str:
    """Why there is no verdict on synthetic clips against real ones; empty where both kinds learn from as many."""
    return "" if trained.clips == trained.real_clips else f"learns from {trained.clips} clips, TRTR from {trained.real_clips}; equal numbers needed"


def _beside_trtr(
    kind: str, ef: np.ndarray, by_trtr: np.ndarray, predicted: np.ndarray, weights: np.ndarray, patients: np.ndarray, seed: int, unequal: str = ""
) -> dict:
    """What a training loses against TRTR on the same test clips: the share of its R2 and the difference of the errors, each with its interval, and the verdict; without one for the reason `unequal`."""
    name = "tstr" if kind == UNSELECTED else kind
    compared = compare_training(ef, by_trtr, predicted, patients, seed, max(len(weights), 100))
    told = {}
    if name == "tstr":
        share = _share_of_r2(ef, by_trtr, predicted)
        told = {"tstr.r2_of_trtr": float(share(np.ones(len(ef))))}
        told |= _ends("tstr.r2_of_trtr", bootstrap_interval(lambda truth, read, drawn: share(drawn), ef, predicted, weights))
    told |= {f"{name}.mae_more_than_trtr": compared.difference, f"{name}.mae_more_than_trtr_low": compared.low, f"{name}.mae_more_than_trtr_high": compared.high}
    reason = compared.reason or unequal
    return told | {f"{name}.verdict": f"none: {reason}" if reason else compared.verdict}


def _share_of_r2(ef: np.ndarray, by_trtr: np.ndarray, predicted: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """R2 of `predicted` (seeds, n) over that of `by_trtr` (seeds, n), as a function of the weights (..., n) of the clips: both on the same drawn patients. NaN where the latter is not above 0."""

    def share(weights: np.ndarray) -> np.ndarray:
        above, below = (_mean_over_seeds(r2, ef, one, weights) for one in (predicted, by_trtr))
        return np.where(below > 0, above / np.where(below > 0, below, 1), np.nan)

    return share


def _ends(key: str, interval: tuple[float, float]) -> dict:
    return {f"{key}_low": interval[0], f"{key}_high": interval[1]}


def slope(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Slope (...) of the least-squares line predicted = slope truth + intercept over clips weighted by `weights` (..., n), that of `metrics.ejection.Agreement`; NaN where all truths are equal."""
    shares = weights / weights.sum(-1, keepdims=True)
    centred = truth - (shares * truth).sum(-1, keepdims=True)
    squares = (shares * centred**2).sum(-1)
    flat = squares <= 1e-12 * np.maximum((shares * truth**2).sum(-1), 1e-300)
    return np.where(flat, np.nan, (shares * centred * predicted).sum(-1) / np.where(flat, 1, squares))


def figures(prefix: str, truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> dict:
    """All figures of agreement of readings `predicted` (seeds, n) with `truth` (n,): means over the seeds, with intervals from the bootstrap `weights`, and the spread of R2 over the seeds."""
    each = [agreement(truth, one).as_dict() for one in predicted]
    metrics = {f"{prefix}.{key}": float(np.mean([one[key] for one in each])) for key in each[0]}
    for key, metric in (("r2", r2), ("mae", mae), ("rmse", rmse), ("slope", slope)):
        over_seeds = partial(_mean_over_seeds, metric)
        metrics |= _ends(f"{prefix}.{key}", bootstrap_interval(over_seeds, truth, predicted, weights))
    for below in LOW_EF:
        values = [float(auc(truth, one, below=below)) for one in predicted]
        metrics[f"{prefix}.auc_{below:g}"] = float(np.mean(values))
        if not math.isfinite(metrics[f"{prefix}.auc_{below:g}"]):
            metrics[f"{prefix}.auc_{below:g}_reason"] = f"no clip on one side of an EF of {below:g} %"
    lines = [calibration(truth, one) for one in predicted]
    metrics |= {
        f"{prefix}.calibration_slope": float(np.mean([line.slope for line in lines])),
        f"{prefix}.calibration_intercept": float(np.mean([line.intercept for line in lines])),
    }
    worst = [strata_mae(truth, one, ef_strata(truth)) for one in predicted]
    if worst[0]:
        means = {stratum.name: float(np.mean([found.mae for one in worst for found in one if found.name == stratum.name])) for stratum in worst[0]}
        name = max(means, key=means.__getitem__)
        metrics |= {f"{prefix}.worst_stratum": name, f"{prefix}.worst_stratum_mae": means[name]}
    if len(predicted) > 1:
        metrics |= {f"{prefix}.r2_sd": float(np.std([one["r2"] for one in each], ddof=1)), f"{prefix}.seeds": len(predicted)}
    return metrics


def _mean_over_seeds(metric, truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.mean([metric(truth, one, weights) for one in predicted], axis=0)


def _curve(trained: Trained, paths: list[Path], ef: np.ndarray, weights: np.ndarray, folder: Path) -> dict:
    """TSTR against the number of synthetic clips: curve.parquet, and figures "curve.N"."""
    metrics, rows = {}, []
    for count, regressor in trained.curve.items():
        key = f"curve.r2_of_{count}"
        if regressor is None:
            metrics |= {key: None, f"{key}_reason": f"the synthetic cohort has fewer than {count} clips to train on"}
            continue
        found = figures("x", ef, readings([regressor], paths, f"TSTR of {count} clips"), weights)
        metrics |= {key: found["x.r2"], f"{key}_low": found["x.r2_low"], f"{key}_high": found["x.r2_high"]}
        rows.append({"clips": count} | {name: found[f"x.{name}"] for name in ("r2", "r2_low", "r2_high", "mae")})
    if rows:
        _table(folder / "curve.parquet", **pd.DataFrame(rows))
    return metrics


def _flat(name: str, values: dict) -> dict:
    return {f"{name}.{key}": value for key, value in values.items()}


def _table(path: Path, **columns: Iterable) -> None:
    with atomic_file(path) as partial:
        pd.DataFrame(columns).to_parquet(partial, index=False)
