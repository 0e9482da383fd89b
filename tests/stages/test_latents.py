"""The store of a study's cohort: as many frames as the video model has moments, and no more."""

import numpy as np
import pandas as pd
import torch

from echosynth.cohort.echonet import read_cohort, write_filelist
from echosynth.cohort.latents import LatentStore
from echosynth.cohort.video import read_clip, write_clip
from echosynth.config import preset
from echosynth.networks.autoencoder import Autoencoder, encode_clip
from echosynth.stages import latents
from echosynth.stages.start import save_cohort
from echosynth.study import Study


def test_frames_between_the_moments_of_the_video_model_are_left_out(tmp_path):
    rates, rng = {"quick": 64.0, "slow": 16.0, "odd": 50.0}, np.random.default_rng(0)
    clips = pd.DataFrame({"name": list(rates), "ef": 50.0, "esv": np.nan, "edv": np.nan, "height": 112, "width": 112, "fps": list(rates.values()), "frames": 21})
    clips["split"] = ["TRAIN", "VAL", "TEST"]
    for name, rate in rates.items():
        write_clip(tmp_path / "cohort" / "Videos" / f"{name}.avi", rng.integers(0, 256, (21, 112, 112), np.uint8), rate)
    write_filelist(tmp_path / "cohort", clips)
    cohort, config = read_cohort(tmp_path / "cohort"), preset("smoke")
    study = Study.create(tmp_path / "study", config, tmp_path / "cohort", cohort.fingerprint)
    save_cohort(study, cohort)
    autoencoder = Autoencoder(config.autoencoder.network).eval()
    autoencoder.save_pretrained(study.folder("autoencoder"))
    study.record_folder("autoencoder", "Weights")
    latents.run(study)
    index = LatentStore.open(study.folder("latents")).index.set_index("name")
    assert index["fps"].to_dict() == {"quick": 32.0, "slow": 16.0, "odd": 32.0}
    assert index["frames"].to_dict() == {"quick": 11, "slow": 21, "odd": 14}  # the 14th moment is nearest to the last frame
    store = LatentStore.open(study.folder("latents"))
    every_other = encode_clip(autoencoder, read_clip(cohort.path("quick"))[0][::2])
    torch.testing.assert_close(store.window(store.index["name"].tolist().index("quick"), np.arange(11)), every_other.half().float())
