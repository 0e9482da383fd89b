"""The reader, by which synthesis chooses clips: a line is undone, and there must be one."""

import numpy as np
import pandas as pd
import pytest
import torch

from echosynth.config import preset
from echosynth.errors import InputError
from echosynth.networks.regressor import Regressor, RegressorConfig, predict_ef
from echosynth.stages.regressor import PREDICTIONS, Reader
from echosynth.study import Study

CPU = torch.device("cpu")


@pytest.fixture
def study(tmp_path):
    config = preset("smoke")
    small = config.evaluation.model_copy(update={"network": RegressorConfig(size=16, frames=8, width=8, features=4)})
    study = Study.create(tmp_path / "study", config.model_copy(update={"evaluation": small}), tmp_path, "fingerprint")
    torch.manual_seed(0)
    Regressor(small.network).save_pretrained(study.folder("regressor"))
    return study


def leave_predictions(study, clips, slope, intercept):
    """Predictions on that line for VAL clips, and on quite another one for TEST clips."""
    ef = np.linspace(20, 75, clips)
    rows = [pd.DataFrame({"split": "VAL", "ef": ef, "predicted": slope * ef + intercept}), pd.DataFrame({"split": "TEST", "ef": ef, "predicted": 90 - ef})]
    pd.concat(rows).to_parquet(study.folder("regressor") / PREDICTIONS, index=False)
    study.record_folder("regressor", "A regressor")


def test_a_reading_is_taken_back_to_the_truth_by_the_line_of_validation_patients(study):
    leave_predictions(study, 30, 0.8, 11.0)
    clip = np.random.default_rng(0).integers(0, 256, (20, 32, 32), np.uint8)
    reader = Reader.of(study, CPU)
    plain = predict_ef(Regressor.from_pretrained(study.folder("regressor")), clip, 32.0)
    assert reader.read(clip, 32.0) == pytest.approx((plain - 11.0) / 0.8)
    leave_predictions(study, 19, 0.8, 11.0)  # too few to tell a line
    assert Reader.of(study, CPU).read(clip, 32.0) == pytest.approx(plain)


@pytest.mark.parametrize(("slope", "intercept"), [(0.3, 40.0), (0.0, 55.0), (-1.0, 90.0)])
def test_a_regressor_that_hardly_follows_ef_chooses_no_clip(study, slope, intercept):
    leave_predictions(study, 30, slope, intercept)
    with pytest.raises(InputError, match=rf"synthesis\.ef_tolerance: .* slope of -?{abs(slope):.2f}"):
        Reader.of(study, CPU)
