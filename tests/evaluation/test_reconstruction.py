"""What an autoencoder does to the EF that is read."""

import numpy as np
import pandas as pd
import pytest
import torch

from echosynth.cohort.echonet import read_cohort, write_filelist
from echosynth.cohort.video import write_clip
from echosynth.evaluation.reconstruction import ef_of_reconstructions
from echosynth.networks.autoencoder import Autoencoder, AutoencoderConfig


class Reader(torch.nn.Module):
    """Reads the mean grey level of a clip, in percent of white."""

    def __init__(self):
        super().__init__()
        self.register_parameter("nothing", torch.nn.Parameter(torch.zeros(1)))

    def windows(self, clip, fps):
        assert fps == 16 and len(clip) == 8  # half of 16 frames at 32 a second
        return torch.from_numpy(clip).float()[None] / 255

    def forward(self, windows):
        return windows.mean((1, 2, 3))


class Brighter(Autoencoder):
    """Gives frames back 10 % of white brighter."""

    def encode(self, clips):
        return torch.nn.functional.avg_pool2d(clips, 8).expand(-1, 4, -1, -1)

    def decode(self, latents):
        return torch.nn.functional.interpolate(latents[:, :1], scale_factor=8) + 0.2


def test_the_difference_is_that_of_the_readings(tmp_path):
    greys = {"A": 40, "B": 100, "C": 240, "D": 100}
    for name, grey in greys.items():
        write_clip(tmp_path / "Videos" / f"{name}.avi", np.full((16, 112, 112), grey, np.uint8), 32)
    rows = [dict(name=name, ef=50.0, esv=1.0, edv=2.0, height=112, width=112, fps=32.0, frames=16, split="TRAIN" if name == "D" else "TEST") for name in greys]
    write_filelist(tmp_path, pd.DataFrame(rows))
    found = ef_of_reconstructions(read_cohort(tmp_path, splits=False), Brighter(AutoencoderConfig()).eval(), Reader(), 16, 10)
    lost = 100 * 15 / 255  # of the brightest clip only so much is left up to white
    assert found["ef_bias"] == found["ef_mae"] == pytest.approx((10 + 10 + lost) / 3, abs=0.3)
