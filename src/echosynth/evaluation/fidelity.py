"""How alike two cohorts are: distances on the features of encoders, and which patients and strata the synthetic cohort reaches."""

import numpy as np
import pandas as pd

from echosynth.cohort.echonet import Cohort
from echosynth.metrics.coverage import patient_coverage
from echosynth.metrics.detectors import Detector, Inception, open_detector
from echosynth.metrics.ejection import ef_strata
from echosynth.metrics.encoders import Encoder, InDomain
from echosynth.metrics.frechet import frechet_infinity, frechet_with_floor
from echosynth.metrics.inception import inception_score
from echosynth.metrics.kernel import kid, kid_with_floor
from echosynth.metrics.manifold import prdc_with_floor
from echosynth.metrics.sampling import Window, image_windows, opening_windows, video_windows
from echosynth.metrics.stream import feature_batches, feature_matrix
from echosynth.randomness import numpy_rng

VIDEOS, IMAGES = 2048, 50_000  # of each kind at most, as in the protocols of FVD and FID
PROTOCOLS = {"fvd_16": dict(frames=16, every=1), "fvd_128": dict(frames=128, every=1), "fvd_128_every_8": dict(frames=16, every=8)}
"""The three of StyleGAN-V, in its order: fvd2048_16f, fvd2048_128f, fvd2048_128f_subsample8f."""


def likeness(real: Cohort, held_out: pd.DataFrame, synthetic: Cohort, encoder: InDomain, detectors: tuple[str, ...], seed: int, trusted: bool = False) -> tuple[dict, pd.DataFrame]:
    """Figures "video.*" (in-domain) and, of each detector, "fvd_16.*", "fvd_128.*", "fvd_128_every_8.*" or "fid.*"; and the table of the coverage.

    `held_out` are the rows of `real` that are compared: those that no regressor saw. Raises InputError for a detector that is none, or not `trusted`, before anything is computed, and for a video that cannot be read.
    """
    opened = [open_detector(option, trusted) for option in detectors]
    metrics, coverage = in_domain(real, held_out, synthetic, encoder, seed)
    for detector in opened:
        metrics |= of_images(real, held_out, synthetic, detector, seed) if isinstance(detector, Inception) else of_videos(real, held_out, synthetic, detector, seed)
    return metrics, coverage


def features(cohort: Cohort, rows: pd.DataFrame, encoder: InDomain, title: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Which of some clips were looked at (`VIDEOS` at most), and the features (n, D) of their first seconds."""
    windows = opening_windows(*_described(rows), encoder.frames, encoder.fps, VIDEOS)
    return rows.iloc[[window.clip for window in windows]], feature_matrix(encoder, [cohort.path(name) for name in rows["name"]], windows, title)


def in_domain(real: Cohort, held_out: pd.DataFrame, synthetic: Cohort, encoder: InDomain, seed: int) -> tuple[dict, pd.DataFrame]:
    """The distances on our own regressor's features, and which patients are reached."""
    clips, of_real = features(real, held_out, encoder, "features of real clips")
    made, of_synthetic = features(synthetic, synthetic.clips, encoder, "features of synthetic clips")
    metrics = distances("video", of_real, clips["patient"].to_numpy().astype(str), of_synthetic, encoder, seed)
    found, table = covered(clips, of_real, made, of_synthetic, seed)
    return metrics | found, table


def of_videos(real: Cohort, held_out: pd.DataFrame, synthetic: Cohort, detector: Detector, seed: int) -> dict:
    """FVD and its kin on a detector that the user supplies, by the rules of StyleGAN-V; real clips begin anywhere, synthetic ones at their first frame."""
    metrics = {}
    for prefix, rule in PROTOCOLS.items():
        windows = video_windows(*_described(held_out), **rule, clips=VIDEOS, seed=seed)
        made = video_windows(*_described(synthetic.clips), **rule, clips=VIDEOS, seed=seed, random_start=False)
        if not windows or not made:
            metrics[f"{prefix}.frechet"] = None
            metrics[f"{prefix}.frechet_reason"] = f"no {'real' if not windows else 'synthetic'} clip of {rule['frames'] * rule['every']} frames"
            continue
        of_real = feature_matrix(detector, _paths(real, held_out), windows, f"{prefix}: real clips")
        of_synthetic = feature_matrix(detector, _paths(synthetic, synthetic.clips), made, f"{prefix}: synthetic clips")
        metrics |= distances(prefix, of_real, _patients(held_out, windows), of_synthetic, detector, seed)
    return metrics


def of_images(real: Cohort, held_out: pd.DataFrame, synthetic: Cohort, detector: Inception, seed: int) -> dict:
    """FID, KID and the Inception score of single frames."""
    images, made = (image_windows(*_described(rows)[1:], IMAGES, seed) for rows in (held_out, synthetic.clips))
    of_real = feature_matrix(detector, _paths(real, held_out), images, "fid: real frames")
    of_synthetic = feature_matrix(detector, _paths(synthetic, synthetic.clips), made, "fid: synthetic frames")
    metrics = distances("fid", of_real, _patients(held_out, images), of_synthetic, detector, seed)
    probabilities = np.empty((len(made), detector.classes))
    for places, batch in feature_batches(lambda clips, fps: detector.probabilities(clips), _paths(synthetic, synthetic.clips), made, "inception score"):
        probabilities[places] = batch
    score = inception_score(probabilities, seed)
    return metrics | {"fid.inception_score": score.mean, "fid.inception_score_sd": score.sd, "fid.inception_score_reason": score.reason}


def distances(prefix: str, real: np.ndarray, patients: np.ndarray, synthetic: np.ndarray, encoder: Encoder, seed: int) -> dict:
    """Every distance between features `real` (n, D) of some `patients` and `synthetic` (m, D), each beside its floor; null with the reason where there are too few samples."""
    found = frechet_with_floor(real, patients, synthetic, seed)
    metrics = with_floor(f"{prefix}.frechet", found)
    endless = frechet_infinity(real, patients, synthetic, seed)
    metrics |= {f"{prefix}.frechet_infinity": endless.distance, f"{prefix}.frechet_infinity_reason": endless.reason}
    if endless.distance is not None:
        metrics |= {f"{prefix}.frechet_infinity_{end}": endless.distance + sign * 1.96 * endless.standard_error for end, sign in (("low", -1), ("high", 1))}
    kernel = kid_with_floor(real, patients, synthetic, seed)
    metrics |= with_floor(f"{prefix}.kid", kernel)
    if kernel.distance is not None:
        whole = kid(real, synthetic)
        metrics |= {f"{prefix}.kid": whole.value, f"{prefix}.kid_low": whole.value - 1.96 * whole.standard_error, f"{prefix}.kid_high": whole.value + 1.96 * whole.standard_error}
    shares = prdc_with_floor(real, patients, synthetic, seed)
    for name in ("precision", "recall", "density", "coverage"):
        metrics[f"{prefix}.{name}"] = None if shares.found is None else getattr(shares.found, name)
        metrics[f"{prefix}.{name}_floor"] = None if shares.floor is None else getattr(shares.floor, name)
        metrics |= {f"{prefix}.{name}{end}_reason": shares.reason for end in ("", "_floor")}
    metrics |= {f"{prefix}.samples": found.samples or shares.samples, f"{prefix}.encoder": encoder.sha256}
    return {key: value for key, value in metrics.items() if not (key.endswith("_reason") and value is None)}


def with_floor(key: str, found) -> dict:
    """A `Distance` as flat figures."""
    values = {key: found.distance, f"{key}_floor": found.floor, f"{key}_floor_sd": found.floor_sd}
    return values if found.reason is None else values | {f"{name}_reason": found.reason for name in values}


def covered(clips: pd.DataFrame, of_real: np.ndarray, made: pd.DataFrame, of_synthetic: np.ndarray, seed: int) -> tuple[dict, pd.DataFrame]:
    """Which real patients have a synthetic neighbour, in all and by stratum. The table has a row a stratum, and names nobody: kind, stratum, clips, covered and by_real (shares), made (share of the synthetic cohort)."""
    found = patient_coverage(of_real, clips["patient"].to_numpy().astype(str), of_synthetic, numpy_rng(seed, "coverage"))
    metrics = {"coverage.patients": found.share, "coverage.patients_floor": found.floor}
    if found.reason is not None:
        return metrics | {f"{key}_reason": found.reason for key in metrics}, pd.DataFrame()
    strata = {"EF": ef_strata(clips["ef"].to_numpy(), (30.0, 40.0, 50.0, 60.0, 70.0))}
    of_made = {"EF": ef_strata(made["ef"].to_numpy(), (30.0, 40.0, 50.0, 60.0, 70.0))}
    if "phenotype" in clips and clips["phenotype"].notna().all():
        strata["phenotype"] = clips["phenotype"].to_numpy()
    rows = []
    for kind, labels in strata.items():
        for stratum in np.unique(labels):
            chosen = labels == stratum
            share = float((of_made[kind] == stratum).mean()) if kind in of_made else np.nan
            rows.append(
                {"kind": kind, "stratum": stratum, "clips": int(chosen.sum()), "covered": found.covered[chosen].mean(), "by_real": found.by_real[chosen].mean(), "made": share}
            )
    table = pd.DataFrame(rows)
    missing = table[(table["clips"] >= 5) & (table["covered"] < 0.5 * table["by_real"])]
    return metrics | {"coverage.strata_missed": len(missing)}, table


def _described(rows: pd.DataFrame) -> tuple[list[str], np.ndarray, np.ndarray]:
    return rows["name"].tolist(), rows["frames"].to_numpy(int), rows["fps"].to_numpy(float)


def _paths(cohort: Cohort, rows: pd.DataFrame) -> list:
    return [cohort.path(name) for name in rows["name"]]


def _patients(rows: pd.DataFrame, windows: list[Window]) -> np.ndarray:
    return rows["patient"].to_numpy().astype(str)[[window.clip for window in windows]]
