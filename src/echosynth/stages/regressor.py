"""The EF regressor of a study, trained on the real training split.

Read on the held-out real patients it is TRTR: train on real, test on real. Its features are those that distances of whole clips are taken on.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from echosynth import processes
from echosynth.files import atomic_file
from echosynth.metrics.ejection import agreement
from echosynth.networks.kinds import kind_of
from echosynth.stages.start import cohort_of, initial
from echosynth.study import Stage, Study
from echosynth.training.regressor import read_ef, tidy, train_regressor


def run(study: Study) -> dict:
    """Trains on TRAIN and reads VAL and TEST. Leaves predictions.parquet: split, patient (numbered within the file), ef, predicted, both in percent. The summary is of TEST."""
    cohort, config = cohort_of(study), study.config.evaluation
    train = cohort.split("TRAIN")
    videos = [(cohort.path(name), ef) for name, ef in zip(train["name"], train["ef"], strict=True)]
    folder = study.folder("regressor")
    imported = Path(study.config.init) / "regressor"
    given = study.config.init not in ("none", "simulated") and (imported / "config.json").exists()
    if given:  # the judge that came with the weights
        regressor = initial(study.config.init, "regressor", kind_of(config.network), config.network)
        processes.on_first(lambda: regressor.save_pretrained(folder))
    else:
        regressor = train_regressor(videos, config.network, config.training, folder, study.config.seed, "EF regressor", config.pretrained)

    def finish() -> dict:
        held_out = cohort.held_out()
        predicted = read_ef(regressor, [cohort.path(name) for name in held_out["name"]], "EF of held-out clips")
        _, patient = np.unique(held_out["patient"].astype(str), return_inverse=True)
        table = pd.DataFrame({"split": held_out["split"].to_numpy(), "patient": patient, "ef": held_out["ef"].to_numpy(), "predicted": predicted})
        with atomic_file(folder / "predictions.parquet") as path:
            table.to_parquet(path, index=False)
        tidy(folder)
        test = table[table["split"] == "TEST"]
        warning = {"warning": "the EF regressor came with the imported weights: TRTR and TSTR did not have the same budget"} if given else {}
        return agreement(test["ef"], test["predicted"]).as_dict() | {"train_clips": len(videos)} | warning

    return processes.on_first(finish)


STAGE = Stage("regressor", inputs=("cohort",), sections=("evaluation", "init"), run=run, every_process=True)
