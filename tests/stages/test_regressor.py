"""The reader, by which synthesis chooses clips: a line is undone, and there must be one."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from echosynth.cohort.phantom import simulate_clip
from echosynth.config import preset
from echosynth.errors import InputError
from echosynth.networks.regressor import Regressor, RegressorConfig, predict_ef
from echosynth.stages.regressor import LINE, PREDICTIONS, READER, Reader, given_reader, line_of
from echosynth.stages.start import shipped
from echosynth.stages.synthesis import _learnt_from
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


def test_the_simulated_reader_undoes_its_own_line_and_needs_no_study(tmp_path):
    clip = np.random.default_rng(0).integers(0, 256, (20, 32, 32), np.uint8)
    plain = predict_ef(Regressor.from_pretrained(shipped(READER)), clip, 16.0)
    line = json.loads((shipped(READER) / LINE).read_text())
    assert Reader.simulated("simulated", CPU).read(clip, 16.0) == pytest.approx((plain - line["intercept"]) / line["slope"])
    assert Reader.simulated(str(tmp_path), CPU).slope == line["slope"]  # a folder of weights without a reader
    torch.manual_seed(0)
    Regressor(RegressorConfig(size=16, frames=8, width=8, features=4)).save_pretrained(tmp_path / READER)
    (tmp_path / READER / LINE).write_text('{"slope": 0.9, "intercept": 3.0}')
    assert Reader.simulated(str(tmp_path), CPU).intercept == 3.0
    assert given_reader(str(tmp_path)) == tmp_path / READER
    assert given_reader("simulated") is given_reader("none") is given_reader(str(tmp_path / "elsewhere")) is None
    assert _learnt_from("simulated", str(tmp_path)) != _learnt_from("simulated", "simulated") == "simulated hearts alone"
    assert _learnt_from("study", str(tmp_path)) == "real clips"


@pytest.mark.parametrize("text", ["{}", "[1, 2]", '{"slope": 1, "intercept": NaN}', '{"slope": "steep", "intercept": 0}', '{"slope": 0.2, "intercept": 0}'])
def test_a_bad_line_is_refused(tmp_path, text):
    Regressor(RegressorConfig(size=16, frames=8, width=8, features=4)).save_pretrained(tmp_path / READER)
    (tmp_path / READER / LINE).write_text(text)
    with pytest.raises(InputError, match=r"line of a regressor|slope of 0\.20"):
        Reader.simulated(str(tmp_path), CPU)


def test_the_simulated_reader_reads_hearts_of_a_scanner_that_it_did_not_see():
    reader, asked, read = Reader.simulated("simulated", CPU), [], []
    for patient in range(12):
        clip = simulate_clip(5, patient, 0, "alder", frames=48)
        asked.append(clip.ef)
        read.append(reader.read(clip.frames(), clip.site.fps))
    assert np.corrcoef(asked, read)[0, 1] > 0.8 and abs(np.mean(read) - np.mean(asked)) < 4


def test_a_line_is_that_of_the_readings():
    ef = np.linspace(20, 75, 30)
    found = line_of(pd.DataFrame({"ef": ef, "predicted": 0.7 * ef + 9}))
    assert (found.slope, found.intercept) == pytest.approx((0.7, 9.0))
    assert line_of(pd.DataFrame({"ef": ef, "predicted": np.nan})).slope == 0.0
