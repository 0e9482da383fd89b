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
from echosynth.files import atomic_file, read_json
from echosynth.metrics.ejection import agreement
from echosynth.metrics.encoders import InDomain
from echosynth.networks.base import Network, NetworkConfig, reason
from echosynth.networks.kinds import kind_of
from echosynth.networks.regressor import predict_ef
from echosynth.stages.start import check_imported, cohort_of, initial, shipped
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


READER, LINE = "reader", "line.json"  # of the regressor that comes with the weights


class Line(NetworkConfig):
    """Readings of clips that a regressor never saw follow their EF (percent): reading = slope x EF + intercept."""

    slope: float
    intercept: float


_ENOUGH, _LEAST_SLOPE = 20, 0.5  # held-out clips for a line; a flatter one would magnify errors more than it mends


def line_of(table: pd.DataFrame) -> Line:
    """The line of readings: of the columns ef and predicted (percent) of clips that the regressor never saw; that of a perfect one where they are few. Slope 0 where there is none."""
    if len(table) < _ENOUGH:
        return Line(slope=1.0, intercept=0.0)
    found = agreement(table["ef"].to_numpy(), table["predicted"].to_numpy())
    return Line(slope=found.slope, intercept=found.intercept) if np.isfinite(found.slope) else Line(slope=0.0, intercept=0.0)


def read_line(folder: Path) -> Line:
    """The line beside a regressor; raises InputError when there is none."""
    try:
        return Line.model_validate(read_json(folder / LINE))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / LINE}: not the line of a regressor ({reason(error)}); make one with: echosynth pretrain OUT") from error


def given_reader(init: str) -> Path | None:
    """The reader in the folder of weights `init`; None where there is none, and the one that comes with echosynth reads."""
    folder = Path(init) / READER
    return folder if init not in ("none", "simulated") and (folder / LINE).exists() else None


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
        line = line_of(table[table["split"] == "VAL"])
        if not line.slope >= _LEAST_SLOPE:
            raise InputError(
                f"synthesis.ef_tolerance: on validation patients the study's regressor follows EF with a slope of {line.slope:.2f}, too little to choose clips by; "
                "raise evaluation.training.steps, or set synthesis.ef_tolerance to 0"
            )
        return cls(encoder.regressor, encoder.fps, line.slope, line.intercept)

    @classmethod
    def simulated(cls, init: str, device: torch.device) -> "Reader":
        """The one that comes with the first weights, with its line on clips that it did not learn from: no training of the study takes part in what it chooses.

        That of the folder `init` where it has one (`given_reader`), else the one that comes with echosynth and was trained on simulated hearts alone.
        Raises InputError when it is damaged, or hardly follows EF.
        """
        folder = given_reader(init) or shipped(READER)
        line = read_line(folder)
        if not line.slope >= _LEAST_SLOPE:
            raise InputError(f"{folder}: on held-out clips this regressor follows EF with a slope of {line.slope:.2f}, too little to choose clips by; train it for more steps")
        encoder = InDomain.open(folder, device=device)
        return cls(encoder.regressor, encoder.fps, line.slope, line.intercept)

    def every(self, fps: float) -> int:
        """Of frames at `fps`, every how many-th are enough to be read."""
        return max(1, int(fps // self.fps)) if self.fps else 1

    def read(self, frames: np.ndarray, fps: float) -> float:
        """EF in percent of frames uint8 (T, H, W)."""
        with torch.autocast(next(self.regressor.parameters()).device.type, enabled=False):
            return (predict_ef(self.regressor, frames, fps) - self.intercept) / self.slope


STAGE = Stage(
    "regressor",
    inputs=("cohort",),
    sections=("evaluation.network", "evaluation.training", "evaluation.pretrained", "init"),
    run=run,
    every_process=True,
)
