"""The EF regressor of a study, trained on the real training split.

Read on the held-out real patients it is TRTR: train on real, test on real. Its features are those that distances of whole clips are taken on.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from echosynth import processes
from echosynth.errors import InputError
from echosynth.files import atomic_file
from echosynth.metrics.ejection import agreement
from echosynth.metrics.encoders import InDomain
from echosynth.networks.base import Network
from echosynth.networks.kinds import kind_of
from echosynth.networks.regressor import predict_ef
from echosynth.stages.start import check_imported, cohort_of, initial
from echosynth.study import Stage, Study
from echosynth.training.regressor import read_ef, tidy, train_regressor

PREDICTIONS = "predictions.parquet"


def run(study: Study) -> dict:
    """Trains on TRAIN and reads VAL and TEST. Leaves predictions.parquet: split, patient (numbered within the file), ef, predicted, both in percent. The summary is of TEST."""
    cohort, config = cohort_of(study), study.config.evaluation
    train = cohort.split("TRAIN")
    videos = [(cohort.path(name), ef) for name, ef in zip(train["name"], train["ef"], strict=True)]
    folder = study.folder("regressor")
    imported = Path(study.config.init) / "regressor"
    given = study.config.init not in ("none", "simulated") and (imported / "config.json").exists()
    if given:  # the judge that came with the weights
        check_imported(study, "regressor")
        regressor = initial(study.config.init, "regressor", kind_of(config.network), config.network)
        processes.on_first(lambda: regressor.save_pretrained(folder))
    else:
        regressor = train_regressor(videos, config.network, config.training, folder, study.config.seed, "EF regressor", config.pretrained)

    def finish() -> dict:
        held_out = cohort.held_out()
        predicted = read_ef(regressor, [cohort.path(name) for name in held_out["name"]], "EF of held-out clips")
        _, patient = np.unique(held_out["patient"].astype(str), return_inverse=True)
        table = pd.DataFrame({"split": held_out["split"].to_numpy(), "patient": patient, "ef": held_out["ef"].to_numpy(), "predicted": predicted})
        with atomic_file(folder / PREDICTIONS) as path:
            table.to_parquet(path, index=False)
        tidy(folder)
        test = table[table["split"] == "TEST"]
        warning = {"warning": "the EF regressor came with the imported weights: TRTR and TSTR did not have the same budget"} if given else {}
        return agreement(test["ef"], test["predicted"]).as_dict() | {"train_clips": len(videos)} | warning

    return processes.on_first(finish)


_ENOUGH, _LEAST_SLOPE = 20, 0.5  # validation clips for a line; a flatter one would magnify errors more than it mends


@dataclass(frozen=True)
class Reader:
    """Reads the EF that a clip shows. A regressor draws what it is unsure of to the mean of its training clips: readings follow the truth by a line of slope below 1, which is undone here.

    Without that, clips which are chosen by their readings show EFs farther from the mean than their labels say.
    """

    regressor: Network
    fps: float | None  # at which it reads; None: the clip's own
    slope: float
    intercept: float  # percent

    @classmethod
    def of(cls, study: Study, device: torch.device) -> "Reader":
        """That of a study whose stage `regressor` is done; its line is that of the validation patients. Raises InputError where it hardly follows EF."""
        folder = study.verified("regressor")
        encoder = InDomain.open(folder, study.config.evaluation.network, device)
        table = pd.read_parquet(folder / PREDICTIONS)
        known = table[table["split"] == "VAL"]
        if len(known) < _ENOUGH:
            return cls(encoder.regressor, encoder.fps, 1.0, 0.0)
        line = agreement(known["ef"].to_numpy(), known["predicted"].to_numpy())
        if not line.slope >= _LEAST_SLOPE:
            raise InputError(
                f"synthesis.ef_tolerance: on validation patients the study's regressor follows EF with a slope of {line.slope:.2f}, too little to choose clips by; "
                "raise evaluation.training.steps, or set synthesis.ef_tolerance to 0"
            )
        return cls(encoder.regressor, encoder.fps, line.slope, line.intercept)

    def every(self, fps: float) -> int:
        """Of frames at `fps`, every how many-th are enough to be read."""
        return max(1, int(fps // self.fps)) if self.fps else 1

    def read(self, frames: np.ndarray, fps: float) -> float:
        """EF in percent of frames uint8 (T, H, W)."""
        with torch.autocast(next(self.regressor.parameters()).device.type, enabled=False):
            return (predict_ef(self.regressor, frames, fps) - self.intercept) / self.slope


STAGE = Stage("regressor", inputs=("cohort",), sections=("evaluation", "init"), run=run, every_process=True)
