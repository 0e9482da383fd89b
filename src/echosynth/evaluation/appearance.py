"""How clips look and move, without a network: beat, flicker, grey levels, speckle, radiomics, spectra, optical flow, seams. Real and synthetic clips side by side at one frame rate."""

from pathlib import Path

import numpy as np
import pandas as pd

from echosynth.cohort.echonet import Cohort
from echosynth.cohort.video import read_clip, to_square
from echosynth.cores import each
from echosynth.evaluation.fidelity import with_floor
from echosynth.metrics.floor import Measure, distance_with_floor, not_finite
from echosynth.metrics.frechet import frechet_with_floor
from echosynth.metrics.motion import Seams, flow_statistics, seams
from echosynth.metrics.radiomics import FEATURES, radiomic_features
from echosynth.metrics.spectrum import speckle_spectrum, spectrum_distance, temporal_spectrum
from echosynth.metrics.temporal import beat, flicker, high_frequency_share, motion_trace, regularity, resample
from echosynth.metrics.texture import grey_levels, speckle_autocorrelation
from echosynth.metrics.wasserstein import standardised_wasserstein
from echosynth.progress import progress

PLOTTED = 8  # clips of each kind whose motion is drawn
_FRAMES = 16  # that the spectra over time need


def appearance(real: Cohort, held_out: pd.DataFrame, synthetic: Cohort, fps: float, clips: int, joins: tuple[int, ...], seed: int) -> tuple[dict, pd.DataFrame, pd.DataFrame]:
    """Figures of at most `clips` clips of either kind, evenly chosen, at `fps` (or a clip's own rate, where that is lower); the table of the clips, without names, and their motion over time.

    `joins` are the frames of long synthetic clips whose difference from the one before comes of piecing them together. Raises InputError when a video cannot be read.
    """
    chosen = {"real": spread(held_out, clips), "synthetic": spread(synthetic.clips, clips)}

    def look(one: tuple[str, int, Path]) -> tuple[dict, dict[str, np.ndarray], pd.DataFrame, Seams | None]:
        kind, number, path = one
        whole, own = read_clip(path)
        clip, rate = resample(to_square(whole), own, fps), min(own, fps)
        trace = motion_trace(clip)
        plotted = pd.DataFrame({"kind": kind, "clip": number, "time_s": np.arange(len(trace)) / rate, "value": trace})
        jumps = seams(whole, np.array(joins)) if kind == "synthetic" and joins and len(whole) > max(joins) else None
        return {"kind": kind, "clip": number} | _figures(clip, trace, rate), _vectors(clip, rate), plotted, jumps

    clips_of = [(kind, number, cohort.path(name)) for kind, cohort in (("real", real), ("synthetic", synthetic)) for number, name in enumerate(chosen[kind]["name"])]
    found = []
    with progress("motion and texture", len(clips_of)) as advance:
        for one in each(look, clips_of):
            found.append(one)
            advance()
    rows, traces, jumps = [row for row, *_ in found], [plotted for row, _, plotted, _ in found if row["clip"] < PLOTTED], [jump for *_, jump in found if jump is not None]
    vectors = {kind: [vector for row, vector, *_ in found if row["kind"] == kind] for kind in chosen}
    table = pd.DataFrame(rows)
    metrics = {}
    for kind, group in table.groupby("kind"):
        for name, values in group.drop(columns=["kind", "clip"]).items():
            room, _, figure = name.rpartition(".")
            key = f"{room or 'temporal'}.{kind}.{figure}"
            metrics[key] = float(values.median() if name == "beat_seconds" else values.mean())
            if values.isna().all():
                metrics |= {key: None, f"{key}_reason": f"none of {len(values)} clips has one: it takes motion, texture and frames enough"}
    metrics |= _distances(vectors, chosen["real"]["patient"].to_numpy().astype(str), seed)
    if jumps:
        metrics |= {"seams.quantile": float(np.mean([jump.quantiles.mean() for jump in jumps])), "seams.ratio": float(np.median(np.concatenate([jump.ratios for jump in jumps])))}
    return metrics, table, pd.concat(traces)


def _figures(clip: np.ndarray, trace: np.ndarray, fps: float) -> dict:
    found = beat(trace, fps)
    row = {"dominant_period": float(found.dominant), "beat_regularity": regularity(trace, fps)}
    row |= {"beat_seconds": found.period, "beat_share": found.share, "motion_sd": float(trace.std())}
    row |= {"flicker": flicker(clip), "high_frequency_share": high_frequency_share(clip)}
    return row | {f"grey.{key}": value for key, value in grey_levels(clip).items()} | {f"speckle.{key}": value for key, value in speckle_autocorrelation(clip).items()}


def _vectors(clip: np.ndarray, fps: float) -> dict[str, np.ndarray]:
    """What distances between cohorts are taken on, by name."""
    found = {"radiomics": radiomic_features(clip), "speckle_spectrum": speckle_spectrum(clip)}
    if len(clip) >= _FRAMES:
        found |= {"temporal_spectrum": temporal_spectrum(clip), "flow": flow_statistics(clip, fps)}
    return found


def _distances(vectors: dict[str, list[dict[str, np.ndarray]]], patients: np.ndarray, seed: int) -> dict:
    measures: dict[str, Measure | None] = {"radiomics": None, "speckle_spectrum": spectrum_distance, "temporal_spectrum": spectrum_distance, "flow": standardised_wasserstein}
    metrics = {}
    for name, measure in measures.items():
        key = f"appearance.{name}"
        if short := [kind for kind, clips in vectors.items() if any(name not in clip for clip in clips)]:
            metrics |= {key: None, f"{key}_reason": f"a {short[0]} clip of fewer than {_FRAMES} frames"}
            continue
        one, other = (np.stack([clip[name] for clip in vectors[kind]]) for kind in ("real", "synthetic"))
        names = FEATURES if name == "radiomics" else ()
        if bad := not_finite("real", one, names) or not_finite("synthetic", other, names):
            metrics |= {key: None, f"{key}_reason": bad}
            continue
        found = frechet_with_floor(one, patients, other, seed, standardise=True) if measure is None else distance_with_floor(measure, one, patients, other, seed, name)
        metrics |= with_floor(key, found)
    return metrics


def spread(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most `most` rows, evenly over the table."""
    return rows.iloc[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int))]
