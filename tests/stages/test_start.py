"""The weights that a study starts from, and the cohort without the canaries that were left out."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from echosynth.cohort.echonet import read_cohort, write_filelist, write_patients
from echosynth.cohort.video import write_clip
from echosynth.config import preset
from echosynth.errors import InputError
from echosynth.networks.autoencoder import Autoencoder, AutoencoderConfig
from echosynth.networks.denoiser import Denoiser, DenoiserConfig
from echosynth.stages import start
from echosynth.stages.start import LEFT_OUT, begin, canaries_of, cohort_of, initial, save_cohort
from echosynth.study import Stage, Study

CONFIG = AutoencoderConfig(widths=(8, 16), blocks=(1, 1), decoder_blocks=(1, 1))


def test_none():
    assert initial("none", "autoencoder", Autoencoder, CONFIG) is None


def test_folder(tmp_path):
    with pytest.raises(InputError, match="not a saved Autoencoder"):
        initial(str(tmp_path), "autoencoder", Autoencoder, CONFIG)
    Autoencoder(CONFIG).save_pretrained(tmp_path / "autoencoder")
    assert initial(str(tmp_path), "autoencoder", Autoencoder, CONFIG).config == CONFIG
    with pytest.raises(InputError, match=r"autoencoder: its config\.json is not the study's autoencoder network"):
        initial(str(tmp_path), "autoencoder", Autoencoder, AutoencoderConfig())


def test_shipped_weights_only_where_they_fit(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(start, "files", lambda package: tmp_path)
    assert initial("simulated", "autoencoder", Autoencoder, CONFIG) is None
    Autoencoder(CONFIG).save_pretrained(tmp_path / "weights" / "autoencoder")
    assert initial("simulated", "autoencoder", Autoencoder, CONFIG).config == CONFIG
    assert initial("simulated", "autoencoder", Autoencoder, AutoencoderConfig()) is None


def test_what_was_taught_may_differ_from_what_the_study_teaches(tmp_path):
    config = DenoiserConfig(size=4, bands=(1, 1), dim=8, depth=1, heads=1)
    Denoiser(config).save_pretrained(tmp_path / "video")
    guided = config.model_copy(update={"guidance": 2.0})
    assert initial(str(tmp_path), "video", Denoiser, guided).config == guided
    with pytest.raises(InputError, match="not the study's video network"):
        initial(str(tmp_path), "video", Denoiser, guided.model_copy(update={"depth": 2}))
    with pytest.raises(InputError, match=r"video\.training\.steps: 0, .* \(guidance 1.0, not 2.0\)"):
        initial(str(tmp_path), "video", Denoiser, guided, steps=0)
    assert initial(str(tmp_path), "video", Denoiser, config, steps=0).config == config


def test_nothing_to_start_from_and_nothing_to_learn_is_refused(tmp_path):
    config = preset("smoke").model_copy(update={"init": "none"})
    still = config.image.model_copy(update={"training": config.image.training.model_copy(update={"steps": 0})})
    study = Study.create(tmp_path / "study", config.model_copy(update={"image": still}), tmp_path, "fingerprint")
    with pytest.raises(InputError, match=r"image\.training\.steps: 0, and there are no weights"):
        begin(study, "image", Denoiser, still.network)


def test_canaries_on_whom_the_coin_fell_are_left_out(tmp_path):
    splits = [*["TRAIN"] * 24, *["VAL"] * 4, *["TEST"] * 4]
    clips = pd.DataFrame({"name": [f"c{i}" for i in range(32)], "ef": 50.0, "esv": np.nan, "edv": np.nan, "height": 32, "width": 32, "fps": 30.0, "frames": 4, "split": splits})
    clips["patient"] = [f"p{i // 2}" for i in range(32)]
    for i, name in enumerate(clips["name"]):
        write_clip(tmp_path / "cohort" / "Videos" / f"{name}.avi", np.full((4, 32, 32), 5 * i, np.uint8), 30.0)
    write_filelist(tmp_path / "cohort", clips)
    write_patients(tmp_path / "cohort", clips)
    cohort = read_cohort(tmp_path / "cohort")
    config = preset("smoke")

    def study(name, canaries):
        made = Study.create(tmp_path / name, config.model_copy(update={"audit": config.audit.model_copy(update={"canaries": canaries})}), tmp_path / "cohort", cohort.fingerprint)
        save_cohort(made, cohort)
        return made

    plain, tossed = study("plain", 0), study("tossed", 10)
    assert canaries_of(plain) is None and cohort_of(plain).clips.equals(cohort.clips)
    canaries, seen = canaries_of(tossed), cohort_of(tossed).clips
    assert len(canaries.patients) == 10 and 0 < len(canaries.left_out) < 10
    assert set(seen.loc[seen["split"] == LEFT_OUT, "patient"]) == canaries.left_out and (seen["split"] == "TRAIN").sum() == 24 - 2 * len(canaries.left_out)
    assert seen.drop(columns="split").equals(cohort.clips.drop(columns="split"))
    stage = Stage("x", ("cohort",), (), dataclasses.asdict)
    assert plain.key(stage) != tossed.key(stage)
    with pytest.raises(InputError, match=r"audit\.canaries: 12 canaries of 12 training patients"):
        cohort_of(study("all", 12))
