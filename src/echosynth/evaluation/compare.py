"""Two cohorts, a real one and a synthetic one: all the evidence on them. The stage `evaluation` and the verb `metrics` are this function."""

import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from echosynth import processes
from echosynth.cohort.echonet import Cohort
from echosynth.config import EvaluationSection
from echosynth.evaluation.appearance import appearance
from echosynth.evaluation.detectability import detectability
from echosynth.evaluation.fidelity import likeness
from echosynth.evaluation.hearts import hearts
from echosynth.evaluation.trainings import train_all
from echosynth.evaluation.usefulness import usefulness
from echosynth.files import atomic_file
from echosynth.metrics.encoders import InDomain
from echosynth.networks.autoencoder import Autoencoder
from echosynth.networks.kinds import kind_of


@dataclass(frozen=True)
class Volumes:
    """What a segmentation measured: tables of `Measurement`s of real and of synthetic clips (in the order of the cohort), or the `reason` why there are none."""

    real: pd.DataFrame | None = None
    synthetic: pd.DataFrame | None = None
    reason: str = "no segmentation was trained"


def compare(
    real: Cohort,
    synthetic: Cohort,
    section: EvaluationSection,
    folder: Path,
    regressor: Path,
    seed: int,
    fps: float,
    measured: Volumes | None = None,
    joins: tuple[int, ...] = (),
    unselected: Cohort | None = None,
    autoencoder: Autoencoder | None = None,
) -> dict:
    """The flat figures of `section` (null where one means nothing, with the reason beside it), the same on all processes; leaves the tables of the plots in `folder`, without names.

    `regressor` is the folder of the one trained on the real training split; `fps` the rate at which motion is compared; `joins` as in `appearance`;
    `unselected` the synthetic clips as they came, where some were left out for the EF they show; `autoencoder` as in `detectability`.
    Resumes where an interrupted call stopped. Raises InputError for a bad detector and for a video that cannot be read.
    """
    encoder = InDomain.open(regressor, section.network)
    trained = train_all(real, synthetic, section, folder, seed, kind_of(section.network).from_pretrained(regressor), unselected)

    def measure() -> dict:
        rows = real.with_phenotypes(real.held_out())
        metrics = usefulness(trained, real, synthetic, section, folder, seed, unselected)
        found, coverage = likeness(real, rows, synthetic, encoder, section.detectors, seed, section.trust_detectors)
        metrics |= found
        found, clips, motion = appearance(real, rows, synthetic, fps, section.clips, joins, seed)
        metrics |= found
        metrics |= detectability(real, rows, synthetic, fps, section, seed, autoencoder, unselected)
        for name, table in (("coverage", coverage), ("temporal", clips), ("motion", motion)):
            if not table.empty:
                with atomic_file(folder / f"{name}.parquet") as partial:
                    table.to_parquet(partial, index=False)
        if measured is not None and measured.synthetic is not None:
            metrics |= hearts(measured.real, measured.synthetic, synthetic.clips["ef"].to_numpy(float), section.bootstraps, seed)
            with atomic_file(folder / "volumes.parquet") as partial:
                pd.DataFrame({"asked": synthetic.clips["ef"].to_numpy(float), "measured": measured.synthetic["ef"].to_numpy(float)}).to_parquet(partial, index=False)
        else:
            metrics |= {"volumes.r2": None, "volumes.r2_reason": measured.reason if measured else Volumes.reason}
        return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in metrics.items()}

    return processes.on_first(measure)
